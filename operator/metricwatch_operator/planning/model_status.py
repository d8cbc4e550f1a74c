"""Status of an AnomalyModel: what is true about it, for people and for `kubectl wait`.

While the database is away the facts that come from it stay as they were told last;
`StoreAvailable` and `Ready` say why nothing is newer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metricwatch.resources import VersionState
from metricwatch.store.rows import Version
from metricwatch_operator.objects import Manifest
from metricwatch_operator.planning.answering import SUPERSEDED
from metricwatch_operator.planning.conditions import next_conditions
from metricwatch_operator.planning.estimates import estimate_detector_memory
from metricwatch_operator.planning.facts import Facts
from metricwatch_operator.planning.model_conditions import model_findings
from metricwatch_operator.planning.training_estimates import estimate_training
from metricwatch_operator.planning.version_status import (
    last_failure,
    optional_time,
    version_status,
)

_MORE_THAN_HISTORY = 2
_KEPT_WITHOUT_STORE = (
    "servingVersion",
    "candidateVersion",
    "lastTrainingTime",
    "nextTrainingTime",
    "queuePosition",
    "series",
    "estimatedDetectorMemory",
    "estimatedTrainingMemory",
    "estimatedTrainingTime",
    "lastFailure",
    "versions",
)


def build_model_status(facts: Facts) -> dict[str, Any]:
    """The complete status, as a manifest to apply to the status subresource."""
    manifest = facts.observed.model
    if manifest is None:
        raise ValueError("there is no model to write a status of")
    previous = manifest.get("status") or {}
    generation = manifest["metadata"].get("generation", 0)
    status: dict[str, Any] = {"observedGeneration": generation}
    status["watches"] = len(facts.observed.watches)
    if facts.observed.store_problem is not None:
        status |= {name: previous[name] for name in _KEPT_WITHOUT_STORE if name in previous}
    else:
        status |= _stored_facts(facts)
    status["conditions"] = next_conditions(
        previous.get("conditions") or (),
        model_findings(facts, previous),
        generation=generation,
        now=facts.now,
    )
    return status_manifest(manifest, status)


def status_manifest(manifest: Manifest, status: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest that carries a status, and whose uid tells which object it was made for."""
    metadata = manifest["metadata"]
    return {
        "apiVersion": manifest["apiVersion"],
        "kind": manifest["kind"],
        "metadata": {name: metadata[name] for name in ("name", "namespace", "uid")},
        "status": dict(status),
    }


def _shown(facts: Facts, most: int) -> list[Version]:
    """The newest versions, and the serving one however old it is."""
    rest = facts.versions[most:]
    return [*facts.versions[:most], *(one for one in rest if one is facts.serving)]


def _stored_facts(facts: Facts) -> dict[str, Any]:
    candidate = next((one for one in facts.versions if one.state is VersionState.CANDIDATE), None)
    trained = [one.trained_at for one in facts.versions if one.trained_at is not None]
    failed = next(
        (
            one
            for one in facts.versions
            if one.state in (VersionState.FAILED, VersionState.REJECTED)
            and one.reason != SUPERSEDED
        ),
        None,
    )
    limit = facts.desired.model.spec.version_history_limit if facts.desired.model else 5
    training = estimate_training(facts.desired, facts.versions, facts.healths)
    found: dict[str, Any] = {
        "servingVersion": facts.serving.version if facts.serving else None,
        "candidateVersion": candidate.version if candidate else None,
        "lastTrainingTime": optional_time(max(trained, default=None)),
        "nextTrainingTime": optional_time(facts.decision.wish.next_training),
        "queuePosition": facts.decision.turn.position if facts.decision.turn else None,
        "series": sum(one.series for one in facts.healths.values()) if facts.serving else None,
        "estimatedDetectorMemory": estimate_detector_memory(
            facts.desired, facts.versions, facts.healths
        ),
        "estimatedTrainingMemory": training.memory,
        "estimatedTrainingTime": training.time,
        "lastFailure": last_failure(failed, facts) if failed else None,
        "versions": [
            version_status(one, facts) for one in _shown(facts, limit + _MORE_THAN_HISTORY)
        ],
    }
    return {name: value for name, value in found.items() if value is not None}
