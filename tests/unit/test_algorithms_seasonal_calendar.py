"""Public holidays and named events: when they are on, and what they are learned to do."""

import sys
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.algorithms import seasonal
from metricwatch.algorithms.calendar_effects import Event, Holidays, NamedEvent
from metricwatch.algorithms.public_holidays import UnknownCountryError, public_holidays
from metricwatch.algorithms.seasonal import SeasonalBank
from metricwatch.algorithms.wall_clock import wall_seconds
from metricwatch.resources.seasonal import EventRepeat, SeasonalEvent, SeasonalParameters
from metricwatch.series import Grid

HOUR, DAY = 3600, 86400
Values = NDArray[np.float64]


def unix(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def days_of(grid: Grid) -> NDArray[np.int64]:
    return grid.timestamps() // DAY


def day(text: str) -> int:
    return unix(text) // DAY


def hourly(start: str, days: int) -> Grid:
    return Grid(unix(start), HOUR, 24 * days)


def noise(grid: Grid, size: float = 1.0) -> Values:
    return size * np.random.default_rng(grid.start).standard_normal(grid.count)


def event(name: str, start: str, duration: str, repeat: str = "never") -> SeasonalEvent:
    return SeasonalEvent.model_validate(
        {"name": name, "start": f"{start}:00Z", "duration": duration, "repeat": repeat}
    )


def on_at(event: Event, *texts: str) -> list[int]:
    wall = np.array([unix(text) for text in texts], dtype=np.int64)
    return [int(elapsed) for elapsed in event.elapsed(wall)]


def test_an_event_that_never_repeats_is_on_once() -> None:
    sale = Event("sale", unix("2025-11-28"), DAY, EventRepeat.NEVER)
    times = ("2025-11-27T23:59", "2025-11-28", "2025-11-28T23:00", "2025-11-29", "2026-11-28")
    assert on_at(sale, *times) == [-1, 0, 23 * HOUR, -1, -1]


def test_a_daily_event_is_on_before_its_start_too() -> None:
    backup = Event("backup", unix("2025-06-01T23:00"), 2 * HOUR, EventRepeat.DAILY)
    times = ("2025-01-01T00:30", "2025-01-01T01:00", "2026-01-01T23:00")
    assert on_at(backup, *times) == [5400, -1, 0]


def test_a_weekly_event_is_on_the_same_weekday() -> None:
    report = Event("report", unix("2025-06-02T08:00"), HOUR, EventRepeat.WEEKLY)
    assert on_at(report, "2025-05-26T08:30", "2025-06-03T08:30") == [1800, -1]


def test_a_monthly_event_passes_over_months_without_its_day() -> None:
    close = Event("close", unix("2025-01-31T20:00"), 12 * HOUR, EventRepeat.MONTHLY)
    times = ("2025-02-28T21:00", "2025-03-01T01:00", "2025-03-31T20:00", "2025-04-01T07:00")
    assert on_at(close, *times) == [-1, -1, 0, 11 * HOUR]


def test_a_yearly_event_goes_over_new_year_and_knows_leap_days() -> None:
    turn = Event("turn", unix("2020-12-31T22:00"), 4 * HOUR, EventRepeat.YEARLY)
    assert on_at(turn, "2025-01-01T01:00", "2025-01-01T02:00", "2019-12-31T22:00") == [
        3 * HOUR,
        -1,
        0,
    ]
    leap = Event("leap", unix("2024-02-29"), DAY, EventRepeat.YEARLY)
    assert on_at(leap, "2025-02-28T12:00", "2025-03-01T00:00", "2028-02-29T01:00") == [
        -1,
        -1,
        HOUR,
    ]


@pytest.mark.parametrize(
    ("duration", "repeat", "rare"),
    [
        (12 * HOUR, EventRepeat.DAILY, True),
        (13 * HOUR, EventRepeat.DAILY, False),
        (4 * DAY, EventRepeat.WEEKLY, False),
        (40 * DAY, EventRepeat.NEVER, True),
        (14 * DAY, EventRepeat.MONTHLY, True),
    ],
)
def test_what_is_on_more_than_half_of_the_time_is_not_rare(
    duration: int, repeat: EventRepeat, rare: bool
) -> None:
    assert Event("e", 0, duration, repeat).rare is rare


def test_events_of_one_name_are_occurrences_of_one() -> None:
    events = tuple(
        Event("sale", unix(text), DAY, EventRepeat.NEVER) for text in ("2025-11-28", "2026-11-27")
    )
    wall = np.array([unix("2025-11-28T12:00"), unix("2026-06-01"), unix("2026-11-27T01:00")])
    begun, node = NamedEvent("sale", events, 24).phase(wall)
    assert node.tolist() == [12, -1, 1]
    assert begun[[0, 2]].tolist() == [events[0].start, events[1].start]


def test_a_holiday_is_taken_for_the_rest_day_of_its_week() -> None:
    holidays = Holidays((day("2025-05-01"),), rest_day=6, nodes=24)
    wall = np.array([unix("2025-05-01T13:00"), unix("2025-05-02T13:00")])
    assert holidays.as_rest_days(wall).tolist() == [unix("2025-05-04T13:00"), wall[1]]
    assert holidays.phase(wall)[1].tolist() == [13, -1]


def test_dates_of_holidays_reach_from_the_history_into_the_years_to_come() -> None:
    holidays = public_holidays("DE-BY", hourly("2025-01-01", 30))
    dates = {date(1970, 1, 1) + timedelta(days=number) for number in holidays.days}
    assert {date(2025, 1, 6), date(2025, 6, 19), date(2028, 12, 25)} <= dates
    assert list(holidays.days) == sorted(holidays.days)
    assert (holidays.rest_day, holidays.nodes) == (6, 24)


@pytest.mark.parametrize(("country", "rest_day"), [("IL", 5), ("US", 6)])
def test_the_rest_day_is_the_end_of_the_countrys_weekend(country: str, rest_day: int) -> None:
    assert public_holidays(country, hourly("2025-01-01", 30)).rest_day == rest_day


@pytest.mark.parametrize("code", ["XX", "DE-QQ"])
def test_a_country_without_known_holidays_is_refused_by_name(code: str) -> None:
    grid = hourly("2025-01-01", 3)
    with pytest.raises(UnknownCountryError, match=f"no public holidays are known for {code}"):
        seasonal.fit(noise(grid)[None], grid, SeasonalParameters(country=code))


def working_week(grid: Grid, *holidays: str) -> Values:
    """A business: 100 on working days, 20 at weekends and on holidays, and a swing of 10."""
    number = days_of(grid)
    off = ((number + 3) % 7 >= 5) | np.isin(number, [day(text) for text in holidays])
    swing = 10 * np.sin(2 * np.pi * grid.timestamps() / DAY)
    return np.asarray(np.where(off, 20.0, 100.0) + swing + noise(grid))[None]


def largest(residual: Values) -> float:
    return float(np.abs(residual).max())


def test_a_holiday_is_expected_to_be_a_sunday_before_any_was_seen() -> None:
    history, live = hourly("2025-02-01", 28), hourly("2025-05-01", 1)
    values, later = working_week(history), working_week(live, "2025-05-01")
    bank = seasonal.fit(values, history, SeasonalParameters(country="DE"))
    assert largest(bank.backtest(live, later).residual) < 15
    plain = seasonal.fit(values, history).backtest(live, later).residual
    assert np.abs(plain[0, :8]).mean() > 60


def test_an_ordinary_day_after_a_holiday_is_as_it_always_was() -> None:
    history, live = hourly("2025-04-03", 28), hourly("2025-05-01", 2)
    bank = seasonal.fit(working_week(history), history, SeasonalParameters(country="DE"))
    # The holiday is not like a Sunday at all: it is worked through.
    residual = bank.backtest(live, working_week(live)).residual[0]
    assert np.abs(residual[24:]).max() < 15


def test_a_series_that_works_on_holidays_is_learned_to() -> None:
    # Five holidays in the history on which nothing is different.
    history, live = hourly("2025-04-10", 84), hourly("2025-10-03", 1)
    ignoring = working_week(history)
    bank = seasonal.fit(ignoring, history, SeasonalParameters(country="DE"))
    assert largest(bank.backtest(live, working_week(live)).residual) < 25


def test_holidays_without_a_weekly_rhythm_change_nothing() -> None:
    history, live = hourly("2025-04-03", 28), hourly("2025-05-01", 1)
    values = 10.0 + noise(history)[None]
    with_country = seasonal.fit(values, history, SeasonalParameters(country="DE"))
    expected = with_country.backtest(live, 10.0 + noise(live)[None]).expected
    assert largest(expected - 10.0) < 1.5


def sale_days(grid: Grid, *starts: str, height: float = 80.0) -> Values:
    on = np.isin(days_of(grid), [day(text) for text in starts])
    swing = 10 * np.sin(2 * np.pi * grid.timestamps() / DAY)
    return np.asarray(100.0 + swing + height * on + noise(grid))[None]


def test_what_an_event_did_once_is_expected_of_it_again() -> None:
    history, live = hourly("2025-10-01", 50), hourly("2025-11-28", 3)
    events = (event("sale", "2025-10-31T00:00", "1d"), event("sale", "2025-11-28T00:00", "1d"))
    values, later = sale_days(history, "2025-10-31"), sale_days(live, "2025-11-28")
    bank = seasonal.fit(values, history, SeasonalParameters(events=events))
    assert largest(bank.backtest(live, later).residual) < 15
    plain = seasonal.fit(values, history).backtest(live, later).residual
    assert plain[0, :8].mean() > 60


def test_an_event_that_did_nothing_is_expected_to_do_nothing() -> None:
    history = hourly("2025-10-01", 50)
    events = (event("sale", "2025-10-31T00:00", "1d"),)
    bank = seasonal.fit(
        sale_days(history, "2025-10-31", height=0.0), history, SeasonalParameters(events=events)
    )
    assert np.abs(bank.tensors()["event_0"]).max() < 1.0


def test_an_event_of_which_the_history_has_nothing_does_nothing() -> None:
    history = hourly("2025-10-01", 20)
    events = (event("sale", "2025-11-28T00:00", "1d"),)
    bank = seasonal.fit(sale_days(history), history, SeasonalParameters(events=events))
    np.testing.assert_array_equal(bank.tensors()["event_0"], 0.0)


def test_a_spike_at_one_of_many_occurrences_is_not_learned() -> None:
    history = hourly("2025-10-01", 50)
    values = sale_days(history)
    spike = (unix("2025-10-15T03:00") - history.start) // HOUR
    values[0, spike] += 1000
    events = (event("report", "2025-10-01T03:00", "2h", "weekly"),)
    bank = seasonal.fit(values, history, SeasonalParameters(events=events))
    assert np.abs(bank.tensors()["event_0"]).max() < 2.0


def test_a_weekly_event_of_hours_is_learned_at_its_hours() -> None:
    history, live = hourly("2025-10-01", 30), hourly("2025-11-03", 2)
    events = (event("report", "2025-10-06T08:00", "3h", "weekly"),)

    def values(grid: Grid) -> Values:
        second = (grid.timestamps() - unix("2025-10-06T08:00")) % (7 * DAY)
        return np.asarray(100.0 + 50.0 * (second < 3 * HOUR) + noise(grid))[None]

    parameters = SeasonalParameters(events=events, periods=("1d",))
    bank = seasonal.fit(values(history), history, parameters)
    residual = bank.backtest(live, values(live)).residual
    assert largest(residual) < 8


def test_an_event_keeps_to_the_wall_clock_of_its_zone() -> None:
    history, live = hourly("2025-10-01", 20), hourly("2025-10-27", 2)
    zone = "Europe/Berlin"

    def values(grid: Grid) -> Values:
        hour = wall_seconds(grid.timestamps(), zone) % DAY // HOUR
        return np.asarray(100.0 + 50.0 * (hour == 6) + noise(grid))[None]

    # Six o'clock in summer is four o'clock in UTC, and five once clocks are put back.
    events = (event("job", "2025-10-01T04:00", "1h", "daily"),)
    parameters = SeasonalParameters(events=events, time_zone=zone)
    bank = seasonal.fit(values(history), history, parameters)
    assert largest(bank.backtest(live, values(live)).residual) < 8


def test_an_event_that_is_always_on_does_not_stop_the_level() -> None:
    history, live = hourly("2025-10-01", 20), hourly("2025-10-21", 3)
    events = (event("always", "2025-10-01T00:00", "1d", "daily"),)
    bank = seasonal.fit(sale_days(history), history, SeasonalParameters(events=events))
    residual = bank.backtest(live, sale_days(live) + 50).residual[0]
    assert residual[0] > 40
    assert np.abs(residual[-24:]).max() < 10


def test_neither_spread_nor_level_is_nan_when_an_event_covers_all_of_a_history() -> None:
    history = hourly("2025-10-01", 5)
    events = (event("move", "2025-09-01T00:00", "60d"),)
    bank = seasonal.fit(sale_days(history), history, SeasonalParameters(events=events))
    live = hourly("2025-10-06", 2)
    prediction = bank.backtest(live, sale_days(live))
    assert np.isfinite(prediction.evidence).all()


def restored(bank: SeasonalBank) -> SeasonalBank:
    return seasonal.restore(bank.header(), bank.tensors())


def test_scoring_a_stored_model_needs_no_list_of_holidays_but_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    history, live = hourly("2025-04-03", 28), hourly("2025-05-01", 1)
    values = working_week(history, "2025-04-18", "2025-04-21")
    bank = seasonal.fit(values, history, SeasonalParameters(country="DE"))
    monkeypatch.setitem(sys.modules, "holidays", None)
    residual = restored(bank).backtest(live, working_week(live, "2025-05-01")).residual
    assert largest(residual) < 15
    with pytest.raises(ModuleNotFoundError):
        seasonal.fit(values, history, SeasonalParameters(country="DE"))
