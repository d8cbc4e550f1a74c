"""What holds for the seasonal family whatever the zone, the calendar and the samples are."""

from functools import cache
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from metricwatch.algorithms import seasonal
from metricwatch.algorithms.calendar_effects import Event
from metricwatch.algorithms.seasonal import SeasonalBank
from metricwatch.algorithms.wall_clock import DAY, MONTH_NODES, Rhythm, wall_seconds
from metricwatch.resources.seasonal import EventRepeat, SeasonalParameters
from metricwatch.series import Grid

HOUR = 3600
SERIES = 3
ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kolkata", "Australia/Lord_Howe")
HISTORY = Grid(20_300 * DAY, HOUR, 24 * 30)
LIVE = Grid(HISTORY.end + HOUR, HOUR, 24 * 5)
"""The last days of October and the first of November 2025: a switch of clocks and a holiday."""

times = st.integers(600_000_000, 2_200_000_000)
zones = st.sampled_from(ZONES)


def parameters(zone: str = "Europe/Berlin") -> SeasonalParameters:
    return SeasonalParameters.model_validate(
        {
            "timeZone": zone,
            "country": "DE-BY",
            "events": [
                {
                    "name": "job",
                    "start": "2025-08-05T22:30:00Z",
                    "duration": "3h",
                    "repeat": "daily",
                },
                {"name": "sale", "start": "2025-08-20T00:00:00Z", "repeat": "weekly"},
            ],
        }
    )


def shop(grid: Grid) -> NDArray[np.float64]:
    rng = np.random.default_rng(7)
    day = np.sin(2 * np.pi * grid.timestamps() / DAY)
    level = np.array([[0.001], [50.0], [3e9]])
    noise = rng.standard_normal((SERIES, grid.count))
    return np.asarray(level * (1 + 0.3 * day + 0.02 * noise))


@cache
def stored() -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    bank = seasonal.fit(shop(HISTORY), HISTORY, parameters())
    return bank.header(), bank.tensors()


def fresh() -> SeasonalBank:
    return seasonal.restore(*stored())


samples = st.lists(
    st.one_of(st.none(), st.floats(-5, 5), st.sampled_from([1e6, -1e6, 0.0])),
    min_size=LIVE.count,
    max_size=LIVE.count,
)


def live(offsets: list[float | None]) -> NDArray[np.float64]:
    change = np.array([np.nan if one is None else one for one in offsets])
    return np.asarray(shop(LIVE) * (1 + change))


@settings(max_examples=30, deadline=None)
@given(offsets=samples, cut=st.integers(0, LIVE.count))
def test_steps_and_a_backtest_cut_anywhere_give_the_same_evidence(
    offsets: list[float | None], cut: int
) -> None:
    values = live(offsets)
    one_by_one, in_parts = fresh(), fresh()
    ticks = LIVE.timestamps().tolist()
    steps = [one_by_one.step(time, values[:, index]) for index, time in enumerate(ticks)]
    first = in_parts.backtest(LIVE.part(0, cut), values[:, :cut])
    second = in_parts.backtest(LIVE.part(cut, LIVE.count - cut), values[:, cut:])
    evidence = np.concatenate([first.evidence, second.evidence], axis=2)
    wanted = np.stack([step.evidence for step in steps], axis=2)
    scale = np.abs(values[np.isfinite(values)]).max() if np.isfinite(values).any() else 1.0
    np.testing.assert_allclose(evidence[0], wanted[0], rtol=1e-9, atol=1e-9 * scale)
    np.testing.assert_allclose(evidence[1], wanted[1], rtol=1e-6, atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(offsets=samples, gaps=st.lists(st.booleans(), min_size=LIVE.count, max_size=LIVE.count))
def test_ticks_that_are_never_asked_for_are_samples_that_never_came(
    offsets: list[float | None], gaps: list[bool]
) -> None:
    values = live(offsets)
    values[:, gaps] = np.nan
    whole, sparse = fresh(), fresh()
    expected = whole.backtest(LIVE, values).expected
    for index, time in enumerate(LIVE.timestamps().tolist()):
        if not gaps[index]:
            got = sparse.step(time, values[:, index]).expected
            np.testing.assert_allclose(got, expected[:, index], rtol=1e-9)


@settings(max_examples=30, deadline=None)
@given(offsets=samples)
def test_evidence_is_missing_exactly_where_the_sample_is(offsets: list[float | None]) -> None:
    values = live(offsets)
    prediction = fresh().backtest(LIVE, values)
    assert np.isfinite(prediction.expected).all()
    for stream in prediction.evidence:
        np.testing.assert_array_equal(np.isnan(stream), np.isnan(values))


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(
        st.sampled_from([np.nan, 0.0, 1.0, -2.5, 1e15, -1e15, 1e-9]), min_size=1, max_size=60
    ),
    days=st.integers(1, 100),
    zone=zones,
)
def test_any_history_gives_a_bank_that_expects_something_finite(
    rows: list[float], days: int, zone: str
) -> None:
    grid = Grid(HISTORY.start, HOUR, 24 * days)
    values = np.resize(np.array(rows), (2, grid.count))
    bank = seasonal.fit(values, grid, parameters(zone).model_copy(update={"monthly": True}))
    after = Grid(grid.end + HOUR, HOUR, 30)
    prediction = bank.backtest(after, np.resize(np.array(rows), (2, 30)))
    assert np.isfinite(prediction.expected).all()
    assert not np.isinf(prediction.evidence).any()
    again = seasonal.restore(bank.header(), bank.tensors())
    assert again.header() == bank.header()


