"""Which family each series gets when the model leaves the choice: a walk-forward on its history.

Every candidate is fitted and calibrated on the first part and judged on the rest, which it walks
through as a detector would, once as it was and once with made-up anomalies. It is worth

    the share of anomalies found at the default budget
    - half a point for each false alarm beyond what the budget allows
    + a fifth of the share of the error of "as the sample before" that it saves.

One series has few anomalies put in, so its own worth is shrunk half way to that of its group. The
ensemble stands for all and another family has to beat it by a margin; a network, which costs a
hundred times as much, by twice that, and is tried on a sample of the series before it is tried on
all. Labels have no say.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms import FAMILIES, Bank, Family, OnlineBank, Progress
from metricwatch.algorithms.base import FloatArray, residual_row
from metricwatch.algorithms.robust import value_step
from metricwatch.injection import LEAST_SAMPLES, Injected, Kind, inject
from metricwatch.resources.schema import ApiModel
from metricwatch.scoring import Scoring, threshold
from metricwatch.series import Grid
from metricwatch_trainer.learning import Lesson
from metricwatch_trainer.preparation import Group

CHEAP = ("seasonal", "autoregressive", "adaptiveThreshold")
NETWORKS = ("lstm",)
MARGIN = 0.1
NETWORK_MARGIN = 0.2
_JUDGED_SHARE = 0.3
_ROOM = 6 * LEAST_SAMPLES
_ROUNDS = 2
_BUDGET = 0.5
_WEEK = 604_800
_FALSE_ALARM = 0.5
_SKILL_SHARE = 0.2
_SHRUNK = 0.5
_LATE = 2
_GAP = 10
_SAMPLE = 32
_PROMISING = 0.1
"""A network goes on to all series when it wins on this share of the sample."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Series of a group that get the same family.

    Attributes:
        rows: int[R], positions in the group.
        family: the family.
        parameters: None for its defaults.
        gains: by how much it beat the family that stands for all, in points, one for each row;
            None where there was no contest.
    """

    rows: NDArray[np.intp]
    family: Family
    parameters: ApiModel | None
    gains: tuple[float | None, ...]


def choose(
    group: Group,
    lesson: Lesson,
    *,
    progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
) -> tuple[Choice, ...]:
    """Returns a family for every series of the group; a history too short for a contest has none.

    Raises:
        FitStopped: `should_stop` returned true.
    """
    series = len(group.panel.labels)
    rows = np.arange(series)
    contest = _Contest.of(group)
    if contest is None:
        return (Choice(rows, lesson.family, lesson.parameters, (None,) * series),)
    base = contest.worth(lesson, rows, should_stop)
    best = np.zeros(series)
    winner = np.full(series, lesson.family.name, dtype=object)
    for name in CHEAP:
        _contend(name, MARGIN, contest, lesson, rows, base, best, winner, should_stop)
    sample = np.random.default_rng(lesson.seed).permutation(series)[:_SAMPLE]
    for name in NETWORKS:
        if group.head < FAMILIES[name].minimum_samples(None):
            continue
        trial_best, trial_winner = best.copy(), winner.copy()
        _contend(
            name, NETWORK_MARGIN, contest, lesson, sample, base, trial_best, trial_winner,
            should_stop,
        )  # fmt: skip
        if np.mean(trial_winner[sample] == name) < _PROMISING:
            continue
        if series > len(sample):
            _contend(name, NETWORK_MARGIN, contest, lesson, rows, base, best, winner, should_stop)
        else:
            best, winner = trial_best, trial_winner
    return tuple(_choices(lesson, winner, best))


def _contend(
    name: str,
    margin: float,
    contest: _Contest,
    lesson: Lesson,
    rows: NDArray[np.intp],
    base: FloatArray,
    best: FloatArray,
    winner: NDArray[np.object_],
    should_stop: Callable[[], bool],
) -> None:
    """Lets a family contend on some rows; where it wins by its margin, it is the winner."""
    family = FAMILIES[name]
    if contest.head < family.minimum_samples(None):
        return
    other = replace(lesson, family=family, parameters=None)
    gain = contest.worth(other, rows, should_stop) - base[rows]
    wins = gain >= best[rows] + margin
    best[rows[wins]] = gain[wins]
    winner[rows[wins]] = name


def _choices(lesson: Lesson, winner: NDArray[np.object_], best: FloatArray) -> list[Choice]:
    choices = []
    for name in sorted(set(winner.tolist())):
        rows = np.flatnonzero(winner == name)
        own = name == lesson.family.name
        gains = tuple(round(float(gain), 3) for gain in best[rows])
        family = lesson.family if own else FAMILIES[name]
        choices.append(Choice(rows, family, lesson.parameters if own else None, gains))
    return choices


@dataclass(frozen=True, slots=True, eq=False)
class _Contest:
    """The history of a group, cut in two, and the second part with anomalies in it."""

    grid: Grid
    values: FloatArray
    head: int
    disturbed: tuple[FloatArray, ...]
    events: tuple[tuple[Injected, ...], ...]

    @classmethod
    def of(cls, group: Group) -> _Contest | None:
        """Returns None for a history in which there is no room for anomalies."""
        panel = group.panel
        head = round(panel.grid.count * (1.0 - _JUDGED_SHARE))
        count = min((panel.grid.count - head) // _ROOM, len(Kind))
        if count < 2:
            return None
        made = [
            inject(
                panel.values[:, head:], count=count, seed=number, reference=panel.values[:, :head]
            )
            for number in range(_ROUNDS)
        ]
        return cls(
            grid=panel.grid,
            values=panel.values,
            head=head,
            disturbed=tuple(one.values for one in made),
            events=tuple(one.events for one in made),
        )

    def worth(
        self, lesson: Lesson, rows: NDArray[np.intp], should_stop: Callable[[], bool]
    ) -> FloatArray:
        """Returns what a family is worth on each of some rows, shrunk half way to their mean.

        Raises:
            FitStopped: `should_stop` returned true.
        """
        head, values = self.head, self.values[rows]
        known = self.grid.part(0, head)
        bank = lesson.family.fit(
            values[:, :head],
            known,
            lesson.parameters,
            scaling=lesson.scaling,
            seed=lesson.seed,
            should_stop=should_stop,
        )
        teacher = bank if isinstance(bank, OnlineBank) else deepcopy(bank)
        said = teacher.backtest(known, values[:, :head])
        scoring = Scoring.fit(
            bank.streams, said.evidence, known, value_step=value_step(values[:, :head])
        )
        first = max(head - _ROOM, 0)
        time = known.start + first * known.step
        # What is found is compared here; when it ends is the same for every family.
        scoring.warm(time, said.evidence[..., first:], alert=math.inf)
        limit = threshold(_BUDGET, self.grid.step)
        clean, residual = self._walk(teacher, scoring, values[:, head:])
        allowed = _BUDGET * (self.grid.count - head) * self.grid.step / _WEEK
        false = np.maximum(_episodes(clean > limit) - max(allowed, 1.0), 0.0)
        found = np.zeros((2, len(rows)))
        row_of = {int(row): position for position, row in enumerate(rows)}
        for disturbed, events in zip(self.disturbed, self.events, strict=True):
            rarity, _ = self._walk(teacher, scoring, disturbed[rows])
            for event in events:
                position = row_of.get(event.series)
                if position is not None:
                    end = event.end + _LATE
                    found[0, position] += bool((rarity[position, event.start : end] > limit).any())
                    found[1, position] += 1
        worth = found[0] / np.maximum(found[1], 1) - _FALSE_ALARM * np.minimum(false, 2.0)
        if residual_row(bank.streams) is not None:
            worth += _SKILL_SHARE * _skill(residual, values[:, head - 1 :])
        return np.asarray((1.0 - _SHRUNK) * worth + _SHRUNK * worth.mean())

    def _walk(
        self, bank: Bank, scoring: Scoring, values: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Returns rarities and residuals [S, T] of the second part, 0 for nothing to say."""
        grid = self.grid.part(self.head, self.grid.count - self.head)
        bank, scoring = deepcopy(bank), deepcopy(scoring)
        said = bank.backtest(grid, values)
        rarity = np.zeros(values.shape)
        for part in scoring.spans(grid):
            time = grid.start + part.start * grid.step
            scored = scoring.score(time, said.evidence[..., part])
            scoring.learn(np.zeros(scored.long.shape, np.bool_))
            rarity[:, part] = np.fmax(scored.rarity, 0.0)
        return rarity, said.residual


def _episodes(alarm: Bools) -> FloatArray:
    """Returns how many runs of bool[S, T] there are, short gaps closed."""
    position = np.arange(alarm.shape[1])
    last = np.maximum.accumulate(np.where(alarm, position, -_GAP - 1), axis=1)
    before = np.concatenate([np.full((len(alarm), 1), -_GAP - 1), last[:, :-1]], axis=1)
    return np.asarray((alarm & (position - before > _GAP)).sum(axis=1), dtype=np.float64)


def _skill(residual: FloatArray, values: FloatArray) -> FloatArray:
    """Returns float64[S]: the share of the error of "as the sample before" that is saved, -1 to 1.

    Args:
        residual: float64[S, T].
        values: float64[S, T + 1], the samples and the one before them.
    """
    error, naive = (_mean_size(one) for one in (residual, np.diff(values, axis=1)))
    share = 1.0 - error / np.where(naive > 0, naive, np.nan)
    return np.clip(np.where(np.isnan(share), 0.0, share), -1.0, 1.0)


def _mean_size(values: FloatArray) -> FloatArray:
    known = ~np.isnan(values)
    total = np.where(known, np.abs(values), 0.0).sum(axis=1)
    return np.asarray(total / np.maximum(known.sum(axis=1), 1))
