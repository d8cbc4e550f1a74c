"""A span of ticks taken at once: what the detector's ticks give, whatever there is in it."""

import itertools
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.property.test_anomalies_lifecycle_properties import same, shown

from metricwatch.anomalies import (
    Action,
    Blame,
    Change,
    Lifecycle,
    MaintenanceWindow,
    Policy,
    SpanVerdicts,
    advance,
    advance_span,
)

INTERVAL, START = 60, 1_761_434_400
"""Two hours before the clock in Berlin was put back in 2025."""
PATIENT = settings(deadline=None)
NAN = float("nan")
LEVELS = st.sampled_from([0.0, NAN, 0.69, 0.7, 0.9, 1.0, 1.01, 2.0, 3.5, 1e6])
WINDOWS = st.builds(
    MaintenanceWindow,
    schedule=st.sampled_from(["*/7 * * * *", "30 2 * * *", "0 * * * *"]),
    time_zone=st.sampled_from(["UTC", "Europe/Berlin"]),
    duration=st.sampled_from([60, 300, 1800]),
)
Played = tuple[list[str], list[list[bool]], Lifecycle]


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    of = draw(st.integers(1, 6))
    return Policy(
        interval=INTERVAL,
        threshold=4.0,
        anomalous=draw(st.integers(1, of)),
        of=of,
        min_duration=draw(st.sampled_from([0, 60, 200])),
        collective_after=draw(st.sampled_from([0, 60, 300])),
        cooldown=draw(st.sampled_from([0, 120, 600])),
        missing_is_anomaly=draw(st.booleans()),
        missing_after=draw(st.sampled_from([60, 240])),
        maintenance=tuple(draw(st.lists(WINDOWS, max_size=2))),
    )


@st.composite
def sayings(draw: st.DrawFn) -> SpanVerdicts:
    """Ticks with gaps, some of which are so long that what is missing is gone for good."""
    series, ticks = draw(st.integers(1, 4)), draw(st.integers(1, 40))
    shape = (series, ticks)
    steps = st.sampled_from([1, 1, 1, 1, 2, 5, 2000])
    apart = draw(st.lists(steps, min_size=ticks, max_size=ticks))
    score = draw(arrays.arrays(np.float64, shape, elements=LEVELS))
    seen = draw(arrays.arrays(np.bool_, shape, fill=st.just(True)))
    side = draw(arrays.arrays(np.int8, shape, elements=st.integers(-1, 1), fill=st.just(1)))
    number = np.arange(series * ticks, dtype=np.float64).reshape(shape)
    value = np.where(seen, 10 * np.nan_to_num(score) + number, NAN)
    return SpanVerdicts(
        times=START + INTERVAL * np.cumsum(apart),
        value=value,
        expected=np.where(side == 0, value + 1 - number % 3, number),
        lower=number - 1,
        upper=number + 1,
        rarity=4 * score,
        score=score,
        typical=number + 0.5,
        severity=score,
        side=side,
        long=draw(arrays.arrays(np.bool_, shape, fill=st.just(False))),
        blame=draw(st.none() | st.just(_blame(series, ticks))),
    )


def _blame(series: int, ticks: int) -> Blame:
    """Three channels of the first series, which is a system, in an order that changes."""
    weight = np.arange(3 * ticks, dtype=np.float64).reshape(3, ticks) % 7
    return Blame(
        labels=tuple((("channel", f"{one}"),) for one in range(3)),
        system=np.array([0, 0, series - 1]),
        weight=weight,
        deviation=np.where(weight == 3, NAN, weight),
    )


def by_ticks(policy: Policy, life: Lifecycle, said: SpanVerdicts, cuts: list[int]) -> Played:
    changes: list[Change] = []
    within = []
    for one in said:
        changes += advance(policy, life, one)
        within.append(life.open.tolist())
    return shown(without_overtaken(changes, said, cuts)), within, life


def without_overtaken(changes: list[Change], said: SpanVerdicts, cuts: list[int]) -> list[Change]:
    """Without updates that a later change of the same span says more of."""
    span = {time: int(np.searchsorted(cuts, at, "right")) for at, time in enumerate(said.times)}
    last = {(span[one.time], one.series): number for number, one in enumerate(changes)}
    return [
        one
        for number, one in enumerate(changes)
        if one.action is not Action.UPDATED or last[span[one.time], one.series] == number
    ]


def by_spans(policy: Policy, life: Lifecycle, said: SpanVerdicts, cuts: list[int]) -> Played:
    changes: list[Change] = []
    within: list[list[bool]] = []
    for first, end in itertools.pairwise([0, *cuts, len(said)]):
        flags, changed = advance_span(policy, life, part(said, first, end))
        changes += changed
        within += flags.T.tolist()
    return shown(changes), within, life


def part(said: SpanVerdicts, first: int, end: int) -> SpanVerdicts:
    columns = {
        entry.name: getattr(said, entry.name)[..., first:end]
        for entry in fields(SpanVerdicts)
        if entry.name != "blame"
    }
    blame = said.blame and replace(
        said.blame,
        weight=said.blame.weight[:, first:end],
        deviation=said.blame.deviation[:, first:end],
    )
    return SpanVerdicts(**columns, blame=blame)


def assert_alike(one: Played, other: Played) -> None:
    assert one[0] == other[0]
    assert one[1] == other[1]
    assert same(one[2], other[2])


@PATIENT
@given(policies(), sayings(), st.data())
def test_spans_give_what_ticks_give(
    policy: Policy, said: SpanVerdicts, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(said)), max_size=5)) - {len(said)})
    assert_alike(
        by_spans(policy, Lifecycle(), said, cuts), by_ticks(policy, Lifecycle(), said, cuts)
    )


@PATIENT
@given(policies(), policies(), sayings(), st.data())
def test_spans_go_on_where_ticks_of_another_policy_ended(
    before: Policy, policy: Policy, said: SpanVerdicts, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(said) - 1))
    first, rest = part(said, 0, cut), part(said, cut, len(said))
    life = by_ticks(before, Lifecycle.of(data.draw(st.integers(0, 6))), first, [])[2]
    # More series than the verdicts hold are series that came to nothing in these ticks.
    assert_alike(by_spans(policy, life.copy(), rest, []), by_ticks(policy, life.copy(), rest, []))


@PATIENT
@given(st.lists(WINDOWS, max_size=2), st.integers(0, 400), st.integers(1, 60))
def test_maintenance_of_many_ticks_is_that_of_each(
    windows: list[MaintenanceWindow], first: int, count: int
) -> None:
    policy = Policy(interval=INTERVAL, threshold=4.0, maintenance=tuple(windows))
    times = START + INTERVAL * (first + np.arange(count))
    assert policy.maintained(times).tolist() == [
        policy.in_maintenance(time) for time in times.tolist()
    ]


@PATIENT
@given(sayings())
def test_no_tick_is_counted_twice(said: SpanVerdicts) -> None:
    policy = Policy(interval=INTERVAL, threshold=4.0)
    life = Lifecycle()
    advance_span(policy, life, said)
    before = life.copy()
    with pytest.raises(ValueError, match="already counted"):
        advance_span(policy, life, said)
    assert same(life, before)
