"""Every state of a resource as Argo CD's script and as kstatus see it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from tests.gitops_programs import HEALTH_SCRIPT, argo_health, kstatus

READY = ("Ready", "True", "Serving", "version 3 serves")
NOT_YET = ("Ready", "False", "Training", "version 1 is being trained")
WORKS = ("Reconciling", "True", "Progressing", "version 1 is being trained; 2 of 3 slices")
STUCK = ("Stalled", "True", "QueryRefused", "watch latency: parse error at char 3")
PAUSED = ("Ready", "False", "Suspended", "spec.suspend is true")
STORE = ("Ready", "False", "StoreUnavailable", "PostgreSQL does not answer")
RETRY = ("Reconciling", "True", "ProgressingWithRetry", "PostgreSQL does not answer")

BORN: dict[str, Any] = {"observedGeneration": -1}
UNSEEN = "Waiting for the operator to look at this spec"


def status(*conditions: tuple[str, str, str, str], generation: int = 2) -> dict[str, Any]:
    names = ("type", "status", "reason", "message")
    return {
        "observedGeneration": generation,
        "conditions": [dict(zip(names, one, strict=True)) for one in conditions],
    }


STATES = {
    "just applied": (BORN, "Progressing", UNSEEN, "InProgress"),
    "first training": (status(NOT_YET, WORKS), "Progressing", WORKS[3], "InProgress"),
    "first detectors": (status(NOT_YET), "Progressing", NOT_YET[3], "InProgress"),
    "serving": (status(READY), "Healthy", READY[3], "Current"),
    "serving, a new spec trained": (status(READY, WORKS), "Healthy", READY[3], "InProgress"),
    "a spec nobody saw": (status(READY, generation=1), "Progressing", UNSEEN, "InProgress"),
    "a mistake": (status(NOT_YET, STUCK), "Degraded", STUCK[3], "Failed"),
    "a mistake while serving": (status(READY, STUCK), "Degraded", STUCK[3], "Failed"),
    "an old mistake": (status(NOT_YET, STUCK, generation=1), "Progressing", UNSEEN, "InProgress"),
    "suspended": (status(PAUSED), "Suspended", PAUSED[3], "InProgress"),
    "suspended with a mistake": (status(PAUSED, STUCK), "Degraded", STUCK[3], "Failed"),
    "no database": (status(STORE, RETRY), "Progressing", RETRY[3], "InProgress"),
    "no conditions": (status(), "Progressing", None, None),
}


def manifest(kind: str, found: dict[str, Any] | None) -> dict[str, Any]:
    body = {
        "apiVersion": "metricwatch.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": "checkout", "namespace": "shop", "generation": 2},
    }
    return body if found is None else {**body, "status": found}


@pytest.mark.parametrize("kind", ["AnomalyModel", "MetricWatch"])
def test_every_state_has_its_health(kind: str) -> None:
    objects = [manifest(kind, found) for found, *_ in STATES.values()]
    told = dict(zip(STATES, argo_health(objects), strict=True))
    for name, (_, health, message, _) in STATES.items():
        assert told[name][0] == health, name
        assert message is None or told[name][1] == message, name


@pytest.mark.parametrize("kind", ["AnomalyModel", "MetricWatch"])
def test_every_state_has_its_kstatus(kind: str) -> None:
    wanted = {name: state for name, (*_, state) in STATES.items() if state is not None}
    objects = [manifest(kind, STATES[name][0]) for name in wanted]
    told = [one for one, _ in kstatus(objects)]
    assert dict(zip(wanted, told, strict=True)) == wanted


def test_without_a_status_argo_waits_and_kstatus_would_not() -> None:
    # Why the CRDs give every resource a status at its birth.
    bare = [manifest("AnomalyModel", None)]
    assert argo_health(bare)[0][0] == "Progressing"
    assert kstatus(bare)[0][0] == "Current"


def test_a_reason_stands_for_a_message_that_is_missing() -> None:
    found = status(("Ready", "True", "Serving", ""))
    assert argo_health([manifest("AnomalyModel", found)]) == [("Healthy", "Serving")]


def test_a_message_that_kstatus_shows_is_that_of_the_condition() -> None:
    (told,) = kstatus([manifest("MetricWatch", status(NOT_YET, STUCK))])
    assert told == ("Failed", STUCK[3])


@pytest.mark.parametrize("kind", ["AnomalyModel", "MetricWatch"])
def test_the_configuration_of_argo_cd_holds_the_script(kind: str) -> None:
    config = yaml.safe_load((HEALTH_SCRIPT.parent / "argocd-cm.yaml").read_text())
    script = config["data"][f"resource.customizations.health.metricwatch.io_{kind}"]
    assert script == HEALTH_SCRIPT.read_text()
