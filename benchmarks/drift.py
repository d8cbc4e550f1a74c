"""How often series drift that nothing happened to, and how soon changes are seen.

usage: python benchmarks/drift.py [--data DIR] [--family NAME] [--jobs N] [SET ...]

A family learns three weeks of DIR/SET/SERIES.csv.gz (two at an interval of a minute, half of what
is shorter) as the trainer does; what follows goes through the scorer of a detector, as it was and
changed from the second day on:

    noise x 2, x 4   what is left beside a running median of 13 samples
    level            all samples higher by four deviations from the rhythm of the day
    no rhythm        the rhythm of the day taken out
    rhythm + 6 h     the rhythm of the day later

The last two only where the rhythm is a third of what the series does or more. A time without
labels, and not in the two days after one, in which a series has drifted is false. A changed series
is found when it has drifted within three days of the change. A level or a rhythm that the family
itself follows within a day is no drift, and is not found.
"""

import argparse
import os
from collections import defaultdict
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

DAY = 86_400
AS_IT_WAS = "as it was"
RHYTHMIC = ("no rhythm", "rhythm + 6 h")
LEAST_RHYTHM = 1 / 3
CHANNELS = 6
AFTER_DAYS = 10
"""As it was: that long."""
WITHIN_DAYS = 3
SETS = ("smd", "aiops_kpi", "nab", "nab_other")

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Recording:
    """Series on one grid, the first `learned` ticks to learn from."""

    grid: Grid
    values: Floats
    labels: Flags
    learned: int

    @property
    def day(self) -> int:
        """Ticks."""
        return DAY // self.grid.step


@dataclass(frozen=True)
class Finding:
    """What is said of one series: days that count, those of drift, and days until the first."""

    days: float
    drifted: float
    first: float | None


