"""Anomalies made up and put into real series, to see whether they are found. Pure.

Labels are rare, and a detector has to be judged before anybody has drawn any. What is put in are
the shapes of the taxonomies of time-series anomalies (Lai et al., "Revisiting Time Series Outlier
Detection", NeurIPS 2021; Emmott et al., "A Meta-Analysis of the Anomaly Detection Problem", 2015):
each is scaled to what the series itself usually does, so that the same strength asks the same of
a series in bytes and of one in milliseconds.

An anomaly that would leave a series as it was, such as a flat line in a constant one, is not put
in and not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

LEAST_SAMPLES = 12
"""An anomaly and the normal samples around it need so many ticks."""
_NORMAL = 1.4826
"""Median absolute deviation to standard deviation, for normal samples."""
_LONGEST = 256
_LONGEST_SPIKE = 3
_TRIES = 8
_MOST_MISSING = 0.5


class Kind(StrEnum):
    """Shapes of anomalies."""

    SPIKE = "spike"
    """One to three samples far out."""
    LEVEL_SHIFT = "levelShift"
    """All samples higher or lower by the same amount."""
    DRIFT = "drift"
    """Samples leave slowly, along a straight line."""
    FLAT_LINE = "flatLine"
    """The same value again and again."""
    CHANGED_SEASON = "changedSeason"
    """The rhythm upside down: the values of the night by day."""
    DROPOUT = "dropout"
    """Down to zero, or below everything known where zero is an ordinary value."""


@dataclass(frozen=True, slots=True)
class Injected:
    """One anomaly that was put in.

    Attributes:
        kind: its shape.
        series: row it is in.
        start: first tick, a position.
        end: position after its last tick.
        size: largest change of a sample, in the unit of the series.
    """

    kind: Kind
    series: int
    start: int
    end: int
    size: float


@dataclass(frozen=True, slots=True, eq=False)
class Injection:
    """Series with anomalies in them.

    Attributes:
        values: float64[S, T]; outside of `labels` exactly what they were.
        labels: bool[S, T], true within the anomalies.
        events: in the order of time.
    """

    values: Floats
    labels: Flags
    events: tuple[Injected, ...]


def inject(
    values: Floats,
    *,
    count: int,
    seed: int,
    kinds: Sequence[Kind] = tuple(Kind),
    strength: float = 6.0,
    reference: Floats | None = None,
    avoid: Flags | None = None,
) -> Injection:
    """Returns a copy of `values` with up to `count` anomalies in each series.

    Each has a stretch of the time to itself, with normal samples before and after, and the kinds
    take turns. Everything is drawn for all series at once, so the cost is that of `count` blocks
    whatever the number of series.

    Args:
        values: float64[S, T], NaN where there is no sample; missing samples stay missing.
        count: most anomalies in a series.
        seed: the same seed, values and arguments give the same anomalies.
        kinds: which shapes.
        strength: size of a spike in usual deviations of its series.
        reference: float64[S, R] that says what is usual, such as the history before `values`;
            None takes `values`.
        avoid: bool[S, T], samples that no anomaly may touch, such as real incidents.

    Raises:
        ValueError: there is no kind, or `values` is too short for so many anomalies.
    """
    series, ticks = values.shape
    if not kinds:
        raise ValueError("at least one kind of anomaly is needed")
    if count < 0 or count * LEAST_SAMPLES > ticks:
        raise ValueError(
            f"{count} anomalies need at least {count * LEAST_SAMPLES} samples, there are {ticks}"
        )
    rng = np.random.default_rng(seed)
    usual = _Usual.of(values if reference is None else reference)
    taken = np.isnan(values)
    blocked = np.zeros_like(taken) if avoid is None else avoid
    made, labels = np.array(values), np.zeros((series, ticks), np.bool_)
    events: list[Injected] = []
    for number, kind in enumerate(_turns(kinds, count, rng)):
        first, room = number * ticks // count, ticks // count
        length = _length(kind, room, rng)
        starts, fits = _places(first, room, length, taken, blocked, rng)
        where = starts[:, None] + np.arange(length)
        before = values[np.arange(series)[:, None], where]
        after = _changed(kind, before, usual, strength, rng)
        size = _largest_change(before, after)
        chosen = np.flatnonzero(fits & (size >= usual.unit))
        made[chosen[:, None], where[chosen]] = after[chosen]
        labels[chosen[:, None], where[chosen]] = True
        events += [
            Injected(kind, row, int(starts[row]), int(starts[row]) + length, float(size[row]))
            for row in chosen.tolist()
        ]
    return Injection(values=made, labels=labels, events=tuple(events))


def in_turn(made: Injection, values: Floats) -> Injection:
    """Returns the injection with one anomaly at a time: of those that overlap, one series' only.

    For series that are one system and are judged together.

    Args:
        made: of `inject`.
        values: float64[S, T], what it was made from.
    """
    kept: list[Injected] = []
    end = 0
    for one in sorted(made.events, key=lambda event: (event.start, event.end)):
        if one.start >= end + LEAST_SAMPLES // 4:
            kept.append(one)
            end = one.end
    alone, labels = np.array(values), np.zeros_like(made.labels)
    for one in kept:
        place = (one.series, slice(one.start, one.end))
        alone[place], labels[place] = made.values[place], True
    return Injection(values=alone, labels=labels, events=tuple(kept))


@dataclass(frozen=True, slots=True, eq=False)
class _Usual:
    """What S series usually do, each float64[S].

    `unit` is the spread of one sample against the one before or half of that of all samples,
    whichever is larger: a noisy flat series and a smooth one with a rhythm both get a sense of
    what is far.
    """

    unit: Floats
    middle: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, values: Floats) -> _Usual:
        known = np.where(np.isfinite(values), values, np.nan)
        known[np.isnan(known).all(axis=1)] = 0.0
        low, middle, high = np.nanpercentile(known, [1.0, 50.0, 99.0], axis=1)
        spread = _NORMAL * np.nanmedian(np.abs(known - middle[:, None]), axis=1)
        steps = np.abs(np.diff(known, axis=1, prepend=middle[:, None]))
        steps[np.isnan(steps).all(axis=1)] = 0.0
        noise = _NORMAL * np.nanmedian(steps, axis=1) / np.sqrt(2.0)
        unit = np.maximum(noise, spread / 2.0)
        # Mostly the same value: what the other samples do, else a tenth of the value, else one.
        unit = np.where(unit > 0.0, unit, np.nanstd(known, axis=1))
        unit = np.where(unit > 0.0, unit, 0.1 * np.abs(middle))
        return cls(np.where(unit > 0.0, unit, 1.0), middle, low, high)


def _turns(kinds: Sequence[Kind], count: int, rng: np.random.Generator) -> list[Kind]:
    """Returns `count` kinds: all of them in a random order, then again in another."""
    rounds = -(-count // len(kinds))
    order = [int(one) for _ in range(rounds) for one in rng.permutation(len(kinds))]
    return [kinds[one] for one in order[:count]]


def _length(kind: Kind, room: int, rng: np.random.Generator) -> int:
    longest = min(_LONGEST, room // 4)
    if kind is Kind.SPIKE:
        return int(rng.integers(1, min(_LONGEST_SPIKE, longest) + 1))
    return int(rng.integers(max(2, longest // 4), longest + 1))


def _places(
    first: int, room: int, length: int, missing: Flags, blocked: Flags, rng: np.random.Generator
) -> tuple[NDArray[np.int64], Flags]:
    """Returns for each series a start within a stretch, and whether a good one was found.

    The first quarter of the stretch is left alone, and as much after the anomaly.
    """
    margin = room // 4
    last = max(margin + 1, room - margin - length + 1)
    tries = first + rng.integers(margin, last, size=(missing.shape[0], _TRIES))
    good = _within(blocked, tries, length) == 0
    good &= _within(missing, tries, length) <= _MOST_MISSING * length
    chosen = good.argmax(axis=1)
    rows = np.arange(len(tries))
    return tries[rows, chosen], good[rows, chosen]


def _within(flags: Flags, starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Returns how many flags are set in the `length` ticks from each start, int64[S, tries]."""
    summed = np.zeros((flags.shape[0], flags.shape[1] + 1), np.int64)
    np.cumsum(flags, axis=1, out=summed[:, 1:])
    rows = np.arange(len(starts))[:, None]
    counted: NDArray[np.int64] = summed[rows, starts + length] - summed[rows, starts]
    return counted


