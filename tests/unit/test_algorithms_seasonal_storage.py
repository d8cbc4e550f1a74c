"""A stored seasonal model: what comes back, and what is refused."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.algorithms import seasonal
from metricwatch.resources.seasonal import SeasonalParameters
from metricwatch.series import Grid

HOUR, DAY = 3600, 86400
HISTORY = Grid(20_100 * DAY, HOUR, 24 * 100)
LIVE = Grid(HISTORY.end + HOUR, HOUR, 24 * 20)
EVERYTHING = SeasonalParameters.model_validate(
    {
        "periods": ["1d", "1w", "5h"],
        "monthly": True,
        "timeZone": "Europe/Berlin",
        "country": "DE",
        "events": [
            {"name": "sale", "start": "2025-02-01T08:00:00Z", "duration": "6h"},
            {"name": "sale", "start": "2025-03-01T08:00:00Z", "duration": "6h"},
            {"name": "audit", "start": "2025-01-15T00:00:00Z", "repeat": "monthly"},
        ],
    }
)
Change = Callable[[dict[str, Any]], object]


def shop(grid: Grid) -> NDArray[np.float64]:
    rng = np.random.default_rng(grid.start)
    times = grid.timestamps()
    day = np.sin(2 * np.pi * times / DAY)
    level = np.array([[1e-3], [50.0], [3e9]])
    growth = times / HISTORY.end
    return np.asarray(level * (growth + 0.3 * day + 0.02 * rng.standard_normal((3, grid.count))))


@cache
def stored() -> tuple[str, dict[str, NDArray[Any]]]:
    bank = seasonal.fit(shop(HISTORY), HISTORY, EVERYTHING)
    return json.dumps(bank.header()), bank.tensors()


def parts() -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    header, tensors = stored()
    return json.loads(header), {name: value.copy() for name, value in tensors.items()}


def test_a_bank_comes_back_from_json_and_tensors_as_it_was() -> None:
    fitted = seasonal.fit(shop(HISTORY), HISTORY, EVERYTHING)
    again = seasonal.restore(*parts())
    assert again.header() == fitted.header()
    first, second = (bank.backtest(LIVE, shop(LIVE)) for bank in (fitted, again))
    np.testing.assert_array_equal(first.evidence, second.evidence)


def test_everything_that_was_asked_for_is_stored() -> None:
    header, tensors = parts()
    assert (header["periods"], header["monthly"]) == ([5 * HOUR, DAY, 7 * DAY], True)
    assert [event["name"] for event in header["events"]] == ["audit", "sale"]
    assert len(header["events"][1]["times"]) == 2
    assert {"trend", "slope", "rest", "holiday", "event_0", "event_1", "profile_month"} <= set(
        tensors
    )
    assert {len(value) for value in tensors.values()} == {3}


def test_a_default_model_and_its_state_take_less_than_four_kilobytes_a_series() -> None:
    grid = Grid(20_100 * DAY, 300, 28 * 288)
    values = np.random.default_rng(0).standard_normal((1, grid.count))
    bank = seasonal.fit(values, grid)
    learned = sum(tensor.nbytes for tensor in bank.tensors().values())
    state = 2 * 48 * 8 + 4 * 8
    ahead = 2 * 16 * 8
    assert learned + state + ahead < 4096


@pytest.mark.parametrize("name", sorted(stored()[1]))
def test_a_tensor_that_is_missing_is_named(name: str) -> None:
    header, tensors = parts()
    del tensors[name]
    with pytest.raises(ValueError, match=r"tensor \w+ (is|has)"):
        seasonal.restore(header, tensors)


@pytest.mark.parametrize("name", sorted(stored()[1]))
def test_a_tensor_with_something_that_is_no_number_is_refused(name: str) -> None:
    header, tensors = parts()
    tensors[name].flat[0] = np.nan
    with pytest.raises(ValueError, match=r"holds values that are no numbers|above 0"):
        seasonal.restore(header, tensors)


@pytest.mark.parametrize("name", sorted(stored()[1]))
def test_a_tensor_of_fewer_series_or_another_type_is_refused(name: str) -> None:
    for change in (lambda tensor: tensor[:2], lambda tensor: np.ones_like(tensor, dtype=np.int32)):
        header, tensors = parts()
        tensors[name] = change(tensors[name])
        with pytest.raises(ValueError, match=r"expected|spread"):
            seasonal.restore(header, tensors)


@pytest.mark.parametrize("name", ["spread", "spread_ratio"])
def test_a_spread_that_is_not_above_nothing_is_refused(name: str) -> None:
    header, tensors = parts()
    tensors[name].flat[0] = 0
    with pytest.raises(ValueError, match="must be above 0"):
        seasonal.restore(header, tensors)


@pytest.mark.parametrize("name", ["profile_0", "trend", "holiday", "event_0", "spread_ratio"])
def test_more_nodes_than_a_fit_makes_are_refused(name: str) -> None:
    header, tensors = parts()
    tensors[name] = np.ones((3, 400), dtype=tensors[name].dtype)
    with pytest.raises(ValueError, match=f"tensor {name} has 400 nodes"):
        seasonal.restore(header, tensors)


WRONG: list[tuple[str, Change, str]] = [
    ("no step", lambda header: header.pop("step"), "step is None"),
    ("step of nothing", lambda header: header.update(step=0), "step is 0"),
    ("step that is no number", lambda header: header.update(step=True), "step is True"),
    ("no zone", lambda header: header.pop("time_zone"), "time_zone is None"),
    (
        "no such zone",
        lambda header: header.update(time_zone="Moon/Sea"),
        "time_zone is 'Moon/Sea'",
    ),
    ("zone outside", lambda header: header.update(time_zone="../passwd"), "time_zone is"),
    ("zone that is a number", lambda header: header.update(time_zone=3), "time_zone is 3"),
    ("periods that are text", lambda header: header.update(periods="1d"), "periods is '1d'"),
    ("many periods", lambda header: header.update(periods=[1] * 5), "at most 4"),
    ("period of nothing", lambda header: header.update(periods=[0]), "period is 0"),
    ("half a period", lambda header: header.update(periods=[0.5]), "period is 0.5"),
    ("huge period", lambda header: header.update(periods=[10**30]), "period is 1000"),
    ("monthly maybe", lambda header: header.update(monthly="yes"), "monthly is 'yes'"),
    ("trend that is a list", lambda header: header.update(trend=[1]), "trend is"),
    ("trend with more", lambda header: header["trend"].update(more=1), "trend is"),
    ("no spacing", lambda header: header["trend"].update(spacing=0), "spacing of trend is 0"),
    ("no fade", lambda header: header["trend"].update(fade=0), "fade of trend is 0"),
    ("far start", lambda header: header["trend"].update(start=10**30), "start of trend"),
    ("holidays in a list", lambda header: header.update(holidays=[]), "holidays is"),
    ("holiday in text", lambda header: header["holidays"].update(days=["x"]), "day of a holiday"),
    ("eighth day", lambda header: header["holidays"].update(rest_day=7), "rest_day is 7"),
    (
        "holidays without end",
        lambda header: header["holidays"].update(days=list(range(6000))),
        "at most 5000",
    ),
    ("no events", lambda header: header.pop("events"), "events is None"),
    ("many events", lambda header: header.update(events=[{}] * 65), "at most 64"),
    ("event without times", lambda header: header["events"][0].update(times=[]), "has no times"),
    ("event without name", lambda header: header["events"][0].pop("name"), "event is"),
    ("event named 5", lambda header: header["events"][0].update(name=5), "name of an event"),
    (
        "event of two parts",
        lambda header: header["events"][0].update(times=[[1, 2]]),
        "expected start, duration, repeat",
    ),
    (
        "event of no duration",
        lambda header: header["events"][0].update(times=[[1, 0, "never"]]),
        "duration of event is 0",
    ),
    (
        "event that repeats hourly",
        lambda header: header["events"][0].update(times=[[1, 1, "hourly"]]),
        "hourly",
    ),
]


@pytest.mark.parametrize(
    ("change", "message"), [row[1:] for row in WRONG], ids=[r[0] for r in WRONG]
)
def test_a_header_that_no_fit_writes_is_refused(change: Change, message: str) -> None:
    header, tensors = parts()
    change(header)
    with pytest.raises(ValueError, match=message.replace("'", ".")):
        seasonal.restore(header, tensors)


def test_a_model_of_many_series_is_learned_in_blocks_and_comes_out_whole() -> None:
    grid = Grid(20_100 * DAY, HOUR, 48)
    values = np.random.default_rng(0).standard_normal((300, 48)) + np.arange(300)[:, None]
    bank = seasonal.fit(values, grid)
    assert bank.series == 300
    one = seasonal.fit(values[290:291], grid)
    for name, tensor in one.tensors().items():
        np.testing.assert_array_equal(bank.tensors()[name][290:291], tensor)


def test_a_step_far_from_the_last_one_starts_the_clock_anew() -> None:
    first, second = (seasonal.restore(*parts()) for _ in range(2))
    values = shop(LIVE)
    first.step(LIVE.start, values[:, 0])
    # Half a step late, then a day on: neither is a tick that was worked out ahead.
    for time in (LIVE.start + HOUR // 2, LIVE.start + DAY):
        got = first.step(time, values[:, 5])
        second_grid = Grid(time, HOUR, 1)
        want = second._known.pattern.at(second_grid.timestamps(), 3)[0]
        np.testing.assert_allclose(got.expected - first._level.value, second._known.centre + want)
