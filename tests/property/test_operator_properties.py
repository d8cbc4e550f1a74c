"""What holds for every world that the operator may find."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.operator_builders import (
    CONFIG,
    NOTIFICATIONS,
    NOW,
    available,
    carry_out,
    make_health,
    make_job,
    make_model,
    make_overview,
    make_request,
    make_row,
    make_trainer_pod,
    make_version,
    make_watch,
)

from metricwatch.resources import (
    AnomalyModelStatus,
    ConditionType,
    MetricWatchStatus,
    VersionState,
)
from metricwatch.store.rows import HealthState
from metricwatch_operator.observed import Observed, Problem
from metricwatch_operator.planning.conditions import Finding, next_conditions
from metricwatch_operator.planning.names import (
    detector_name,
    fit,
    label_value,
    source_volume_name,
    trainer_job_name,
)
from metricwatch_operator.planning.plan import plan

# No deadline: how long an example takes says more about the machine than about the code.
PATIENT = settings(deadline=None, max_examples=30)
NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,60}[a-z0-9])?", fullmatch=True)
STATES = st.sampled_from([state.value for state in VersionState if state != "Serving"])
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "training": st.fixed_dictionaries({"window": st.sampled_from(["7d", "14d"])}),
        "suspend": st.booleans(),
        "detector": st.fixed_dictionaries({"shards": st.integers(1, 3)}),
        "tuning": st.fixed_dictionaries({"enabled": st.booleans()}),
        "versionHistoryLimit": st.integers(1, 3),
    },
)
VERDICTS = st.sampled_from(
    [(10, "NotEnoughData"), (11, "QueryRefused"), (20, "SourceUnavailable")]
)


@st.composite
def worlds(draw: st.DrawFn) -> Observed:
    """A model with versions in any states, in any trouble."""
    changes: dict[str, Any] = draw(CHANGES)
    model = make_model(**changes)
    names: list[str] = draw(st.lists(st.sampled_from(["a", "b", "c"]), unique=True))
    watches = tuple(
        make_watch(name, notifications=NOTIFICATIONS if draw(st.booleans()) else [])
        for name in names
    )
    states: list[str] = draw(st.lists(STATES, max_size=5))
    one_serves: bool = draw(st.booleans())
    if states and one_serves:
        states[draw(st.integers(0, len(states) - 1))] = "Serving"
    requests = [
        make_request(make_model(), make_watch("a")),
        make_request(model_of("7d"), make_watch("b")),
    ]
    versions = tuple(
        make_version(
            draw(st.sampled_from(requests)),
            number,
            state,
            attempt=draw(st.integers(1, 4)),
            reason="NotEnoughData" if state == "Failed" else "",
        )
        for number, state in enumerate(states, 1)
    )
    health = draw(st.lists(st.sampled_from(HealthState), max_size=2))
    rows = tuple(make_row(watch, *(make_health(state=one) for one in health)) for watch in watches)
    jobs, pods = [], []
    for version in versions:
        ending = draw(st.sampled_from(["none", "active", "Complete", "Failed"]))
        if ending != "none":
            told = {"type": ending, "reason": "x", "message": "y"}
            jobs.append(make_job(version, condition=told if ending[0].isupper() else None))
            code, reason = draw(VERDICTS)
            pods.append(make_trainer_pod(version.version, code, reason=reason, message="z"))
    away = draw(st.booleans())
    return Observed(
        "shop",
        "checkout",
        model=model,
        watches=watches,
        jobs=tuple(jobs),
        pods=tuple(pods),
        overview=None if away else make_overview(model, versions, rows),
        store_problem=Problem("StoreUnavailable", "refused") if away else None,
    )


def model_of(window: str) -> dict[str, Any]:
    return make_model(training={"window": window})


@PATIENT
@given(worlds())
def test_the_same_world_gives_the_same_plan(observed: Observed) -> None:
    assert plan(observed, now=NOW, config=CONFIG) == plan(observed, now=NOW, config=CONFIG)


@PATIENT
@given(worlds(), st.booleans())
def test_plans_come_to_an_end_with_at_most_one_version_serving(
    observed: Observed, detectors_start: bool
) -> None:
    for _ in range(25):
        steps = plan(observed, now=NOW, config=CONFIG)
        if steps.is_empty:
            break
        observed = carry_out(observed, steps)
        if detectors_start:
            started = tuple(available(dict(one)) for one in observed.deployments)
            observed = replace(observed, deployments=started)
        if observed.overview is not None:
            states = [version.state for version in observed.overview.versions]
            assert states.count(VersionState.SERVING) <= 1
    assert steps.is_empty
    # A version in training at the end is one whose Job is there to be waited for.
    assert plan(observed, now=NOW, config=CONFIG).is_empty


@PATIENT
@given(worlds())
def test_a_serving_version_never_loses_its_detectors_before_another_serves(
    observed: Observed,
) -> None:
    if (
        observed.overview is None
        or observed.model is None
        or observed.model["spec"].get("suspend")
    ):
        return
    serving = observed.overview.serving_version
    for _ in range(10):
        steps = plan(observed, now=NOW, config=CONFIG)
        switches = [write for write in steps.writes if type(write).__name__ == "Serve"]
        observed = carry_out(observed, steps)
        if switches:
            return
        names = {one["metadata"]["name"] for one in observed.deployments}
        if serving is not None:
            assert f"checkout-detector-v{serving}-0" in names


@PATIENT
@given(worlds())
def test_statuses_fit_their_types(observed: Observed) -> None:
    for status in plan(observed, now=NOW, config=CONFIG).statuses:
        kind = AnomalyModelStatus if status["kind"] == "AnomalyModel" else MetricWatchStatus
        parsed = kind.model_validate(status["status"])
        assert parsed.observed_generation == 1
        types = [condition.type for condition in parsed.conditions]
        assert len(types) == len(set(types))


@PATIENT
@given(worlds(), st.integers(1, 50))
def test_time_alone_moves_no_transition_time(observed: Observed, seconds: int) -> None:
    steps = plan(observed, now=NOW, config=CONFIG)
    told = carry_out(observed, _only_statuses(steps))
    later = plan(told, now=NOW + timedelta(seconds=seconds), config=CONFIG)
    before = {one["metadata"]["uid"]: _transitions(one) for one in steps.statuses}
    for status in later.statuses:
        known = before.get(status["metadata"]["uid"], {})
        for key, at in _transitions(status).items():
            if key in known:
                assert known[key] == at


def _only_statuses(steps: Any) -> Any:
    return type(steps)(statuses=steps.statuses)


def _transitions(status: Any) -> dict[tuple[str, str], str]:
    return {
        (one["type"], one["status"]): one["lastTransitionTime"]
        for one in status["status"]["conditions"]
    }


@PATIENT
@given(NAMES, NAMES, st.integers(1, 10**6), st.integers(0, 255))
def test_names_of_children_fit_and_stay_apart(
    first: str, second: str, version: int, shard: int
) -> None:
    builders = (
        lambda name: trainer_job_name(name, version),
        lambda name: detector_name(name, version, shard),
        label_value,
        source_volume_name,
    )
    for build in builders:
        assert len(build(first)) <= 63
        assert (build(first) == build(second)) == (first == second)


@PATIENT
@given(st.text(alphabet="ab-", min_size=1, max_size=300), st.integers(20, 80))
def test_a_cut_name_never_ends_its_stem_with_a_dash(name: str, longest: int) -> None:
    fitted = fit(name, suffix="-x", longest=longest)
    assert len(fitted) <= max(longest, 0)
    if fitted != f"{name}-x":
        assert "--" not in fitted[len(fitted) - 12 :]


@PATIENT
@given(st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=8))
def test_a_transition_time_is_when_the_status_last_changed(history: list[bool | None]) -> None:
    conditions: list[dict[str, Any]] = []
    changed_at, last = NOW, object()
    for minutes, status in enumerate(history):
        now = NOW + timedelta(minutes=minutes)
        if status is not last:
            changed_at, last = now, status
        finding = Finding(ConditionType.READY, status, "Pending")
        conditions = next_conditions(conditions, [finding], generation=minutes, now=now)
    assert conditions[0]["lastTransitionTime"] == changed_at.strftime("%Y-%m-%dT%H:%M:%SZ")
