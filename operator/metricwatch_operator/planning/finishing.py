"""What becomes of a version in training: a candidate, rejected by the gate, or failed.

| The run | The gate | The version becomes |
|---|---|---|
| goes on | | |
| failed, or stored nothing | | Failed, in the trainer's words |
| trained it | Successful | Candidate |
| | Failed | Rejected, or a Candidate with `failurePolicy: Promote` |
| | Error | Failed, reason GateError: trained again after a while |
| | Inconclusive | Candidate when it is needed, else Rejected |

A version that nobody could judge is needed when nothing serves, when the spec asks for something
else than what serves, and when a person asked for it. Otherwise the serving version is the better
bet: it has shown what it can do.
"""

from __future__ import annotations

from metricwatch.resources import QualityGate, Reason, VersionState
from metricwatch.resources.training import FailurePolicy
from metricwatch.store.rows import Version
from metricwatch_operator.planning.gate import Judgement, Verdict, judge, read_measurement
from metricwatch_operator.planning.moves import Moves
from metricwatch_operator.planning.trainer_runs import Phase, Run
from metricwatch_operator.planning.triggers import RETRAIN_REQUESTED


def finish_training(
    moves: Moves, version: Version, run: Run, *, limits: QualityGate, serving: Version | None
) -> None:
    """Moves a version in training on when its run is over; else it is to be trained."""
    number = version.version
    if run.phase is Phase.FAILED:
        moves.set_state(version, VersionState.FAILED, reason=run.reason, message=run.message)
        moves.tell("TrainingFailed", f"version {number}: {run.reason}: {run.message}")
    elif version.trained_at is not None and run.phase in (Phase.SUCCEEDED, Phase.ABSENT):
        _judge(moves, version, run, limits=limits, serving=serving)
    elif run.phase is Phase.SUCCEEDED:
        message = "the trainer ended well but stored no result"
        moves.set_state(
            version, VersionState.FAILED, reason=Reason.TRAINING_FAILED, message=message
        )
        moves.tell("TrainingFailed", f"version {number}: {message}")
    else:
        moves.train = version


def outcome_of(
    judgement: Judgement, version: Version, *, policy: FailurePolicy, serving: Version | None
) -> VersionState:
    """The state that a version gets for a verdict."""
    match judgement.verdict:
        case Verdict.SUCCESSFUL:
            return VersionState.CANDIDATE
        case Verdict.FAILED:
            promotes = policy is FailurePolicy.PROMOTE
            return VersionState.CANDIDATE if promotes else VersionState.REJECTED
        case Verdict.ERROR:
            return VersionState.FAILED
        case Verdict.INCONCLUSIVE:
            needed = _is_needed(version, serving)
            return VersionState.CANDIDATE if needed else VersionState.REJECTED


def _is_needed(version: Version, serving: Version | None) -> bool:
    if serving is None or version.request_hash != serving.request_hash:
        return True
    return version.reason == RETRAIN_REQUESTED


def _judge(
    moves: Moves, version: Version, run: Run, *, limits: QualityGate, serving: Version | None
) -> None:
    found = judge(read_measurement(version.report), limits, is_first=serving is None)
    state = outcome_of(found, version, policy=limits.failure_policy, serving=serving)
    passed = found.verdict is Verdict.SUCCESSFUL
    learned = "; ".join(part for part in (run.message, found.message) if part)
    reason = "" if passed else found.reason
    moves.set_state(version, state, reason=reason, message=learned if passed else found.message)
    number = version.version
    match state:
        case VersionState.CANDIDATE:
            moves.tell("VersionTrained", f"version {number} is trained: {learned}")
        case VersionState.REJECTED:
            moves.tell("VersionRejected", f"version {number}: {found.reason}: {found.message}")
        case _:
            moves.tell("TrainingFailed", f"version {number}: {found.reason}: {found.message}")
