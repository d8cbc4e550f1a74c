"""What a set of parameters is worth: judged on history alone, never on a label of a test.

History is cut into folds, as in production: fitted on what came before, judged on what came after.
Anomalies are made up and put into a copy of the part that judges (`metricwatch.injection`), and a
set of parameters is worth

    the share of them that is found at the alarm budget + a fifth of its skill in forecasting,

where found means: more evidence within the anomaly than the undisturbed part gives more often than
the budget allows, and skill is the share of the error of "as the sample before" that is saved. The
second term tells apart what finds equally much; a family without a residual does without.

The last fold takes no part in the search. It alone says what the search brought: the best of many
trials looks better than it is on whatever chose it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms import RESIDUAL, Bank, Family, OnlineBank, Prediction
from metricwatch.injection import LEAST_SAMPLES, Injected, Injection, Kind, inject
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid
from metricwatch_trainer.preparation import Group

_FOLDS = ((0.5, 0.65), (0.65, 0.8))
_CONFIRMING = (0.8, 1.0)
_CONFIRMING_ROUNDS = 4
"""Other anomalies in the same part cost no fit, and what they say decides what is changed."""
_PARTS = 3
_MOST_SERIES = 24
_ALARMS_PER_WEEK = 0.5
_WEEK = 604_800
_SKILL_SHARE = 0.2
_ROOM = 4 * LEAST_SAMPLES
"""Ticks that one made-up anomaly gets, with as many normal ones around it."""
_LATE = 2
"""An anomaly counts as found up to so many samples after its end."""


class TooLittle(Exception):
    """The history is too little to judge parameters on; the message says by how much."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some series over one fold.

    Attributes:
        grid: of the whole fold.
        values: float64[S, T].
        labels: bool[S, T] for families that learn from labels.
        head: ticks to fit on; the others judge.
        injections: what the others are with anomalies in them, each with other ones.
    """

    grid: Grid
    values: NDArray[np.float64]
    labels: NDArray[np.bool_] | None
    head: int
    injections: tuple[Injection, ...]

    @property
    def teaches(self) -> bool:
        """Whether a family that learns from labels finds one."""
        return self.labels is None or bool(self.labels[:, : self.head].any())


@dataclass(frozen=True, slots=True)
class Objective:
    """Judges parameters of one family on the history of one watch.

    Attributes:
        family: the family.
        scaling: how samples are made comparable.
        seed: of everything random.
        searching: parts that trials are compared on, in the order they are judged in.
        confirming: the part that says what the best trial is worth.
    """

    family: Family
    scaling: Scaling
    seed: int
    searching: tuple[Part, ...]
    confirming: Part

    @classmethod
    def of(
        cls, groups: Sequence[Group], *, family: Family, scaling: Scaling, seed: int
    ) -> Objective:
        """Returns an objective on the largest group, at most 24 of its series, chosen by `seed`.

        Raises:
            TooLittle: a fold would have no room for an anomaly, or no label to learn from.
        """
        group = max(groups, key=lambda one: one.panel.values.size)
        rows = _chosen(group, seed=seed)
        # A fold for each part of the series before the next fold: a trial that is poor on the
        # first third of them need not be fitted to the others.
        searching = tuple(
            _part(group, some, fold, seed=seed)
            for some in np.array_split(rows, min(_PARTS, len(rows)))
            for fold in _FOLDS
        )
        searching = tuple(part for part in searching if part.teaches)
        confirming = _part(group, rows, _CONFIRMING, seed=seed + 1, rounds=_CONFIRMING_ROUNDS)
        if not searching or not confirming.teaches:
            raise TooLittle("too few recorded anomalies to judge parameters on")
        return cls(
            family=family,
            scaling=scaling,
            seed=seed,
            searching=searching,
            confirming=confirming,
        )

    def steps(
        self, parameters: ApiModel | None, *, should_stop: Callable[[], bool]
    ) -> Iterator[float]:
        """Yields the mean worth after each part; more is better, 0 to 1.2.

        Raises:
            FitStopped: `should_stop` returned true.
        """
        total = 0.0
        for number, part in enumerate(self.searching, 1):
            total += self._worth(part, parameters, should_stop)
            yield total / number

    def confirm(self, parameters: ApiModel | None, *, should_stop: Callable[[], bool]) -> float:
        """Returns the worth on the fold that takes no part in the search.

        Raises:
            FitStopped: `should_stop` returned true.
        """
        return self._worth(self.confirming, parameters, should_stop)

    def _worth(
        self, part: Part, parameters: ApiModel | None, should_stop: Callable[[], bool]
    ) -> float:
        head, grid = part.head, part.grid
        bank = self.family.fit(
            part.values[:, :head],
            grid.part(0, head),
            parameters,
            scaling=self.scaling,
            seed=self.seed,
            labels=None if part.labels is None else part.labels[:, :head],
            should_stop=should_stop,
        )
        _bring_up_to_date(bank, part)
        rest = grid.part(head, grid.count - head)
        clean = deepcopy(bank).backtest(rest, part.values[:, head:])
        spare = int(_ALARMS_PER_WEEK * rest.count * grid.step / _WEEK)
        found = [
            recall(
                clean.evidence,
                deepcopy(bank).backtest(rest, injection.values).evidence,
                injection.events,
                spare=spare,
            )
            for injection in part.injections
        ]
        worth = sum(found) / len(found)
        if all(stream.name != RESIDUAL.name for stream in bank.streams):
            return worth
        return worth + _SKILL_SHARE * skill(clean, part.values[:, head - 1 :])


def recall(
    clean: NDArray[np.float64],
    disturbed: NDArray[np.float64],
    events: Sequence[Injected],
    *,
    spare: int,
) -> float:
    """Returns the share of anomalies that stand out from the undisturbed samples; 0 without any.

    Args:
        clean: float[K, S, T], evidence of samples as they were.
        disturbed: the same with anomalies in them.
        events: the anomalies.
        spare: how many undisturbed samples of a series may stand out as well.
    """
    usual = np.nanpercentile(np.where(np.isnan(clean), 0.0, np.abs(clean)), 99.0, axis=-1)
    # Streams have units of their own. One that never moves says nothing.
    unit = np.where(usual > 0.0, usual, np.inf)[..., None]
    quiet, loud = (
        np.where(np.isnan(one), 0.0, np.abs(one) / unit).max(axis=0) for one in (clean, disturbed)
    )
    rank = min(spare + 1, quiet.shape[-1])
    limit = np.partition(quiet, quiet.shape[-1] - rank, axis=-1)[:, -rank]
    found = [
        loud[event.series, event.start : event.end + _LATE].max() > limit[event.series]
        for event in events
    ]
    return sum(map(float, found)) / len(found) if found else 0.0


def skill(prediction: Prediction, values: NDArray[np.float64]) -> float:
    """Returns the median share of the error of "as the sample before" that is saved, -1 to 1.

    Args:
        prediction: of T samples.
        values: float64[S, T + 1], those samples and the one before them.
    """
    error = _mean_size(prediction.residual)
    naive = _mean_size(np.diff(values, axis=1))
    known = np.isfinite(error) & (naive > 0.0)
    if not known.any():
        return 0.0
    return float(np.median(np.clip(1.0 - error[known] / naive[known], -1.0, 1.0)))


def _chosen(group: Group, *, seed: int) -> NDArray[np.int64]:
    """Returns rows of the group, those with labels before the others."""
    order = np.random.default_rng(seed).permutation(len(group.panel.labels))
    if group.labels is not None:
        unlabelled = np.count_nonzero(group.labels[order], axis=1) == 0
        order = order[np.argsort(unlabelled, kind="stable")]
    return np.sort(order[:_MOST_SERIES])


def _part(
    group: Group,
    rows: NDArray[np.int64],
    fold: tuple[float, float],
    *,
    seed: int,
    rounds: int = 1,
) -> Part:
    panel = group.panel
    head, end = (round(share * panel.grid.count) for share in fold)
    count = min((end - head) // _ROOM, len(Kind))
    if count < 1:
        least = round(_ROOM / min(after - before for before, after in _FOLDS))
        raise TooLittle(f"{panel.grid.count} samples are too few to judge parameters on: {least}")
    values = panel.values[rows, :end]
    return Part(
        grid=panel.grid.part(0, end),
        values=values,
        labels=None if group.labels is None else group.labels[rows, :end],
        head=head,
        injections=tuple(
            inject(values[:, head:], count=count, seed=seed + number, reference=values[:, :head])
            for number in range(rounds)
        ),
    )


def _bring_up_to_date(bank: Bank, part: Part) -> None:
    """An online bank is so by being fitted; any other needs the samples before the first."""
    if not isinstance(bank, OnlineBank):
        first = part.head - min(bank.warmup, part.head)
        history = part.grid.part(first, part.head - first)
        bank.backtest(history, part.values[:, first : part.head])


def _mean_size(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = ~np.isnan(values)
    count = np.count_nonzero(known, axis=1)
    total = np.where(known, np.abs(values), 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
