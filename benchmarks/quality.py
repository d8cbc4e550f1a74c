"""Detection quality of the product's defaults on labelled recordings, with bootstrap bounds.

usage: python benchmarks/quality.py [--data DIR] [--scorer FILE] [--algorithm TYPE] [SET ...]

Runs `metricwatch backtest` over DIR/SET, one default configuration for all, then the scorer
FILE over what it wrote (`--data DIR --detections DIR --json FILE`). The bounds are the 5 and 95 %
quantiles of figures of series drawn with replacement: two sets of ten windows decide nothing.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd

WEEK = 604_800.0


@dataclass(frozen=True)
class Counts:
    """What the scorer counts in one series."""

    events: int
    detected: int
    episodes: int
    false: int
    weeks: float


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("scorer", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def backtest(data: Path, out: Path, algorithm: str) -> None:
    model = out.parent / "model.yaml"
    model.write_text(
        "apiVersion: metricwatch.io/v1alpha1\nkind: AnomalyModel\nmetadata: {name: quality}\n"
        f"spec: {{algorithm: {{type: {algorithm}}}}}\n"
    )
    command = [sys.executable, "-m", "metricwatch_cli.main", "backtest", str(data)]
    command += ["--out", str(out), "--model", str(model), "--no-plots"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def counts_of(scorer: ModuleType, data: Path, detections: Path) -> list[Counts]:
    found = []
    for path in sorted(data.glob("*.csv.gz")):
        frame = pd.read_csv(path)
        label = frame.label.to_numpy()[frame.part == "test"].astype(int)
        step = float(np.median(np.diff(frame.timestamp)))
        written = pd.read_csv(detections / f"{path.name[:-7]}.csv")
        alarm = written.is_anomaly.to_numpy(dtype=bool)
        events, detected, episodes, false, _ = scorer.events(label, alarm)
        found.append(Counts(events, detected, episodes, false, len(label) * step / WEEK))
    return found


def figures(counts: list[Counts]) -> tuple[float, float]:
    """Returns event F1 and false episodes a week."""
    events, detected, episodes, false, weeks = (
        sum(getattr(one, name) for one in counts)
        for name in ("events", "detected", "episodes", "false", "weeks")
    )
    precision = 1 - false / episodes if episodes else 0.0
    recall = detected / events if events else 0.0
    return 2 * precision * recall / max(precision + recall, 1e-9), false / weeks


def bounds(counts: list[Counts], rounds: int) -> str:
    rng = np.random.default_rng(0)
    drawn = np.array(
        [
            figures([counts[i] for i in rng.integers(len(counts), size=len(counts))])
            for _ in range(rounds)
        ]
    )
    low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
    f1, false = figures(counts)
    return (
        f"event F1 {f1:.3f} ({low[0]:.2f} to {high[0]:.2f}), "
        f"false a week {false:.2f} ({low[1]:.2f} to {high[1]:.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/bench/data"))
    parser.add_argument("--scorer", type=Path, default=Path("../shared/bench/score.py"))
    parser.add_argument("--algorithm", default="auto")
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument(
        "sets", nargs="*", default=["aiops_kpi", "nab", "nab_other", "smd", "skab"]
    )
    chosen = parser.parse_args()
    scorer = load(chosen.scorer)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        data, out = root / "data", root / "out"
        data.mkdir()
        for name in chosen.sets:
            (data / name).symlink_to((chosen.data / name).resolve())
        backtest(data, out, chosen.algorithm)
        table = root / "table.json"
        command = [
            sys.executable,
            str(chosen.scorer),
            "--data",
            str(data),
            "--detections",
            str(out),
        ]
        subprocess.run([*command, "--json", str(table)], check=True)
        counts = {name: counts_of(scorer, data / name, out / name) for name in chosen.sets}
        if {"nab", "nab_other"} <= counts.keys():
            counts["nab and nab_other"] = counts["nab"] + counts["nab_other"]
        for name, own in counts.items():
            print(f"{name:18} {bounds(own, chosen.rounds)}")
        print(json.dumps(json.loads(table.read_text()), indent=1))


if __name__ == "__main__":
    main()
