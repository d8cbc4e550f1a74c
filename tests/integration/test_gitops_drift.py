"""Resources kept in Git: applied, worked on by the operator, and found unchanged."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from tests.gitops_documents import documents, write_repository
from tests.integration.operator_fixture import Stage, operator_plane, stage, wait_for

from metricwatch_operator.gateway import FIELD_MANAGER

__all__ = ["operator_plane", "stage"]

MODEL, WATCH = ("AnomalyModel", "checkout"), ("MetricWatch", "latency")
APPLY = {
    # Flux, and Argo CD with ServerSideApply=true.
    "server-side": ("apply", "--server-side", "--field-manager=kustomize-controller"),
    # kubectl, and Argo CD without it.
    "client-side": ("apply",),
}


def _kubectl(stage: Stage, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [*stage.plane.kubectl, *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def _checked_out(stage: Stage) -> Path:
    write_repository(stage.directory)
    folder = stage.directory / "apps" / "shop"
    kustomization = folder / "kustomization.yaml"
    kustomization.write_text(kustomization.read_text().replace("shop", stage.namespace.name))
    return folder


def _apply(stage: Stage, folder: Path, tool: str) -> str:
    code, output = _kubectl(stage, *APPLY[tool], "-k", str(folder))
    assert code == 0, output
    return output


def _assert_no_drift(stage: Stage, folder: Path, tool: str) -> None:
    how = APPLY[tool][1:]
    code, output = _kubectl(stage, "diff", *how, "-k", str(folder))
    assert code == 0, output
    before = [_without_status(stage, *one) for one in (MODEL, WATCH)]
    _apply(stage, folder, tool)
    assert [_without_status(stage, *one) for one in (MODEL, WATCH)] == before


def _without_status(stage: Stage, kind: str, name: str) -> dict[str, Any]:
    live = stage.namespace.get(kind, name)
    # The operator may write a status between two looks.
    kept = {key: live["metadata"].get(key) for key in ("generation", "labels", "annotations")}
    return {"metadata": kept, "spec": live["spec"]}


def _owned_by_the_operator(stage: Stage, kind: str, name: str) -> list[dict[str, Any]]:
    entries = stage.namespace.get(kind, name)["metadata"]["managedFields"]
    return [dict(one["fieldsV1"]) for one in entries if one["manager"] == FIELD_MANAGER]


def test_what_was_applied_is_what_is_there_whatever_the_operator_did(stage: Stage) -> None:
    stage.operator().start()
    folder = _checked_out(stage)
    model = folder / "model.yaml"
    # Nobody holds a candidate here for the half hour of the page.
    model.write_text(model.read_text().replace("strategy: Shadow, shadow: {duration: 30m}", ""))
    _apply(stage, folder, "server-side")
    stage.wait_for_serving(1)
    stage.namespace.wait_for_condition(*MODEL, "Ready", "True")
    _assert_no_drift(stage, folder, "server-side")

    # A version is pinned and named by a commit.
    text = model.read_text().replace("spec:\n", "spec:\n  version: 1\n")
    annotation = '  annotations: {metricwatch.io/promote-version: "1"}\nspec:'
    model.write_text(text.replace("spec:", annotation, 1))
    _apply(stage, folder, "server-side")
    generation = stage.namespace.get(*MODEL)["metadata"]["generation"]
    wait_for(
        lambda: stage.namespace.get(*MODEL)["status"]["observedGeneration"] == generation,
        stage.describe,
    )
    _assert_no_drift(stage, folder, "server-side")
    # Another tool takes over: it keeps what it applied in an annotation of its own.
    _apply(stage, folder, "client-side")
    _assert_no_drift(stage, folder, "client-side")

    (shown,) = documents("apps/shop/model.yaml")
    live = stage.namespace.get(*MODEL)
    assert "labels" not in live["metadata"]
    assert live["spec"]["training"]["window"] == shown["spec"]["training"]["window"]
    owned = _owned_by_the_operator(stage, *MODEL)
    assert [list(one) for one in owned if "f:status" in one] == [["f:status"]]
    (rest,) = [one for one in owned if "f:status" not in one]
    assert {name: list(fields) for name, fields in rest.items()} == {
        "f:metadata": ["f:finalizers"]
    }
    assert [list(one) for one in _owned_by_the_operator(stage, *WATCH)] == [["f:status"]]
