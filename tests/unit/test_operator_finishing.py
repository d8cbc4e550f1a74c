"""What becomes of a version when its training run is over: a table over run and verdict."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.operator_builders import (
    NOW_SECONDS,
    make_model,
    make_request,
    make_version,
    make_watch,
)
from tests.unit.version_world import gate_report

from metricwatch.resources import QualityGate
from metricwatch.store.rows import Version
from metricwatch_operator.planning.actions import SetState
from metricwatch_operator.planning.finishing import finish_training
from metricwatch_operator.planning.moves import Moves
from metricwatch_operator.planning.rollouts import read_rollout
from metricwatch_operator.planning.trainer_runs import Phase, Run

SAME = make_request(make_model(), make_watch())
OTHER = make_request(make_model(training={"window": "7d"}), make_watch())
SERVING = make_version(SAME, 1)
KEEP, PROMOTE = QualityGate(), QualityGate.model_validate({"failurePolicy": "Promote"})
DONE = Run(Phase.SUCCEEDED, message="12 series learned")


def trained(kind: str, **changes: Any) -> Version:
    """A version in training whose result is stored."""
    changes = {"reason": "Scheduled", "report": gate_report(kind)} | changes
    return make_version(SAME, 2, "Training", trained_at=NOW_SECONDS, **changes)


def finish(
    version: Version,
    run: Run = DONE,
    *,
    limits: QualityGate = KEEP,
    serving: Version | None = SERVING,
) -> Moves:
    moves = Moves("u")
    finish_training(moves, version, run, limits=limits, serving=serving)
    return moves


# Version, limits, what serves, the state that follows and its reason.
OUTCOMES: dict[str, tuple[Version, QualityGate, Version | None, str, str]] = {
    "good": (trained("good"), KEEP, SERVING, "Candidate", ""),
    "bad": (trained("bad"), KEEP, SERVING, "Rejected", "TooManyAnomalies"),
    "bad, and promoted": (trained("bad"), PROMOTE, SERVING, "Candidate", "TooManyAnomalies"),
    "bad, and the first": (trained("bad"), KEEP, None, "Rejected", "TooManyAnomalies"),
    "not measured": (trained("error"), KEEP, SERVING, "Failed", "GateError"),
    "not measured, and promoted": (trained("error"), PROMOTE, SERVING, "Failed", "GateError"),
    "unclear": (trained("unclear"), KEEP, SERVING, "Rejected", "GateInconclusive"),
    "unclear, and the first": (
        trained("unclear"),
        KEEP,
        None,
        "Candidate",
        "GateInconclusive",
    ),
    "unclear, for another spec": (
        trained("unclear"),
        KEEP,
        make_version(OTHER, 1),
        "Candidate",
        "GateInconclusive",
    ),
    "unclear, and asked for": (
        trained("unclear", reason="RetrainRequested"),
        KEEP,
        SERVING,
        "Candidate",
        "GateInconclusive",
    ),
    "no gate": (
        trained("bad"),
        QualityGate.model_validate({"enabled": False}),
        SERVING,
        "Candidate",
        "",
    ),
}


@pytest.mark.parametrize("case", OUTCOMES)
def test_each_verdict_is_handled_on_purpose(case: str) -> None:
    version, limits, serving, state, reason = OUTCOMES[case]
    moves = finish(version, limits=limits, serving=serving)
    (step,) = moves.writes
    assert isinstance(step, SetState)
    assert (str(step.state), str(step.reason)) == (state, reason)
    assert len(moves.news) == 1


def test_a_candidate_tells_what_was_learned_and_what_was_measured() -> None:
    (step,) = finish(trained("good")).writes
    assert isinstance(step, SetState)
    assert step.message.startswith("12 series learned; anomaly rate 0.50%")


@pytest.mark.parametrize(
    ("version", "run", "reason"),
    [
        (make_version(SAME, 2, "Training"), DONE, "TrainingFailed"),
        (trained("good"), Run(Phase.FAILED, "TrainingTimedOut", "too long"), "TrainingTimedOut"),
    ],
)
def test_a_run_that_failed_is_not_judged(version: Version, run: Run, reason: str) -> None:
    moves = finish(version, run)
    (step,) = moves.writes
    assert isinstance(step, SetState)
    assert (str(step.state), step.reason) == ("Failed", reason)
    assert [event for event, _ in moves.news] == ["TrainingFailed"]


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.ABSENT])
def test_a_run_that_is_not_over_goes_on(phase: Phase) -> None:
    version = make_version(SAME, 2, "Training")
    moves = finish(version, Run(phase))
    assert (moves.train, moves.writes) == (version, [])


def _pod(restarts: int, reason: str | None) -> dict[str, Any]:
    state: dict[str, Any] = {"waiting": {"reason": reason}} if reason else {"running": {}}
    container = {
        "name": "detector",
        "restartCount": restarts,
        "state": state,
        "lastState": {"terminated": {"exitCode": 3}},
    }
    return {"metadata": {"name": "pod-1"}, "status": {"containerStatuses": [container]}}


@pytest.mark.parametrize(
    ("restarts", "reason", "crashes"),
    [
        (1, "CrashLoopBackOff", False),
        (2, "CrashLoopBackOff", True),
        (9, None, False),
        (9, "ImagePullBackOff", False),
    ],
)
def test_a_pod_that_kubernetes_waits_to_start_again_crashes(
    restarts: int, reason: str | None, crashes: bool
) -> None:
    found = read_rollout((), shards=1, pods=[_pod(restarts, reason)]).crashing
    assert bool(found) == crashes
    if crashes:
        assert found == "pod-1 was restarted 2 times, exit code 3"
