"""What each choice of the detection engine gives, and what data sets left out say of it.

usage: python benchmarks/choices.py [--data DIR] [--scorer FILE] [--jobs N] [--rounds N]
                                     [CHOICE ...]

Families are fitted once: the evidence of DIR/SET/SERIES.csv.gz is kept in a temporary directory,
and every alternative scores it anew, with the threshold of a budget of 0.5 false alarms a week.
FILE counts episodes. Three tables: event F1 and false episodes a week for each alternative and
set, with 5 and 95 % quantiles of the difference of pooled F1 to the default when series are drawn
with replacement; what the other sets would choose for a set left out; what that does there.
"""

import argparse
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from choices_recordings import SETS, Flags, Floats, Recording, in_groups, recordings
from choices_tried import (
    CHOICES,
    DEFAULT,
    IN_SAMPLE,
    NO_LEAD,
    Alternative,
    Choice,
    instead,
    key_of,
)
from numpy.typing import NDArray
from quality import WEEK, Counts, figures, load

from metricwatch.algorithms.base import Bank, Horizon, Stream
from metricwatch.algorithms.ensemble import ENSEMBLE
from metricwatch.algorithms.robust import value_step
from metricwatch.anomalies.policy import CALM
from metricwatch.resources.algorithm import EnsembleParameters
from metricwatch.scoring import Scoring, threshold
from metricwatch.series import Grid
from metricwatch_trainer.learning import FOLDS

BUDGET = 0.5
TOLERATED = 3 * BUDGET
COOLDOWN = 300
SOURCES = {
    "nab": ("nab",),
    "nab_other": ("nab_other",),
    "kpi": ("kpi 5 min", "kpi 1 min"),
    "smd": ("smd",),
}
_WARM_TICKS = 60


def parameters(kind: str) -> EnsembleParameters:
    return EnsembleParameters(autoregressive=kind != NO_LEAD)


def said_of_history(one: Recording, kind: str, whole: Bank) -> Floats:
    """Returns evidence [K, T] of the history, of folds not fitted on or of all at once."""
    ticks, history = one.learned, one.values[None, : one.learned]
    if kind == IN_SAMPLE:
        return np.asarray(whole.backtest(Grid(0, one.step, ticks), history).evidence[:, 0])
    evidence = np.full((len(whole.streams), ticks), np.nan)
    for first, end in pairwise(np.linspace(0, ticks, FOLDS + 1).astype(int).tolist()):
        visible = history.copy()
        visible[:, first:end] = np.nan
        bank = ENSEMBLE.fit(visible, Grid(0, one.step, ticks), parameters(kind))
        before = min(bank.warmup, first)
        grid = Grid((first - before) * one.step, one.step, end - first + before)
        said = bank.backtest(grid, history[:, first - before : end])
        evidence[:, first:end] = said.evidence[:, 0, before:]
    return evidence


def gather(job: tuple[Path, Recording, str]) -> None:
    """Writes the evidence of one series and what scoring needs to know of it."""
    path, one, kind = job
    ticks, values = one.learned, one.values[None]
    grid = Grid(0, one.step, len(one.values))
    bank = ENSEMBLE.fit(values[:, :ticks], grid.part(0, ticks), parameters(kind))
    history = said_of_history(one, kind, bank)
    bank = ENSEMBLE.restore(bank.header(), bank.tensors())
    lead = min(ticks, bank.warmup)
    run_up = bank.backtest(grid.part(ticks - lead, lead), values[:, ticks - lead : ticks])
    said = bank.backtest(grid.part(ticks, grid.count - ticks), values[:, ticks:])
    np.savez(
        path,
        history=history.astype(np.float32),
        warm=run_up.evidence[:, 0, -_WARM_TICKS:].astype(np.float32),
        test=said.evidence[:, 0].astype(np.float32),
        value_step=value_step(values[:, :ticks]),
        names=np.array([stream.name for stream in bank.streams]),
        about=np.array(
            [(s.horizon is Horizon.LONG, s.signed, s.in_units, s.weight) for s in bank.streams]
        ),
    )


def place(cache: Path, one: Recording, kind: str) -> Path:
    return cache / f"{kind}__{one.set_name}__{one.name}.npz".replace(" ", "_")


