"""docs/everyday.md, typed again: the tables, the waiting, the explanations and the mistakes."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.integration.control_plane import ControlPlane, require_success
from tests.integration.crd_requests import PLURALS, manifest

from metricwatch.resources import API_VERSION

PAGE = (Path(__file__).parents[2] / "docs" / "everyday.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```console\n\$ kubectl (.*)\n((?s:.*?))```", PAGE)
MISTAKES = re.findall(r"^\| `(am|mw)`: `(.*?)` \| `(.*)` \|$", PAGE, re.M)
KINDS = {"am": "AnomalyModel", "mw": "MetricWatch"}
NAMESPACE = "everyday"
SERVING = {"servingVersion": 1, "series": 8}
SCORING = {"modelVersion": 1, "series": 4, "openAnomalies": 2, "lagSeconds": 3}


def _status(reason: str, **more: Any) -> dict[str, Any]:
    ready = {
        "type": "Ready",
        "status": "True" if reason in ("Serving", "Scoring") else "False",
        "reason": reason,
        "message": "",
        "lastTransitionTime": "2026-11-03T10:00:00Z",
    }
    return {"observedGeneration": 1, "conditions": [ready], **more}


@pytest.fixture(scope="module", autouse=True)
def resources(control_plane: ControlPlane) -> None:
    """The resources of the page, with the statuses that it shows."""
    client = control_plane.client()
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    require_success(client.post("/api/v1/namespaces", json=body))
    _create(client, "AnomalyModel", "checkout", {}, _status("Serving", **SERVING))
    _create(client, "AnomalyModel", "payments", {}, _status("NoWatches"))
    for name, model in (("errors", "checkout"), ("latency", "checkout"), ("lonely", "payment")):
        found = _status("ModelNotFound") if name == "lonely" else _status("Scoring", **SCORING)
        _create(client, "MetricWatch", name, {"modelRef": {"name": model}}, found)


def _create(
    client: httpx.Client, kind: str, name: str, spec: dict[str, Any], status: dict[str, Any]
) -> None:
    path = f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/{PLURALS[kind]}"
    require_success(client.post(path, json=manifest(kind, spec, name=name)))
    headers = {"Content-Type": "application/merge-patch+json"}
    written = client.patch(f"{path}/{name}/status", json={"status": status}, headers=headers)
    require_success(written)


def _kubectl(plane: ControlPlane, *arguments: str, stdin: str = "") -> str:
    done = subprocess.run(
        [*plane.kubectl, "--namespace", NAMESPACE, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def _shown(command: str) -> str:
    (output,) = [output for typed, output in BLOCKS if typed == command]
    return str(output)


def _rows(output: str) -> list[list[str]]:
    return [line.split() for line in output.splitlines()]


@pytest.mark.parametrize("command", [one for one, _ in BLOCKS if one.startswith("get")])
def test_the_tables_have_the_columns_of_the_page(
    control_plane: ControlPlane, command: str
) -> None:
    output = _kubectl(control_plane, *shlex.split(command))
    headers = [row for row in _rows(output) if row[:1] == ["NAME"]]
    assert headers
    assert headers == [row for row in _rows(_shown(command)) if row[:1] == ["NAME"]]


def test_the_table_says_of_each_resource_what_the_page_says(control_plane: ControlPlane) -> None:
    def essence(output: str) -> dict[str, list[str]]:
        words = {row[0]: row[1:-1] for row in _rows(output) if row and row[0] != "NAME"}
        # `Fresh` is a condition that these statuses leave out, and ages differ.
        return {
            name: [word for word in row if word not in ("Unknown", "0")][-2:]
            for name, row in words.items()
        }

    command = "get am,mw"
    assert essence(_kubectl(control_plane, *shlex.split(command))) == essence(_shown(command))


@pytest.mark.parametrize("start", ["wait", "explain"])
def test_the_answer_is_the_one_of_the_page(control_plane: ControlPlane, start: str) -> None:
    (command,) = [one for one, _ in BLOCKS if one.startswith(start)]
    output = _kubectl(control_plane, *shlex.split(command))
    assert _lines(output) == _lines(_shown(command))


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize(("kind", "line", "answer"), MISTAKES, ids=lambda value: str(value)[:60])
def test_a_mistake_is_answered_with_these_words(
    control_plane: ControlPlane, kind: str, line: str, answer: str
) -> None:
    right = {"modelRef": {"name": "checkout"}, "query": "up"} if kind == "mw" else {}
    document = manifest(KINDS[kind], right | yaml.safe_load(line), name="mistaken")
    text = json.dumps(document, default=lambda time: f"{time:%Y-%m-%dT%H:%M:%SZ}")
    output = _kubectl(control_plane, "apply", "--dry-run=server", "-f", "-", stdin=text)
    assert answer in output


def test_the_page_shows_twenty_mistakes_and_every_kind_of_command() -> None:
    assert len(MISTAKES) >= 20
    assert len(set(MISTAKES)) == len(MISTAKES)
    assert {command.split()[0] for command, _ in BLOCKS} == {"get", "wait", "explain"}
