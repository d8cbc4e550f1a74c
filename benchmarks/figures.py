"""The figures of README and docs/performance.md, one benchmark after the other.

Run with `make bench`. What needs a cluster comes last and takes the release for itself; `--only`
chooses by a part of the name. Other benchmarks in this directory answer questions of quality, run
for hours on labelled data, or need packages of peers; each says so at its top.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A program of this directory, and what its figures are about."""

    about: str
    program: str
    arguments: tuple[str, ...] = ()


BENCHMARKS = (
    Benchmark("/metrics of 10,000 series", "exposition.py"),
    Benchmark("reading an answer of 10,000 series", "source_parsing.py"),
    Benchmark("one tick of 10,000 series", "detector_tick.py"),
    Benchmark("scores into PostgreSQL", "store_copy.py"),
    Benchmark(
        "sample to score with 1,000 and 10,000 series, memory of a series",
        "detector_live.py",
        ("--series", "1000", "10000", "--families", "seasonal", "lstm", "--ticks", "12"),
    ),
    Benchmark("decisions of the operator", "operator_decisions.py"),
    Benchmark(
        "operator, 1,000 models with a watch each", "operator_scale.py", ("--models", "1000")
    ),
    Benchmark(
        "operator, 2,500 models with a watch each", "operator_scale.py", ("--models", "2500")
    ),
    Benchmark("demo, apply to Ready, image sizes", "on_a_cluster.py"),
    Benchmark(
        "change of version under load",
        "version_switch.py",
        ("--series", "1000", "--interval", "5"),
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="run those whose file name contains this")
    chosen = parser.parse_args()
    failed = [one.program for one in BENCHMARKS if chosen.only in one.program and not run(one)]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def run(benchmark: Benchmark) -> bool:
    """Runs one and returns whether it ended well; what it prints goes where ours goes."""
    load = os.getloadavg()[0]
    print(f"== {benchmark.about} ({benchmark.program}, load before {load:.1f})", flush=True)
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    command = [sys.executable, str(HERE / benchmark.program), *benchmark.arguments]
    began = time.monotonic()
    code = subprocess.run(command, env=environment, check=False).returncode
    print(f"   took {time.monotonic() - began:.0f} s", flush=True)
    return code == 0


if __name__ == "__main__":
    main()
