"""`tilt up`: what the Tiltfile asks Tilt for, and that everything it names is there."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.chart_rendering import CHART, of_kind, render
from tests.tilt_evaluation import Call, evaluate

from metricwatch_dev.image_inputs import CODE, IMAGES
from metricwatch_dev.paths import REPOSITORY

BUILDERS = ["docker", "images"]
VALUES = yaml.safe_load((REPOSITORY / "dev/tilt/values.yaml").read_text())


@functools.cache
def calls(builder: str) -> list[Call]:
    return evaluate(builder)


def of(builder: str, function: str) -> list[dict[str, Any]]:
    return [dict(one.given) for one in calls(builder) if one.function == function]


def by(builder: str, function: str, name: str) -> dict[str, dict[str, Any]]:
    return {str(one[name]): one for one in of(builder, function)}


def manifests(builder: str) -> list[dict[str, Any]]:
    return [one for call in of(builder, "encode_yaml_stream") for one in call["objs"]]


@pytest.mark.parametrize("builder", BUILDERS)
def test_every_image_is_built_with_either_builder(builder: str) -> None:
    built = {*by(builder, "custom_build", "ref"), *by(builder, "docker_build", "ref")}
    assert built == {f"metricwatch/{name}" for name in IMAGES}


def test_a_dockerfile_is_built_with_what_lets_code_be_replaced() -> None:
    command = by("docker", "custom_build", "ref")["metricwatch/detector"]["command"]
    assert "--build-arg ROOM=detector" in command
    added = (REPOSITORY / "dev/tilt/live.Dockerfile").read_text()
    shipped = (REPOSITORY / "images/detector/Dockerfile").read_text()
    # The container starts the same module, from the copy.
    assert "metricwatch_$ROOM" in added
    assert '["python", "-m", "metricwatch_detector"]' in shipped
    assert shipped.splitlines()[-1].startswith("ENTRYPOINT")
    assert "PYTHONPATH=/tmp/live:/app" in added


def test_a_container_that_starts_again_runs_what_was_synced_into_it(tmp_path: Path) -> None:
    added = (REPOSITORY / "dev/tilt/live.Dockerfile").read_text()
    entrypoint = re.search(r"^ENTRYPOINT (\[.*\])$", added, re.M)
    assert entrypoint is not None
    shipped, live = tmp_path / "app", tmp_path / "tmp" / "live"
    command = [
        part.replace("/tmp/live", str(live)).replace("/app", str(shipped))
        for part in json.loads(entrypoint[1])
    ]
    module = Path("metricwatch_detector") / "__main__.py"
    (shipped / module).parent.mkdir(parents=True)
    (shipped / module).with_name("__init__.py").touch()
    (shipped / module).write_text("import sys; print('shipped', sys.argv[1:])")
    live.parent.mkdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"ROOM": "detector", "PYTHONPATH": f"{live}:{shipped}", "PATH": path}

    def start() -> str:
        return subprocess.run(
            [*command, "--once"], env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert start() == "shipped ['--once']"
    (live / module).write_text("print('changed')")
    assert start() == "changed"


@pytest.mark.parametrize("builder", BUILDERS)
def test_images_that_the_operator_starts_are_found_in_its_environment(builder: str) -> None:
    images = by(builder, "custom_build", "ref")
    found = {ref for ref, one in images.items() if one.get("match_in_env_vars")}
    assert found == {"metricwatch/detector", "metricwatch/trainer"}
    (operator,) = [
        one
        for one in of_kind(render(VALUES), "Deployment")
        if one["metadata"]["name"] == "metricwatch-operator"
    ]
    (container,) = operator["spec"]["template"]["spec"]["containers"]
    named = {str(one.get("value", "")).rpartition(":")[0] for one in container["env"]}
    assert found <= named
    assert container["image"].rpartition(":")[0] == "metricwatch/operator"


@pytest.mark.parametrize("builder", BUILDERS)
def test_every_path_exists(builder: str) -> None:
    named = [
        path
        for function, parameter in (
            ("custom_build", "deps"),
            ("k8s_custom_deploy", "deps"),
            ("local_resource", "deps"),
            ("helm", "values"),
        )
        for one in of(builder, function)
        for path in one.get(parameter, [])
    ]
    named += [one["context"] for one in of(builder, "docker_build")]
    named += [one["pathToChartDir"] for one in of(builder, "helm")]
    named += [one["local_path"] for one in of(builder, "sync")]
    named += [one["files"] for one in of(builder, "fall_back_on")]
    named += [
        word
        for one in (*of(builder, "custom_build"), *of(builder, "local_resource"))
        for word in shlex.split(one.get("command") or one.get("cmd") or "")
        if word.startswith(("images/", "dev/", "examples/"))
    ]
    assert len(named) > 15
    assert [path for path in named if not (REPOSITORY / path).exists()] == []


@pytest.mark.parametrize(
    ("deploys", "name"),
    [("custom_build", "metricwatch/operator"), ("k8s_custom_deploy", "detector")],
)
def test_code_is_synced_and_the_container_started_again(deploys: str, name: str) -> None:
    key = "ref" if deploys == "custom_build" else "name"
    target = by("docker", deploys, key)[name]
    steps: list[Call] = target["live_update"]
    assert [step.function for step in steps] == [
        "fall_back_on",
        *["sync"] * (len(steps) - 2),
        "run",
    ]
    assert steps[0].given["files"] in target["deps"]
    for step in steps[1:-1]:
        local = Path(step.given["local_path"])
        assert local.parts[0] in target["deps"]
        assert local.parts[0] in CODE
        assert step.given["remote_path"] == f"/tmp/live/{local.name}"
        assert (REPOSITORY / local / "__init__.py").exists()
    assert steps[-1].given["cmd"] == "kill 1"


def test_what_is_synced_is_what_the_image_is_built_again_for() -> None:
    images = by("docker", "custom_build", "ref")
    for name in ("operator", "detector", "trainer"):
        assert {"core", name, f"images/{name}", "pyproject.toml"} <= set(
            images[f"metricwatch/{name}"]["deps"]
        )
    assert "operator" not in images["metricwatch/detector"]["deps"]


def test_without_docker_nothing_is_synced_into_images_that_cannot_take_it() -> None:
    assert of("images", "sync") == []
    for name, one in by("images", "custom_build", "ref").items():
        assert f"images {name.rpartition('/')[2]} |" in one["command"]
        assert one["outputs_image_ref_to"] in one["command"]
        assert one["skips_local_docker"] is True


@pytest.mark.parametrize("builder", BUILDERS)
def test_every_resource_is_one_of_the_chart_or_of_the_demo(builder: str) -> None:
    (chart,) = of(builder, "helm")
    assert (REPOSITORY / chart["pathToChartDir"], chart["name"]) == (CHART, "metricwatch")
    workloads = ("Deployment", "StatefulSet", "Job")
    made = {
        one["metadata"]["name"]
        for one in (*render(VALUES), *manifests(builder))
        if one["kind"] in workloads
    }
    made |= set(by(builder, "k8s_custom_deploy", "name"))
    resources = by(builder, "k8s_resource", "workload")
    assert set(resources) == made
    known = made | set(by(builder, "local_resource", "name"))
    for one in (*of(builder, "k8s_resource"), *of(builder, "local_resource")):
        assert set(one.get("resource_deps", [])) <= known
        assert one["labels"]


def test_a_port_of_each_part_is_forwarded_to_one_of_this_machine() -> None:
    forwards = {
        name: [dict(one.given) for one in resource.get("port_forwards", [])]
        for name, resource in by("docker", "k8s_resource", "workload").items()
    }
    ports = {
        name: ports[0].get("container_port", ports[0]["local_port"])
        for name, ports in forwards.items()
        if ports
    }
    assert ports == {
        "metricwatch-operator": 8080,
        "detector": 8080,
        "victoriametrics": 8428,
        "prometheus": 9090,
    }
    local = [one["local_port"] for ports in forwards.values() for one in ports]
    assert len(set(local)) == len(local)


def test_the_demo_is_complete_and_in_its_namespaces() -> None:
    made = manifests("docker")
    assert "${" not in yaml.safe_dump(made)
    assert {one["metadata"]["name"] for one in of_kind(made, "Namespace")} == {
        "metricwatch-system",
        "metricwatch-demo",
        "shop",
    }
    (code,) = [one for one in of_kind(made, "ConfigMap") if one["metadata"]["name"] == "simulator"]
    assert "metricwatch_dev.simulator" in code["data"]["__main__.py"]
    for one in of_kind(made, "Deployment"):
        assert one["metadata"]["namespace"] == "metricwatch-demo"
        (container,) = one["spec"]["template"]["spec"]["containers"]
        assert container["image"] == "metricwatch/dev-services"
    assert VALUES["defaultSource"]["url"] == "http://victoriametrics.metricwatch-demo:8428"


def test_tests_wait_for_somebody_to_press_their_button() -> None:
    buttons = {
        name: one
        for name, one in by("docker", "local_resource", "name").items()
        if "tests" in one["labels"]
    }
    assert set(buttons) == {"lint", "unit tests", "integration tests"}
    makefile = (REPOSITORY / "Makefile").read_text()
    for one in buttons.values():
        assert (one["auto_init"], one["trigger_mode"]) == (False, "manual")
        assert f"\n{one['cmd'].removeprefix('make ')}: " in makefile


def test_any_cluster_can_be_allowed_by_name_and_another_registry_used() -> None:
    made = evaluate("docker", **{"allow-context": ["staging"], "registry": "registry.example/dev"})
    (allowed,) = [one.given["contexts"] for one in made if one.function == "allow_k8s_contexts"]
    assert allowed == ["metricwatch", "kind-metricwatch", "staging"]
    (registry,) = [one.given["host"] for one in made if one.function == "default_registry"]
    assert registry == "registry.example/dev"
    assert of("docker", "default_registry") == []


def test_the_builder_can_be_chosen() -> None:
    made = evaluate("docker", builder="images")
    assert not [one for one in made if one.function == "docker_build"]
    assert not [one for one in made if one.function == "local"]
