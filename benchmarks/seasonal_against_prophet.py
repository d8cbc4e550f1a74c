"""The seasonal family beside Prophet: error of a day ahead, and seconds to learn.

usage: python benchmarks/seasonal_against_prophet.py --prophet PYTHON [--data DIR] [--days N]

PYTHON is the interpreter of an environment of its own with Prophet in it:
`python -m venv prophet && prophet/bin/pip install prophet`. Each of the first N days of a test
part is forecast from the midnight before it, by models learned anew from the 28 days before:
both with all defaults, Prophet without its sampled intervals. `yesterday` takes each sample of the
day before. `next sample` is what a detector uses the seasonal family for; Prophet, which carries
no state, would say the same as a day ahead. Labelled anomalies count for nobody. MAE is in units
of that of `yesterday`; seconds are CPU time of one fit, of the series alone and as one of 200.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from numpy.typing import NDArray

STEP, DAY, HISTORY_DAYS = 300, 86400, 28
BANK = 200
SERIES = (
    "aiops_kpi/42d6616d",
    "aiops_kpi/54350a12",
    "aiops_kpi/8723f0fb",
    "aiops_kpi/da10a69f",
    "nab/realKnownCause__nyc_taxi",
)
Values = NDArray[np.float64]


@dataclass
class Case:
    """One series: `values` from `start` on, `step` apart; days to forecast begin at `first`."""

    name: str
    start: int
    step: int
    values: Values
    first: int
    label: NDArray[np.bool_]

    @property
    def day(self) -> int:
        """Ticks of a day."""
        return DAY // self.step


def read(folder: Path, name: str) -> Case:
    frame = pd.read_csv(folder / f"{name}.csv.gz")
    step = max(STEP, int(frame.timestamp.diff().median()))
    tick = frame.timestamp // step
    ticks = range(tick.iloc[0], tick.iloc[-1] + 1)
    values = frame.value.groupby(tick).mean().reindex(ticks).to_numpy()
    label = frame.label.groupby(tick).max().reindex(ticks).fillna(0).to_numpy() > 0
    test = int(tick[frame.part == "test"].iloc[0] - tick.iloc[0])
    day = DAY // step
    midnight = -(-(tick.iloc[0] + test) // day) * day - tick.iloc[0]
    return Case(name, int(tick.iloc[0]) * step, step, values, int(midnight), label)


def seasonal_forecasts(case: Case, days: int) -> tuple[Values, Values, float, float]:
    """Returns a day ahead, the next sample, and CPU seconds of a fit, alone and in a bank."""
    from metricwatch.algorithms import seasonal
    from metricwatch.series import Grid

    ahead, next_sample, seconds = [], [], 0.0
    for number in range(days):
        end = case.first + number * case.day
        begin = max(0, end - HISTORY_DAYS * case.day)
        history = Grid(case.start + begin * case.step, case.step, end - begin)
        today = Grid(history.end + case.step, case.step, case.day)
        values = case.values[None, begin:end]
        began = time.process_time()
        bank = seasonal.fit(values, history)
        seconds += time.process_time() - began
        run_up = min(bank.warmup, history.count)
        for forecast, seen in ((ahead, False), (next_sample, True)):
            bank = seasonal.restore(bank.header(), bank.tensors())
            bank.backtest(history.part(history.count - run_up, run_up), values[:, -run_up:])
            shown = case.values[None, end : end + case.day]
            shown = shown if seen else np.full_like(shown, np.nan)
            forecast.append(bank.backtest(today, shown).expected[0])
    began = time.process_time()
    seasonal.fit(np.repeat(values, BANK, axis=0), history)
    in_bank = (time.process_time() - began) / BANK
    return np.concatenate(ahead), np.concatenate(next_sample), seconds / days, in_bank


def prophet_forecasts(case: Case, days: int, python: str) -> tuple[Values, float]:
    """Runs this file in the other environment: a day ahead, and CPU seconds of a fit."""
    task = {
        "start": case.start,
        "step": case.step,
        "first": case.first,
        "days": days,
        "values": [None if np.isnan(value) else value for value in case.values.tolist()],
    }
    done = subprocess.run(
        [python, __file__, "--as-prophet"],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"Prophet failed:\n{done.stderr}")
    answer = json.loads(done.stdout.splitlines()[-1])
    return np.array(answer["expected"]), answer["seconds"]


def answer_as_prophet(task: dict[str, Any]) -> dict[str, Any]:
    import resource

    from prophet import Prophet

    step, day = task["step"], DAY // task["step"]
    values = np.array(task["values"], dtype=np.float64)
    times = pd.to_datetime(task["start"] + step * np.arange(len(values)), unit="s")
    expected: list[float] = []

    def cpu() -> float:
        # Stan runs in a process of its own.
        used = (
            resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        return sum(one.ru_utime + one.ru_stime for one in used)

    seconds = 0.0
    for number in range(task["days"]):
        end = task["first"] + number * day
        begin = max(0, end - HISTORY_DAYS * day)
        began = cpu()
        model = Prophet(uncertainty_samples=0)
        model.fit(pd.DataFrame({"ds": times[begin:end], "y": values[begin:end]}))
        seconds += cpu() - began
        expected += model.predict(pd.DataFrame({"ds": times[end : end + day]})).yhat.tolist()
    return {"expected": expected, "seconds": seconds / task["days"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prophet", metavar="PYTHON")
    parser.add_argument("--data", type=Path, default=Path("../shared/bench/data"))
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--as-prophet", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.as_prophet:
        print(json.dumps(answer_as_prophet(json.load(sys.stdin))))
        return
    if not chosen.prophet:
        parser.error("--prophet must name the interpreter of an environment with Prophet in it")
    print(f"{chosen.days} days, CPU time, load {os.getloadavg()[0]:.1f}")
    print(f"{'':30} {'day ahead':>18} {'next sample':>12} {'seconds a fit':>27}")
    error_columns = f"{'seasonal':>9}{'prophet':>9} {'seasonal':>12}"
    print(f"{'':30} {error_columns} {'seasonal':>9}{'in bank':>9}{'prophet':>9}")
    ratios = []
    for name in SERIES:
        case = read(chosen.data, name)
        days = min(chosen.days, (len(case.values) - case.first) // case.day)
        ticks = slice(case.first, case.first + days * case.day)
        truth = np.where(case.label[ticks], np.nan, case.values[ticks])
        yesterday = case.values[ticks.start - case.day : ticks.stop - case.day]
        unit = np.nanmean(np.abs(truth - yesterday))
        ahead, next_sample, own_seconds, in_bank = seasonal_forecasts(case, days)
        prophet, seconds = prophet_forecasts(case, days, chosen.prophet)
        own, peer, live = (
            np.nanmean(np.abs(truth - forecast)) / unit
            for forecast in (ahead, prophet, next_sample)
        )
        ratios.append((own / peer, seconds / own_seconds, seconds / in_bank))
        print(
            f"{name:30} {own:9.3f}{peer:9.3f} {live:12.3f} "
            f"{own_seconds:9.4f}{in_bank:9.4f}{seconds:9.2f}",
            flush=True,
        )
    error, alone, banked = np.exp(np.log(np.array(ratios)).mean(axis=0))
    print(
        f"geometric means: error a day ahead {error:.2f} of Prophet's, "
        f"fit {alone:.0f} x as fast alone, {banked:.0f} x in a bank"
    )


if __name__ == "__main__":
    main()
