"""False alarms against what was promised, on labelled series replayed as live.

usage: python benchmarks/false_alarms.py [--data DIR] [--family NAME] [--ticks N] [--jobs N]
                                         [--budget N ...] [SET ...]

DIR/SET/SERIES.csv.gz has timestamp, value, label and part (train, test). A family learns the train
part as the trainer does, and the test part goes span by span through the scorer of a detector,
once for each budget, samples of an open anomaly teaching nothing. An episode without a labelled
sample in it, or shortly before it, is false; the weeks are those without labels.

A budget of one in ten weeks cannot be seen in one series of three, so the last column asks of each
series whether its count is compatible with a rate within three times of the promise: the share of
series for which no rate from a third of the budget to three times it is refused at 5 %.
"""

import argparse
import math
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metricwatch.algorithms import FAMILIES
from metricwatch.anomalies import Lifecycle, Policy, advance
from metricwatch.artifact import pack, unpack
from metricwatch.resources.training import Scaling
from metricwatch.scorer import Scorer
from metricwatch.scoring import threshold
from metricwatch.series import Grid, Panel
from metricwatch_trainer.learning import Lesson, learn_group
from metricwatch_trainer.preparation import Group, head_of

JOIN, SHORTLY = 10, 10
"""Ticks between alarms of one episode, and between a label and an alarm that is about it."""
WEEK = 604_800
BUDGETS = (0.1, 0.3, 1.0, 3.0, 10.0)
WITHIN = 3.0
SIGNIFICANCE = 0.05
SETS = ("nab", "nab_other", "aiops_kpi")
MOST_TICKS = 20_000

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Recording:
    """One series on its grid, the first `learned` ticks to learn from."""

    grid: Grid
    values: NDArray[np.float64]
    labels: Flags
    learned: int


@dataclass(frozen=True)
class Count:
    """False episodes of one series at one budget, in so many weeks without labels."""

    budget: float
    false: int
    weeks: float

    def compatible(self) -> bool:
        """Whether some rate within three times of the budget is not refused by the count."""
        most, least = (self.budget * by * self.weeks for by in (WITHIN, 1 / WITHIN))
        not_too_many = 1.0 - at_most(self.false - 1, most) > SIGNIFICANCE / 2
        return not_too_many and at_most(self.false, least) > SIGNIFICANCE / 2


def at_most(count: int, mean: float) -> float:
    """The probability that a Poisson number of this mean is no larger than `count`."""
    if mean <= 0 or count < 0:
        return float(count >= 0)
    logs = [number * math.log(mean) - math.lgamma(number + 1) for number in range(count + 1)]
    return float(min(1.0, sum(math.exp(one - mean) for one in logs)))


def read(path: Path, most_ticks: int) -> Recording:
    frame = pd.read_csv(path)
    step = int(np.median(np.diff(frame.timestamp)))
    frame = frame.assign(tick=frame.timestamp // step).drop_duplicates("tick").set_index("tick")
    frame = frame.reindex(range(frame.index[0], frame.index[-1] + 1))
    learned = int(np.flatnonzero(frame.part.to_numpy() == "train")[-1]) + 1
    frame = frame.iloc[: learned + most_ticks]
    return Recording(
        grid=Grid(start=int(frame.index[0]) * step, step=step, count=len(frame)),
        values=frame.value.to_numpy(dtype=np.float64)[None],
        labels=frame.label.fillna(0).to_numpy() > 0,
        learned=learned,
    )


def learn(recording: Recording, family: str) -> list[bytes]:
    panel = Panel(
        recording.grid.part(0, recording.learned),
        ((("series", "one"),),),
        recording.values[:, : recording.learned],
    )
    lesson = Lesson(FAMILIES[family], None, Scaling.ROBUST, seed=0)
    chunks, _ = learn_group(
        Group(panel, head_of(recording.learned)),
        lesson,
        watch_uid="benchmark",
        progress=lambda _: None,
        should_stop=lambda: False,
    )
    return [pack(chunk) for chunk in chunks]


def alarms(recording: Recording, artifacts: list[bytes], budget: float) -> Flags:
    """Where the test part is in an open anomaly, a detector's own steps tick by tick."""
    step, learned = recording.grid.step, recording.learned
    policy = Policy(interval=step, threshold=threshold(budget, step))
    scorer = Scorer([unpack(one) for one in artifacts], interval=step)
    run_up = min(scorer.warmup, learned)
    scorer.warm(
        recording.grid.part(learned - run_up, run_up),
        recording.values[:, learned - run_up : learned],
    )
    grid = recording.grid.part(learned, recording.grid.count - learned)
    values = recording.values[:, learned:]
    life, found = Lifecycle.of(1), np.zeros(grid.count, np.bool_)
    for span in scorer.spans(grid):
        part = grid.part(span.start, span.stop - span.start)
        excluded = np.zeros((1, part.count), np.bool_)
        for tick, verdicts in enumerate(scorer.judge_span(policy, part, values[:, span])):
            advance(policy, life, verdicts)
            excluded[:, tick] = life.open
            found[span.start + tick] = bool(life.open[0] and verdicts.score[0] > 1.0)
        scorer.learn_span(excluded)
    return found


def episodes(mask: Flags, gap: int) -> Iterator[slice]:
    """Yields runs of a mask, joined over gaps."""
    at = np.flatnonzero(mask)
    for part in np.split(at, np.flatnonzero(np.diff(at) > gap) + 1):
        if len(part):
            yield slice(int(part[0]), int(part[-1]) + 1)


def count(path: Path, *, family: str, budgets: list[float], most_ticks: int) -> list[Count]:
    recording = read(path, most_ticks)
    artifacts = learn(recording, family)
    labels = recording.labels[recording.learned :]
    weeks = float((~labels).sum() * recording.grid.step / WEEK)
    counts = []
    for budget in budgets:
        found = alarms(recording, artifacts, budget)
        false = sum(
            not labels[max(0, one.start - SHORTLY) : one.stop].any()
            for one in episodes(found, JOIN)
        )
        counts.append(Count(budget, false, weeks))
    return counts


def show(name: str, counts: list[list[Count]]) -> None:
    for of_budget in zip(*counts, strict=True):
        budget, weeks = of_budget[0].budget, sum(one.weeks for one in of_budget)
        false = sum(one.false for one in of_budget)
        median = float(np.median([one.false / one.weeks for one in of_budget]))
        share = sum(one.compatible() for one in of_budget) / len(of_budget)
        print(
            f"{name:10} promised {budget:5.1f} a week, observed {false / weeks:6.2f} "
            f"(median series {median:6.2f}), within {WITHIN:.0f} times for {share:4.0%} "
            f"of {len(of_budget)} series, {weeks:.0f} weeks",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/bench/data"))
    parser.add_argument("--family", default="ensemble", choices=sorted(FAMILIES))
    parser.add_argument("--budget", type=float, nargs="*", default=list(BUDGETS))
    parser.add_argument("--ticks", type=int, default=MOST_TICKS, help="most ticks of a test part")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("sets", nargs="*", default=list(SETS))
    chosen = parser.parse_args()
    one = partial(count, family=chosen.family, budgets=chosen.budget, most_ticks=chosen.ticks)
    everything: list[list[Count]] = []
    with ProcessPoolExecutor(chosen.jobs) as pool:
        for name in chosen.sets:
            counts = list(pool.map(one, sorted((chosen.data / name).glob("*.csv.gz"))))
            show(name, counts)
            everything += counts
    if len(chosen.sets) > 1:
        show("all", everything)


if __name__ == "__main__":
    main()
