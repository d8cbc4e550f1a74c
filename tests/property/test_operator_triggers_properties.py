"""What holds of schedules and of when to train, whatever the lines, the zones and the history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.unit.operator_builders import (
    CONFIG,
    NOW,
    NOW_SECONDS,
    make_health,
    make_model,
    make_overview,
    make_request,
    make_row,
    make_version,
    make_watch,
)

from metricwatch.anomalies.policy import MaintenanceWindow
from metricwatch.resources import VersionState
from metricwatch.store.rows import Version
from metricwatch_operator.observed import Observed
from metricwatch_operator.planning.answering import answers
from metricwatch_operator.planning.backoff import LONGEST_RETRY_SECONDS, retry_at
from metricwatch_operator.planning.desired import read_desired
from metricwatch_operator.planning.schedules import latest_due, maintenance_end, next_due
from metricwatch_operator.planning.trainer_runs import Phase, Run
from metricwatch_operator.planning.triggering import Wish, wish

PATIENT = settings(deadline=None, max_examples=60)
DAY = 86400
# From Lord Howe, where clocks change by half an hour, to Apia, which left out a day.
ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"]
)
TIMES = st.integers(int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()), NOW_SECONDS)
LINES = st.builds(
    "{} {} * * {}".format,
    st.one_of(st.integers(0, 59), st.just("*/20")),
    st.one_of(st.integers(0, 23), st.just("*"), st.just("*/6")),
    st.one_of(st.just("*"), st.integers(0, 7)),
)
DAILY = st.builds("{} {} * * *".format, st.integers(0, 59), st.integers(0, 23))


@PATIENT
@given(LINES, ZONES, TIMES)
def test_the_latest_and_the_next_time_enclose_now_and_nothing_lies_between(
    line: str, zone: str, now: int
) -> None:
    latest, following = latest_due(line, zone, now), next_due(line, zone, now)
    assert latest <= now < following
    assert next_due(line, zone, latest) == following
    assert latest_due(line, zone, following - 1) == latest
    assert latest_due(line, zone, following) == following


@PATIENT
@given(DAILY, ZONES, TIMES)
def test_a_line_that_names_an_hour_is_due_once_on_every_day_there_is(
    line: str, zone: str, now: int
) -> None:
    days, time = [], now
    for _ in range(5):
        time = next_due(line, zone, time)
        days.append(datetime.fromtimestamp(time, ZoneInfo(zone)).date())
    assert days == [days[0] + timedelta(days=number) for number in range(5)]


@PATIENT
@given(DAILY, ZONES, st.integers(60, 2 * DAY), TIMES)
def test_the_end_of_maintenance_is_the_first_moment_outside_it(
    line: str, zone: str, duration: int, now: int
) -> None:
    window = MaintenanceWindow(line, zone, duration)
    end = maintenance_end((window,), now)
    assert (end is not None) == window.covers(now)
    # Longer than a day without an end is cut short.
    if end is not None and duration < DAY - 2 * 3600:
        assert not window.covers(end)
        assert window.covers(end - 1)


STATES = st.sampled_from([str(state) for state in VersionState])
REASONS = st.sampled_from(["", "Superseded", "Imported", "SourceUnavailable", "DetectorNotReady"])
SPECS: tuple[dict[str, Any], ...] = (
    {},
    {"training": {"window": "7d"}},
    {"training": {"schedule": "0 * * * *", "timeout": "2h"}},
    {"suspend": True},
    {"version": 1},
    {"rollout": {"strategy": "Shadow"}},
)
WATCHES = (
    (make_watch(),),
    (make_watch(), make_watch("errors")),
    (make_watch("errors"),),
    (make_watch(detection={"maintenance": [{"schedule": "50 * * * *", "duration": "20m"}]}),),
)
RUNS = st.builds(
    Run,
    st.sampled_from(Phase),
    st.sampled_from(["", "NoLabels", "SourceUnavailable"]),
    exit_code=st.sampled_from([None, 10, 11, 20, 70]),
    retry_after=st.none() | st.floats(0, 7200),
    ended_at=st.none() | st.integers(NOW_SECONDS - 5 * DAY, NOW_SECONDS),
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Version, ...]:
    """Versions for any of the specs in any state, one of them serving at most."""
    found: list[Version] = []
    for number in range(1, draw(st.integers(0, 4)) + 1):
        state = draw(STATES)
        if state == "Serving" and any(one.state == "Serving" for one in found):
            state = "Retired"
        model = make_model(**draw(st.sampled_from(SPECS)))
        created = NOW_SECONDS - draw(st.integers(0, 4 * DAY))
        trained = created + 60 if state not in ("Training", "Failed") else None
        version = make_version(
            make_request(model, *draw(st.sampled_from(WATCHES))),
            number,
            state,
            reason=draw(REASONS),
            attempt=draw(st.integers(1, 9)),
            created_at=created,
            trained_at=trained,
        )
        found.append(version)
    return tuple(found)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Observed, dict[int, Run]]:
    """A model with any spec and any history."""
    model = make_model(**draw(st.sampled_from(SPECS)))
    watches, versions = draw(st.sampled_from(WATCHES)), draw(histories())
    drift = draw(st.none() | st.floats(0, 1))
    rows = [
        make_row(watch, *(make_health(one.version, drift=drift) for one in versions))
        for watch in watches
    ]
    overview = make_overview(model, versions, tuple(rows))
    observed = Observed("shop", "checkout", model=model, watches=watches, overview=overview)
    return observed, {one.version: draw(RUNS) for one in versions}


def _wish(observed: Observed, runs: dict[int, Run], now: datetime = NOW) -> Wish:
    return wish(observed, read_desired(observed, CONFIG), runs, now=now, config=CONFIG)


@settings(deadline=None, max_examples=60)
@given(worlds())
def test_a_version_is_made_for_a_reason_and_a_held_one_waits_for_something(
    world: tuple[Observed, dict[int, Run]],
) -> None:
    wanted = _wish(*world)
    assert bool(wanted.reason) == bool(wanted.why)
    assert wanted.attempt >= 1
    if wanted.is_due:
        assert wanted.at is None
    if wanted.held is not None:
        assert wanted.reason
        assert wanted.held.message
    if wanted.at is not None:
        assert wanted.at > NOW_SECONDS


@settings(deadline=None, max_examples=60)
@given(worlds())
def test_the_version_that_was_just_made_is_not_made_again(
    world: tuple[Observed, dict[int, Run]],
) -> None:
    observed, runs = world
    assume(_wish(observed, runs).is_due)
    desired, overview = read_desired(observed, CONFIG), observed.overview
    assert desired.request is not None
    assert overview is not None
    number = max((one.version for one in overview.versions), default=0) + 1
    made = make_version(desired.request, number, "Training", created_at=NOW_SECONDS)
    after = make_overview(dict(observed.model or {}), (*overview.versions, made), overview.watches)
    again = _wish(
        Observed("shop", "checkout", observed.model, observed.watches, (), (), (), after), runs
    )
    assert not again.reason


@settings(deadline=None, max_examples=100)
@given(worlds())
def test_what_time_alone_ends_has_ended_when_that_time_comes(
    world: tuple[Observed, dict[int, Run]],
) -> None:
    """At the end of a hold another one may begin, but never the same one."""
    wanted = _wish(*world)
    # In one world of six something is held back; discarding the others would be refused.
    if wanted.held is None or wanted.held.until is None:
        return
    later = datetime.fromtimestamp(wanted.held.until or 0, UTC) + timedelta(seconds=1)
    again = _wish(*world, now=later)
    if again.held is not None and again.held.reason == wanted.held.reason:
        assert again.held.until != wanted.held.until


@PATIENT
@given(histories(), RUNS)
def test_another_try_is_never_before_the_run_ended_and_never_put_off_for_long(
    versions: tuple[Version, ...], run: Run
) -> None:
    for version in versions:
        due = retry_at(version, run)
        if due is None:
            continue
        ended = version.trained_at or run.ended_at or version.created_at
        waited = due - ended
        assert 60 <= waited <= max(LONGEST_RETRY_SECONDS, run.retry_after or 0) + 600


@PATIENT
@given(st.sampled_from(SPECS), st.sampled_from(WATCHES), st.sampled_from(WATCHES))
def test_a_version_answers_for_fewer_watches_and_never_for_more(
    spec: dict[str, Any], before: tuple[Any, ...], after: tuple[Any, ...]
) -> None:
    version = make_version(make_request(make_model(**spec), *before))
    request = make_request(make_model(**spec), *after)
    old, new = ({watch["metadata"]["uid"] for watch in watches} for watches in (before, after))
    assert answers(version, request) == (new <= old)