@settings(max_examples=40, deadline=None)
@given(shift=st.integers(-3, 3), factor=st.sampled_from([1e-6, 2.0, 1e6]))
def test_a_bank_does_not_care_about_units(shift: int, factor: float) -> None:
    values = shop(HISTORY)[1:2]
    plain = seasonal.fit(values, HISTORY).backtest(LIVE, shop(LIVE)[1:2])
    offset = shift * 100.0
    other = seasonal.fit(factor * (values + offset), HISTORY)
    moved = other.backtest(LIVE, factor * (shop(LIVE)[1:2] + offset))
    np.testing.assert_allclose(moved.evidence[1], plain.evidence[1], rtol=1e-2, atol=1e-2)


@settings(deadline=None)
@given(times=st.lists(times, min_size=1, max_size=20), zone=zones)
def test_a_clock_is_never_further_from_utc_than_a_zone_can_be(times: list[int], zone: str) -> None:
    array = np.array(times, dtype=np.int64)
    shown = wall_seconds(array, zone)
    assert (np.abs(shown - array) <= 16 * HOUR).all()
    alone = [int(wall_seconds(array[index : index + 1], zone)[0]) for index in range(len(array))]
    assert shown.tolist() == alone


@settings(deadline=None)
@given(
    times=st.lists(times, min_size=1, max_size=20),
    zone=zones,
    period=st.one_of(st.none(), st.sampled_from([60, HOUR, 5 * HOUR, DAY, 7 * DAY, 365 * DAY])),
)
def test_a_phase_is_within_its_turn(times: list[int], zone: str, period: int | None) -> None:
    nodes = MONTH_NODES if period is None else 24
    turn, position = Rhythm(period, zone).phase(np.array(times, dtype=np.int64), nodes)
    assert ((position >= 0) & (position < nodes)).all()
    assert turn.dtype == np.int64


@settings(deadline=None)
@given(
    start=times,
    duration=st.integers(1, 40 * DAY),
    repeat=st.sampled_from(EventRepeat),
    wall=st.lists(times, min_size=1, max_size=20),
)
def test_an_event_is_on_from_its_start_for_its_duration(
    start: int, duration: int, repeat: EventRepeat, wall: list[int]
) -> None:
    event = Event("e", start, duration, repeat)
    at_start = event.elapsed(np.array([start, start + duration - 1]))
    assert at_start[0] == 0
    assert at_start[1] >= 0
    elapsed = event.elapsed(np.array(wall, dtype=np.int64))
    assert ((elapsed >= -1) & (elapsed < duration)).all()
    before = event.elapsed(np.array(wall, dtype=np.int64) - np.maximum(elapsed, 0))
    assert (before[elapsed >= 0] == 0).all()
