"""Both resources as users meet them: through kubectl, on a real API server."""

import json
import subprocess
from typing import Any

import pytest
from tests.integration.control_plane import ControlPlane, require_success
from tests.integration.crd_requests import PLURALS, manifest

from metricwatch.resources import API_VERSION

NAMESPACE = "served"
TIME = "2026-11-03T10:00:00Z"


@pytest.fixture(scope="module", autouse=True)
def namespace(control_plane: ControlPlane) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    require_success(control_plane.client().post("/api/v1/namespaces", json=body))


def kubectl(plane: ControlPlane, *arguments: str, stdin: str = "") -> str:
    done = subprocess.run(
        [*plane.kubectl, "--namespace", NAMESPACE, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def create(plane: ControlPlane, kind: str, name: str, spec: dict[str, Any]) -> str:
    response = plane.client().post(
        f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/{PLURALS[kind]}",
        json=manifest(kind, spec, name=name),
    )
    require_success(response)
    return f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/{PLURALS[kind]}/{name}"


def write_status(plane: ControlPlane, path: str, status: dict[str, Any]) -> dict[str, Any]:
    response = plane.client().patch(
        f"{path}/status",
        json={"status": status},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    return require_success(response).json()


def condition(type_: str, status: str, reason: str) -> dict[str, Any]:
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": "",
        "lastTransitionTime": TIME,
    }


def test_the_smallest_manifests_are_applied(control_plane: ControlPlane) -> None:
    text = f"""
apiVersion: {API_VERSION}
kind: AnomalyModel
metadata: {{name: smallest}}
---
apiVersion: {API_VERSION}
kind: MetricWatch
metadata: {{name: smallest}}
spec: {{modelRef: {{name: smallest}}, query: up}}
"""
    output = kubectl(control_plane, "apply", "-f", "-", stdin=text)
    assert "anomalymodel.metricwatch.io/smallest created" in output
    assert "metricwatch.metricwatch.io/smallest created" in output


def test_a_mistake_is_explained_by_kubectl(control_plane: ControlPlane) -> None:
    document = manifest("MetricWatch", {"interval": "1ms"}, name="mistake")
    output = kubectl(control_plane, "apply", "-f", "-", stdin=json.dumps(document))
    assert "spec.interval: Invalid value" in output
    assert "must be at least 1s" in output


def test_a_misspelt_field_is_refused_by_kubectl(control_plane: ControlPlane) -> None:
    document = manifest("MetricWatch", {"intervall": "1m"}, name="misspelt")
    output = kubectl(control_plane, "apply", "-f", "-", stdin=json.dumps(document))
    assert 'unknown field "spec.intervall"' in output


def test_a_notification_needs_no_quotes_in_yaml(control_plane: ControlPlane) -> None:
    text = f"""
apiVersion: {API_VERSION}
kind: MetricWatch
metadata: {{name: notifying}}
spec:
  modelRef: {{name: smallest}}
  query: up
  notifications:
    - name: oncall
      webhook: {{url: http://hooks}}
      when: [start]
"""
    assert "created" in kubectl(control_plane, "apply", "-f", "-", stdin=text)


def test_a_resource_is_born_not_ready_and_waits(control_plane: ControlPlane) -> None:
    path = create(control_plane, "AnomalyModel", "born", {})
    born = control_plane.client().get(path).json()
    assert born["status"] == {"observedGeneration": -1}
    waiting = ("wait", "--for=condition=Ready", "am/born", "--timeout=1s")
    assert "timed out" in kubectl(control_plane, *waiting)
    conditions = [condition("Ready", "True", "Serving")]
    write_status(control_plane, path, {"conditions": conditions})
    # Ready for another generation than this one does not count.
    assert "timed out" in kubectl(control_plane, *waiting)
    write_status(control_plane, path, {"conditions": conditions, "observedGeneration": 1})
    assert "condition met" in kubectl(control_plane, *waiting)


def test_status_is_written_through_its_subresource_only(control_plane: ControlPlane) -> None:
    path = create(control_plane, "MetricWatch", "separate", {})
    client = control_plane.client()
    patch = {"status": {"series": 5}, "spec": {"interval": "5m"}}
    kind = {"Content-Type": "application/merge-patch+json"}
    spec_written = require_success(client.patch(path, json=patch, headers=kind)).json()
    assert spec_written["status"] == {"observedGeneration": -1}
    assert spec_written["metadata"]["generation"] == 2
    status_written = write_status(control_plane, path, {"series": 5})
    assert status_written["status"]["series"] == 5
    assert status_written["metadata"]["generation"] == 2


def test_conditions_of_different_types_merge_under_server_side_apply(
    control_plane: ControlPlane,
) -> None:
    path = create(control_plane, "AnomalyModel", "merging", {})
    for type_, owner in (("Ready", "one"), ("Audited", "two")):
        body = manifest("AnomalyModel", {}, name="merging") | {
            "status": {"conditions": [condition(type_, "True", "Tried")]}
        }
        del body["spec"]
        response = control_plane.client().patch(
            f"{path}/status",
            content=json.dumps(body),
            params={"fieldManager": owner},
            headers={"Content-Type": "application/apply-patch+yaml"},
        )
        conditions = require_success(response).json()["status"]["conditions"]
    assert [entry["type"] for entry in conditions] == ["Ready", "Audited"]


def test_kubectl_get_shows_what_matters(control_plane: ControlPlane) -> None:
    path = create(control_plane, "AnomalyModel", "shown", {"algorithm": {"type": "lstm"}})
    status = {
        "servingVersion": 3,
        "candidateVersion": 4,
        "series": 17,
        "nextTrainingTime": "2096-11-03T10:00:00Z",
        "estimatedDetectorMemory": "120Mi",
        "conditions": [condition("Ready", "True", "Serving")],
    }
    write_status(control_plane, path, status)
    header, row = kubectl(control_plane, "get", "am", "shown", "-o", "wide").splitlines()
    assert header.split() == [
        *("NAME", "ALGORITHM", "SERVING", "CANDIDATE", "SERIES", "READY", "REASON", "AGE"),
        *("LASTTRAINING", "NEXTTRAINING", "MEMORY"),
    ]
    assert row.split()[:7] == ["shown", "lstm", "3", "4", "17", "True", "Serving"]
    assert row.split()[-2:] == ["2096-11-03T10:00:00Z", "120Mi"]


def test_kubectl_get_shows_a_watch(control_plane: ControlPlane) -> None:
    path = create(control_plane, "MetricWatch", "shown", {})
    conditions = [condition("Ready", "False", "NoData"), condition("DataFresh", "True", "Fresh")]
    status = {"modelVersion": 3, "series": 17, "openAnomalies": 2, "conditions": conditions}
    write_status(control_plane, path, status)
    _, row = kubectl(control_plane, "get", "mw", "shown").splitlines()
    shown = ["shown", "checkout", "3", "17", "2", "True", "False", "NoData"]
    assert row.split()[:8] == shown


def test_the_category_lists_both_kinds(control_plane: ControlPlane) -> None:
    create(control_plane, "AnomalyModel", "listed", {})
    create(control_plane, "MetricWatch", "listed", {})
    names = kubectl(control_plane, "get", "metricwatch-io", "-o", "name").splitlines()
    both = {"anomalymodel.metricwatch.io/listed", "metricwatch.metricwatch.io/listed"}
    assert both <= set(names)
    listed = kubectl(control_plane, "api-resources", "--categories=metricwatch-io", "-o", "name")
    assert sorted(listed.split()) == [
        "anomalymodels.metricwatch.io",
        "metricwatches.metricwatch.io",
    ]


def test_a_watch_is_found_under_each_of_its_names(control_plane: ControlPlane) -> None:
    create(control_plane, "MetricWatch", "named", {})
    for kind in ("metricwatch", "metricwatches", "mw"):
        assert kubectl(control_plane, "get", kind, "named", "-o", "name").split() == [
            "metricwatch.metricwatch.io/named"
        ]


def test_kubectl_explain_describes_a_field(control_plane: ControlPlane) -> None:
    output = kubectl(control_plane, "explain", "mw.spec.detection.falseAlarmsPerWeek")
    assert "budget of false alarms" in output


def test_the_control_plane_keeps_its_state_over_a_restart(control_plane: ControlPlane) -> None:
    path = create(control_plane, "AnomalyModel", "kept", {})
    control_plane.restart()
    assert control_plane.client().get(path).json()["metadata"]["name"] == "kept"