def _changed(
    kind: Kind, block: Floats, usual: _Usual, strength: float, rng: np.random.Generator
) -> Floats:
    """Returns float64[S, length]: what stands in place of `block`; NaN stays NaN."""
    series, length = block.shape
    sign = rng.choice([-1.0, 1.0], size=(series, 1))
    reach = sign * strength * usual.unit[:, None] * rng.uniform(1.0, 1.5, size=(series, 1))
    match kind:
        case Kind.SPIKE:
            return block + reach
        case Kind.LEVEL_SHIFT:
            return block + reach / 2.0
        case Kind.DRIFT:
            return block + reach * np.linspace(1.0 / length, 1.0, length)
        case Kind.FLAT_LINE:
            seen = ~np.isnan(block)
            held = block[np.arange(series), seen.argmax(axis=1)][:, None]
            return np.where(seen, held, np.nan)
        case Kind.CHANGED_SEASON:
            turned = 2.0 * usual.middle[:, None] - block
            return np.clip(turned, usual.low[:, None], usual.high[:, None])
        case Kind.DROPOUT:
            below = usual.low - strength / 2.0 * usual.unit
            floor = np.where(usual.low > usual.unit, 0.0, below)
            return np.where(np.isnan(block), np.nan, floor[:, None])


def _largest_change(before: Floats, after: Floats) -> Floats:
    change = np.abs(after - before)
    largest: Floats = np.where(np.isnan(change), 0.0, change).max(axis=1)
    return largest