def side_by_side(parts: list[NDArray[np.float32]], *, at_end: bool) -> Floats:
    """Returns [K, S, T] of parts [K, T], the shorter ones with NaN before or after them."""
    longest = max(part.shape[1] for part in parts)
    padded = []
    for part in parts:
        missing = longest - part.shape[1]
        edges = (missing, 0) if at_end else (0, missing)
        padded.append(np.pad(part, ((0, 0), edges), constant_values=np.nan))
    return np.stack(padded, axis=1).astype(np.float64)


class Opened:
    """Which of S series are in an anomaly: until calm for a while, as a detector holds it."""

    def __init__(self, series: int, step: int) -> None:
        self._least = threshold(BUDGET, step)
        self._calm = np.zeros(series, dtype=np.int64)
        self._open = np.zeros(series, dtype=np.bool_)
        self._cooldown = max(1, COOLDOWN // step)

    def follow(self, rarity: Floats) -> tuple[Flags, Flags]:
        """Takes rarities [S, B] in; returns where an alarm is, and where an anomaly is open."""
        alarm = np.nan_to_num(rarity) > self._least
        inside = np.zeros(alarm.shape, dtype=np.bool_)
        if not alarm.any() and not self._open.any():
            return alarm, inside
        calm = np.nan_to_num(rarity) < CALM * self._least
        for tick in range(alarm.shape[1]):
            self._calm = np.where(calm[:, tick], self._calm + 1, 0)
            self._open |= alarm[:, tick]
            self._open &= self._calm < self._cooldown
            inside[:, tick] = self._open
        return alarm, inside


def alarms(group: list[Recording], cache: Path, alternative: Alternative) -> Flags:
    """Returns bool[S, T]: where series of a group alert in what they did not learn from."""
    stored = [np.load(place(cache, one, alternative.evidence)) for one in group]
    names = stored[0]["names"].tolist()
    rows = [k for k, n in enumerate(names) if n.split(".")[0].split("_")[0] != alternative.without]
    streams = [
        Stream(names[k], Horizon.LONG if long else Horizon.SHORT, bool(sign), bool(units), weight)
        for k, (long, sign, units, weight) in enumerate(stored[0]["about"].tolist())
        if k in rows
    ]
    history, warm, test = (
        side_by_side([one[name][rows] for one in stored], at_end=name != "test")
        for name in ("history", "warm", "test")
    )
    step, ticks = group[0].step, history.shape[2]
    found = np.zeros(test.shape[1:], dtype=np.bool_)
    with instead(alternative):
        steps = np.concatenate([one["value_step"] for one in stored])
        scoring = Scoring.fit(streams, history, Grid(0, step, ticks), value_step=steps)
        scoring.warm((ticks - warm.shape[2]) * step, warm)
        opened = Opened(len(group), step)
        grid = Grid(ticks * step, step, test.shape[2])
        for part in scoring.spans(grid):
            scored = scoring.score(grid.start + part.start * step, test[..., part])
            found[:, part], inside = opened.follow(scored.rarity)
            scoring.learn(inside & alternative.excludes)
    return found


def count(
    job: tuple[list[Recording], Alternative], *, cache: Path, scorer: Path
) -> dict[tuple[str, str], Counts]:
    """Returns what the scorer counts in each series of a group, by set and name."""
    group, alternative = job
    events = load(scorer).events
    counts = {}
    for one, alarm in zip(group, alarms(group, cache, alternative), strict=True):
        known = one.known[one.learned :]
        label = one.labels[one.learned :][known].astype(int)
        seen = events(label, alarm[: len(known)][known])
        weeks = len(label) * one.step / WEEK
        counts[one.set_name, one.name] = Counts(*seen[:4], weeks)
    return counts


@dataclass(frozen=True)
class Outcome:
    """Counts of all series under one alternative."""

    name: str
    counts: dict[tuple[str, str], Counts]

    def of(self, *sets: str) -> list[Counts]:
        """Counts of the series of some sets, in one order for every outcome."""
        return [one for key, one in sorted(self.counts.items()) if key[0] in sets]

    def worth(self, sets: list[str]) -> float:
        """Mean over sets of event F1 less the false episodes a week beyond what is tolerated."""
        worths = []
        for name in sets:
            f1, false = figures(self.of(name))
            worths.append((0.0 if name == "smd" else f1) - max(0.0, false - TOLERATED))
        return float(np.mean(worths))

    def cell(self, *sets: str) -> str:
        """Event F1, where there are labels, and false episodes a week."""
        f1, false = figures(self.of(*sets))
        return f"{'' if sets == ('smd',) else f'{f1:.3f} '}@{false:.2f}"


def difference(other: Outcome, default: Outcome, sets: list[str], rounds: int) -> str:
    """Returns by how much pooled F1 is above the default's, with bounds of series drawn anew."""
    rng = np.random.default_rng(0)
    own, usual = other.of(*sets), default.of(*sets)

    def gap(rows: NDArray[np.int64]) -> float:
        return figures([own[i] for i in rows])[0] - figures([usual[i] for i in rows])[0]

    drawn = [gap(rng.integers(len(own), size=len(own))) for _ in range(rounds)]
    low, high = np.quantile(drawn, [0.05, 0.95])
    return f"{gap(np.arange(len(own))):+.3f} ({low:+.3f} to {high:+.3f})"


def print_choices(choices: list[Choice], outcomes: dict[str, Outcome], rounds: int) -> None:
    labelled = [name for name in SETS if name != "smd"]
    columns = ["choice", "value", *SETS, "pooled F1 to default"]
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    default = outcomes[DEFAULT.name]
    cells = [default.cell(name) for name in SETS]
    print("| all by default | | " + " | ".join(cells) + " | |")
    for choice in choices:
        for other in choice.others:
            outcome = outcomes[key_of(choice, other)]
            cells = [outcome.cell(name) for name in SETS]
            cells.append(difference(outcome, default, labelled, rounds))
            print(f"| {choice.name} ({choice.default}) | {other.name} | {' | '.join(cells)} |")


def print_left_out(choices: list[Choice], outcomes: dict[str, Outcome], rounds: int) -> None:
    print("\n| choice | left out | the others choose | there | default there | F1 to default |")
    print("|" + "---|" * 6)
    default = outcomes[DEFAULT.name]
    for choice in choices:
        candidates = [default, *(outcomes[key_of(choice, one)] for one in choice.others)]
        for source, sets in SOURCES.items():
            others = [name for name in SETS if name not in sets]
            best = max(candidates, key=lambda one: one.worth(others))
            if best is default:
                continue
            cells = [source, best.name, best.cell(*sets), default.cell(*sets)]
            cells.append("" if source == "smd" else difference(best, default, [*sets], rounds))
            print(f"| {choice.name} ({choice.default}) | {' | '.join(cells)} |")
    print("\nWhere a set is not named, the others choose the default.")


def outcomes_of(
    choices: list[Choice], groups: list[list[Recording]], cache: Path, scorer: Path, jobs: int
) -> dict[str, Outcome]:
    """Returns what the default and every alternative give, by key."""
    tried = {DEFAULT.name: DEFAULT}
    tried |= {key_of(choice, one): one for choice in choices for one in choice.others}
    kinds = {one.evidence for one in tried.values()}
    missing = [
        (place(cache, one, kind), one, kind)
        for kind in sorted(kinds)
        for group in groups
        for one in group
        if not place(cache, one, kind).exists()
    ]
    work = [(key, group) for key in tried for group in groups]
    with ProcessPoolExecutor(jobs) as pool:
        list(pool.map(gather, missing))
        found = pool.map(
            partial(count, cache=cache, scorer=scorer),
            [(group, tried[key]) for key, group in work],
        )
        counts: dict[str, dict[tuple[str, str], Counts]] = {key: {} for key in tried}
        for (key, _), own in zip(work, found, strict=True):
            counts[key] |= own
    return {key: Outcome(tried[key].name, own) for key, own in counts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/bench/data"))
    parser.add_argument("--scorer", type=Path, default=Path("../shared/bench/score.py"))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("choices", nargs="*", help="words of the names of choices; none for all")
    chosen = parser.parse_args()
    wanted = [
        one
        for one in CHOICES
        if not chosen.choices or any(word in one.name for word in chosen.choices)
    ]
    groups = in_groups(recordings(chosen.data))
    with tempfile.TemporaryDirectory() as cache:
        outcomes = outcomes_of(wanted, groups, Path(cache), chosen.scorer, chosen.jobs)
    print_choices(wanted, outcomes, chosen.rounds)
    print_left_out(wanted, outcomes, chosen.rounds)


if __name__ == "__main__":
    main()