def read(path: Path) -> Recording | None:
    frame = pd.read_csv(path)
    step = int(np.median(np.diff(frame.timestamp)))
    frame = frame.assign(tick=frame.timestamp // step).drop_duplicates("tick").set_index("tick")
    frame = frame.reindex(range(frame.index[0], frame.index[-1] + 1))
    day, count = DAY // step, len(frame)
    learned = min((14 if step <= 60 else 21) * day, count // 2)
    count = min(count, learned + AFTER_DAYS * day)
    names = [one for one in frame.columns if one not in ("timestamp", "label", "part")]
    moving = [one for one in names if frame[one].iloc[:learned].nunique() > 50] or names
    chosen = moving[:: max(1, len(moving) // CHANNELS)][:CHANNELS]
    if count - learned < 4 * day or learned < 4 * day:
        return None
    return Recording(
        grid=Grid(start=int(frame.index[0]) * step, step=step, count=count),
        values=frame[chosen].to_numpy(dtype=np.float64).T[:, :count],
        labels=frame.label.fillna(0).to_numpy()[:count] > 0,
        learned=learned,
    )


def rhythm_of(recording: Recording) -> Floats:
    """The learned median of each half-hour of the day, at every tick."""
    half_hour = recording.grid.timestamps() % DAY // max(recording.grid.step, 1800)
    known = recording.values[:, : recording.learned]
    at = half_hour[: recording.learned]
    medians = [np.nanmedian(known[:, at == one], axis=1) for one in range(int(at.max()) + 1)]
    return np.stack(medians, axis=1)[:, half_hour]


def changes(recording: Recording) -> dict[str, Floats]:
    """The series after what was learned, as they were and changed."""
    values, learned = recording.values, recording.learned
    rhythm = rhythm_of(recording)
    median = pd.DataFrame(values.T).rolling(13, center=True, min_periods=1).median()
    noise = values - median.to_numpy().T
    away = np.nanmedian(np.abs(values - rhythm)[:, :learned], axis=1) / 0.6745
    away = np.where(away > 0, away, np.nanstd(values[:, :learned], axis=1))[:, None]
    middle = np.nanmedian(values[:, :learned], axis=1)[:, None]
    made = {
        "noise x 2": values + noise,
        "noise x 4": values + 3.0 * noise,
        "level": values + 4.0 * away,
        "no rhythm": values - rhythm + middle,
        "rhythm + 6 h": values - rhythm + np.roll(rhythm, recording.day // 4, axis=1),
    }
    begin = learned + recording.day
    as_it_was = values[:, learned:]
    changed = {
        name: np.concatenate([values[:, learned:begin], other[:, begin:]], axis=1)
        for name, other in made.items()
    }
    return {AS_IT_WAS: as_it_was} | changed


def rhythmic(recording: Recording) -> Flags:
    """Which series have a rhythm of the day to speak of."""
    known = slice(0, recording.learned)
    rhythm = np.nanvar(rhythm_of(recording)[:, known], axis=1)
    return np.asarray(rhythm >= LEAST_RHYTHM * np.nanvar(recording.values[:, known], axis=1))


def learn(recording: Recording, family: str) -> list[bytes]:
    labels = tuple((("series", f"{row:03}"),) for row in range(len(recording.values)))
    head = recording.grid.part(0, recording.learned)
    panel = Panel(head, labels, recording.values[:, : recording.learned])
    lesson = Lesson(FAMILIES[family], None, Scaling.ROBUST, seed=0)
    chunks, _ = learn_group(
        Group(panel, head_of(recording.learned)),
        lesson,
        watch_uid="benchmark",
        progress=lambda _: None,
        should_stop=lambda: False,
    )
    return [pack(chunk) for chunk in chunks]


def walk(recording: Recording, artifacts: list[bytes], after: dict[str, Floats]) -> Flags:
    """Where series have drifted, bool[changes, S, T]: all changes side by side."""
    step, learned, times = recording.grid.step, recording.learned, len(after)
    (chunk,) = (unpack(one) for one in artifacts)
    series = chunk.series
    scorer = Scorer([chunk.select(list(range(series)) * times)], interval=step)
    run_up = min(scorer.warmup, learned)
    before = np.tile(recording.values[:, learned - run_up : learned], (times, 1))
    scorer.warm(recording.grid.part(learned - run_up, run_up), before)
    values = np.concatenate(list(after.values()))
    grid = recording.grid.part(learned, values.shape[1])
    policy = Policy(interval=step, threshold=threshold(0.5, step))
    life, drifted = Lifecycle.of(len(values)), np.zeros(values.shape, np.bool_)
    (drift,) = (one.drift for one in scorer._segments if one.drift is not None)
    for span in scorer.spans(grid):
        part = grid.part(span.start, span.stop - span.start)
        excluded = np.zeros((len(values), part.count), np.bool_)
        for tick, verdicts in enumerate(scorer.judge_span(policy, part, values[:, span])):
            advance(policy, life, verdicts)
            excluded[:, tick] = life.open
        scorer.learn_span(excluded)
        drifted[:, span] = drift.drifted[:, None]
    return drifted.reshape(times, series, -1)


def examine(path: Path, *, family: str) -> dict[str, list[Finding]]:
    recording = read(path)
    if recording is None:
        return {}
    after, day = changes(recording), recording.day
    drifted = walk(recording, learn(recording, family), after)
    labels = recording.labels[recording.learned - day :]
    after_label = np.convolve(labels, np.ones(2 * day))[day : len(labels)] > 0
    with_rhythm = rhythmic(recording)
    found: dict[str, list[Finding]] = defaultdict(list)
    for name, of_series in zip(after, drifted, strict=True):
        counts = ~after_label if name == AS_IT_WAS else np.ones_like(after_label)
        counts[:day] &= name == AS_IT_WAS
        counts[(1 + WITHIN_DAYS) * day :] &= name == AS_IT_WAS
        for own, has_rhythm in zip(of_series, with_rhythm.tolist(), strict=True):
            if name in RHYTHMIC and not has_rhythm:
                continue
            at = np.flatnonzero(own & counts)
            first = float(at[0]) / day - 1.0 if len(at) else None
            found[name].append(Finding(counts.sum() / day, len(at) / day, first))
    return found


def show(findings: dict[str, list[Finding]]) -> None:
    was = findings.pop(AS_IT_WAS)
    days, drifted = sum(one.days for one in was), sum(one.drifted for one in was)
    ever = sum(one.first is not None for one in was)
    print(
        f"{AS_IT_WAS}: {ever} of {len(was)} series drifted, for {drifted:.1f} of {days:.0f} days "
        f"({drifted / days:.2%})"
    )
    for name, own in findings.items():
        after = [one.first for one in own if one.first is not None]
        typical = f", after {np.median(after):.1f} days" if after else ""
        print(f"{name}: {len(after)} of {len(own)} found ({len(after) / len(own):.0%}){typical}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/bench/data"))
    parser.add_argument("--family", default="ensemble", choices=sorted(FAMILIES))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("sets", nargs="*", default=list(SETS))
    chosen = parser.parse_args()
    paths = [
        path for name in chosen.sets for path in sorted((chosen.data / name).glob("*.csv.gz"))
    ]
    everything: dict[str, list[Finding]] = defaultdict(list)
    with ProcessPoolExecutor(chosen.jobs) as pool:
        for path, own in zip(
            paths, pool.map(partial(examine, family=chosen.family), paths), strict=True
        ):
            print(f"{path.stem}: " + ("too short" if not own else "done"), flush=True)
            for name, findings in own.items():
                everything[name] += findings
    show(everything)


if __name__ == "__main__":
    main()
