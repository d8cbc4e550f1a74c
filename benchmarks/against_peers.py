"""Detection beside river, pyod, darts and Prophet: quality, and CPU seconds to learn and to score.

usage: python benchmarks/against_peers.py [--peer NAME[/METHOD]=PYTHON ...] [--peers-only]
           [--data DIR] [--scorer FILE] [--limit SECONDS] [DATASET/SERIES ...]

Each PYTHON is that of an environment of its own: `python -m venv pyod && pyod/bin/pip install
pyod` and so on; what is run in it is in `peers/NAME_detection.py`. Ours is `metricwatch backtest`
with its defaults. All learn from the train part of the same series and walk through the test part,
then FILE judges what they wrote (`--data DIR --detections DIR --json FILE`). Series may be
patterns; a method gets SECONDS of CPU time for a data set, and no figures of quality if that is
not enough. Ours: learning is `metricwatch train`, its start and reading included, and scoring what
`backtest` needs beyond that; those of peers begin when all is imported and read.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

METHODS = {
    "river": ("HalfSpaceTrees", "GaussianScorer"),
    "pyod": ("IForest", "ECOD"),
    "darts": ("LinearRegressionModel", "RNNModel"),
    "prophet": ("Prophet",),
}
OURS = "defaults"
PROGRAMS = Path(__file__).parent / "peers"
SERIES = ("nab/*", "nab_other/*", "aiops_kpi/54350a12", "aiops_kpi/a8c06b47")
FIGURES = ("event_f1", "precision", "recall", "false_per_week", "vus_pr", "nab")
TITLES = ("F1", "precision", "recall", "false/wk", "VUS-PR", "NAB", "training s", "scoring s")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Run:
    """What one method made of a data set.

    Attributes:
        package: that did it, with its version.
        method: of the package.
        finished: series that it got through.
        training: CPU seconds to learn one of them.
        scoring: CPU seconds to score the test part of one of them.
    """

    package: str
    method: str
    finished: int
    training: float
    scoring: float


def stage(data: Path, patterns: Sequence[str], folder: Path) -> dict[str, int]:
    """Links the series that are asked for to FOLDER/DATASET/data/DATASET; returns their counts."""
    counts: dict[str, int] = {}
    for pattern in patterns:
        found = sorted(data.glob(f"{pattern}.csv.gz"))
        if not found:
            raise SystemExit(f"there is no {data / pattern}.csv.gz")
        for path in found:
            target = folder / path.parent.name / "data" / path.parent.name
            if not target.exists():
                target.mkdir(parents=True)
                (target / "dataset.json").symlink_to((path.parent / "dataset.json").resolve())
            (target / path.name).symlink_to(path.resolve())
            counts[target.name] = counts.get(target.name, 0) + 1
    return counts


def cpu_seconds_of(command: Sequence[str]) -> float:
    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    began = used()
    environment = os.environ | ONE_THREAD
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return used() - began


def ours(data: Path, out: Path, series: int) -> Run:
    """Runs ours over the one data set in a folder."""
    from metricwatch import __version__

    program = [sys.executable, "-m", "metricwatch_cli.main"]
    shared = ["--jobs", "1", "--no-progress"]
    training = cpu_seconds_of(
        [*program, "train", str(data), "--out", f"{out}.model", *shared],
    )
    both = cpu_seconds_of(
        [*program, "backtest", str(data), "--out", str(out), "--no-plots", *shared],
    )
    package = f"metricwatch {__version__}"
    return Run(package, OURS, series, training / series, (both - training) / series)


def peer(package: str, python: str, method: str, data: Path, out: Path, limit: int) -> Run:
    """Runs a method of a peer over the data set in a folder, for as long as it may."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))

    program = PROGRAMS / f"{package}_detection.py"
    done = subprocess.run(
        [python, str(program), method, str(data), str(out)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | ONE_THREAD | {"PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=limited,
    )
    if done.returncode not in (0, -signal.SIGXCPU):
        raise SystemExit(f"{package} failed:\n{done.stderr}")
    # Others than the program, like Stan, may write to its output.
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    head, *said = lines
    count = max(len(said), 1)
    seconds = (sum(one[part] for one in said) / count for part in ("training", "scoring"))
    return Run(f"{package} {head['version']}", method, len(said), *seconds)


def scored(scorer: Path, data: Path, detections: Path) -> dict[str, Any]:
    """Returns the figures of each data set."""
    answer = detections.with_suffix(".json")
    subprocess.run(
        [sys.executable, scorer, "--data", data, "--detections", detections, "--json", answer],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    figures: dict[str, Any] = json.loads(answer.read_text())
    return figures


def line(run: Run, series: int, figures: dict[str, Any], limit: int) -> str:
    """Returns a line of a table in Markdown."""
    if run.finished < series:
        cells = [f"{run.finished} of {series} series in {limit} s"] + ["–"] * (len(FIGURES) - 1)
    else:
        digits = {"false_per_week": 2, "nab": 1}
        cells = [
            "–" if figures.get(name) is None else f"{figures[name]:.{digits.get(name, 3)}f}"
            for name in FIGURES
        ]
    times = (f"{run.training:.3g}", f"{run.scoring:.3g}") if run.finished else ("–", "–")
    return "| " + " | ".join([f"{run.package}, {run.method}", *cells, *times]) + " |"


def named_python(text: str) -> tuple[str, tuple[str, ...], str]:
    """Returns the package, its methods to run and the Python to run them with."""
    name, _, python = text.partition("=")
    package, _, method = name.partition("/")
    methods = METHODS.get(package, ())
    if not python or (method or package) not in (package, *methods) or not methods:
        raise argparse.ArgumentTypeError(
            f"must be NAME=PYTHON or NAME/METHOD=PYTHON, NAME one of {', '.join(METHODS)}"
        )
    return package, (method,) if method else methods, python


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--peer", action="append", type=named_python, default=[], metavar="NAME[/METHOD]=PYTHON"
    )
    parser.add_argument("--peers-only", action="store_true", help="leave ours out")
    parser.add_argument("--data", type=Path, default=Path("../shared/bench/data"))
    parser.add_argument("--scorer", type=Path, default=Path("../shared/bench/score.py"))
    parser.add_argument("--limit", type=int, default=360, help="CPU seconds (default: 360)")
    parser.add_argument("series", nargs="*", default=SERIES, metavar="DATASET/SERIES")
    return parser.parse_args()


def runs(chosen: argparse.Namespace, folder: Path, dataset: str, series: int) -> Iterator[Run]:
    """Runs everything that is asked for over one data set, one after another."""
    data = folder / "data"
    if not chosen.peers_only:
        yield ours(data, folder / OURS, series)
    for package, methods, python in chosen.peer:
        for method in methods:
            out = folder / method
            yield peer(package, python, method, data / dataset, out / dataset, chosen.limit)


def main() -> None:
    chosen = parsed()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for dataset, series in stage(chosen.data, chosen.series, root).items():
            print(f"\n{dataset}, {series} series\n")
            print("| | " + " | ".join(TITLES) + " |")
            print("|---|" + "---|" * len(TITLES), flush=True)
            folder = root / dataset
            for run in runs(chosen, folder, dataset, series):
                figures = scored(chosen.scorer, folder / "data", folder / run.method)[dataset]
                print(line(run, series, figures, chosen.limit), flush=True)


if __name__ == "__main__":
    main()
