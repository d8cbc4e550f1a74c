"""The demo's decisions, and its manifests, without a cluster."""

import base64
import gzip
import json
import re
import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client
from tests.chart_rendering import CHART, named, render

from metricwatch.resources import parse_model, parse_watch
from metricwatch_dev.demo import command, installing, scenario
from metricwatch_dev.demo.kubectl import CommandFailedError, Kubectl, Manifest, Service
from metricwatch_dev.demo.scenario import INTERVAL
from metricwatch_dev.demo.waiting import TooLateError, condition_words, diagnose, wait_until
from metricwatch_dev.prerequisites import MissingPrerequisiteError
from metricwatch_dev.simulator.__main__ import parse_arguments

IMAGES = {name: f"registry:5000/metricwatch/{name}:abc" for name in command.IMAGES}
STRICT_TYPES: dict[str, Any] = {
    "ClusterRole": client.V1ClusterRole,
    "ClusterRoleBinding": client.V1ClusterRoleBinding,
    "ConfigMap": client.V1ConfigMap,
    "Deployment": client.V1Deployment,
    "Service": client.V1Service,
    "ServiceAccount": client.V1ServiceAccount,
}


def manifests() -> list[Manifest]:
    arguments = {
        "SHOP": "shop",
        "SYSTEM": "metricwatch-system",
        "SERVICES_IMAGE": "registry:5000/metricwatch/dev-services:abc",
        "SIMULATOR_ARGUMENTS": json.dumps(scenario.shop(algorithm=None).simulator_arguments),
        "FILES_CHECKSUM": "a",
        "RULES_CHECKSUM": "b",
    }
    directory = Path(installing.__file__).parent / "manifests"
    return [
        manifest
        for path in sorted(directory.glob("*.yaml"))
        for manifest in yaml.safe_load_all(string.Template(path.read_text()).substitute(arguments))
    ]


def write_csv(path: Path, *, rows: int = 600, spacing: int = 300) -> Path:
    lines = [f"{1_700_000_000 + i * spacing},{i % 288}" for i in range(rows)]
    path.write_text("\n".join(["timestamp,value", *lines]))
    return path


def model_and_watches(chosen: scenario.Scenario) -> tuple[Any, list[Any]]:
    (model,) = (parse_model(i) for i in chosen.resources if i["kind"] == "AnomalyModel")
    return model, [parse_watch(i) for i in chosen.resources if i["kind"] == "MetricWatch"]


def test_the_demos_manifests_are_the_apis_and_keep_the_restricted_standard() -> None:
    for manifest in manifests():
        STRICT_TYPES[manifest["kind"]].model_validate(manifest)
        if manifest["kind"] != "Deployment":
            continue
        spec = manifest["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_series_come_out_of_the_demos_prometheus_as_the_charts_page_says() -> None:
    config = named(manifests(), "ConfigMap", "prometheus")["data"]["prometheus.yml"]
    jobs = {job["job_name"]: job for job in yaml.safe_load(config)["scrape_configs"]}
    page = (CHART / "README.md").read_text()
    block = re.search(r"```yaml\n(scrape_configs:.*?)```", page, re.DOTALL)
    assert block is not None
    (shown,) = yaml.safe_load(block[1])["scrape_configs"]
    used = jobs["metricwatch-detector"]
    assert used["honor_labels"] is shown["honor_labels"] is True
    # Where pods are found differs; what becomes a label does not.
    for config in (used, shown):
        steps = config["relabel_configs"]
        targets = {step["target_label"] for step in steps if "target_label" in step}
        assert targets == {"detector", "instance"}


def test_the_demos_values_are_accepted_by_the_chart_and_put_images_where_they_belong() -> None:
    rendered = render(installing.release_values(IMAGES))
    operator = named(rendered, "Deployment", "metricwatch-operator")
    (container,) = operator["spec"]["template"]["spec"]["containers"]
    assert container["image"] == IMAGES["operator"]
    stateful = named(rendered, "StatefulSet", "metricwatch-postgresql")
    (server,) = stateful["spec"]["template"]["spec"]["containers"]
    assert server["image"] == IMAGES["dev-services"]
    rules = named(rendered, "ConfigMap", "metricwatch-rules")
    assert rules["metadata"]["namespace"] == installing.SERVICES


def test_the_shop_is_the_examples_with_another_family_if_asked() -> None:
    model, watches = model_and_watches(scenario.shop(algorithm=None))
    assert model.spec.algorithm.type == "seasonal"
    assert len(watches) == 4
    other, _ = model_and_watches(scenario.shop(algorithm="lstm"))
    assert other.spec.algorithm.type == "lstm"


def test_a_day_of_a_recording_is_as_much_shorter_as_time_runs_faster(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "queue.csv", spacing=300)
    model, watches = model_and_watches(scenario.replay([path], algorithm=None, now=0))
    day = 288 * INTERVAL
    assert [period.seconds for period in model.spec.algorithm.seasonal.periods] == [day, 7 * day]
    assert [watch.spec.query for watch in watches] == ["replay"]
    assert watches[0].spec.detection.false_alarms_per_week == 10


def test_the_simulator_understands_what_a_scenario_tells_it(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "queue.csv")
    chosen = scenario.replay([path], algorithm=None, now=1_700_000_000)
    options = parse_arguments(["--url=http://vm", *chosen.simulator_arguments])
    assert options.csv == [Path("/files/queue.csv.gz")]
    assert (options.row_seconds, options.origin) == (INTERVAL, 1_700_000_000)
    assert gzip.decompress(chosen.files["queue.csv.gz"]) == path.read_bytes()
    assert parse_arguments(["--url=u", *scenario.shop(algorithm=None).simulator_arguments])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "No such file"), ("time,value\n1,2\n2,3\n", "first column must be called timestamp")],
)
def test_a_file_that_cannot_be_replayed_is_one_clear_line(
    tmp_path: Path, content: str | None, sentence: str
) -> None:
    path = tmp_path / "queue.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(MissingPrerequisiteError, match=sentence):
        scenario.replay([path], algorithm=None, now=0)


def test_files_that_no_config_map_holds_are_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "queue.csv")
    bulky = tmp_path / "bulky.csv.gz"
    bulky.write_bytes(gzip.compress(path.read_bytes(), compresslevel=0) * 200)
    with pytest.raises(MissingPrerequisiteError, match="keep fewer rows"):
        scenario.replay([bulky], algorithm=None, now=0)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([], (False, "shop: not looked at yet")),
        (
            [{"type": "Ready", "status": "True", "reason": "Serving", "observedGeneration": 2}],
            (True, "shop: Serving"),
        ),
        (
            [{"type": "Ready", "status": "True", "reason": "Serving", "observedGeneration": 1}],
            (False, "shop: Serving"),
        ),
        (
            [{"type": "Ready", "status": "False", "reason": "Training", "message": "half done"}],
            (False, "shop: Training (half done)"),
        ),
    ],
)
def test_only_a_condition_of_the_present_generation_counts(
    conditions: list[dict[str, Any]], expected: tuple[bool, str]
) -> None:
    resource = {
        "metadata": {"name": "shop", "generation": 2},
        "status": {"conditions": conditions},
    }
    assert condition_words(resource) == expected


def test_waiting_prints_what_changes_once_and_says_in_the_end_what_was_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen = iter([(False, "a"), (False, "a"), (False, "b"), (True, "c")])
    wait_until("it", lambda: next(seen), seconds=60, pause=0)
    assert capsys.readouterr().err.split() == ["a", "b", "c"]
    with pytest.raises(TooLateError, match=r"a Ready model did not come within 0 s.*Training"):
        wait_until("a Ready model", lambda: (False, "Training"), seconds=0, pause=0)


def test_a_long_wait_says_that_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    seen = iter([(False, "Training"), (False, "Training"), (True, "Training")])
    wait_until("a Ready model", lambda: next(seen), seconds=60, pause=0, silence=0)
    first, *waiting = capsys.readouterr().err.splitlines()
    assert first.split() == ["Training"]
    assert len(waiting) == 2
    assert all(line.strip().startswith("still waiting for a Ready model, ") for line in waiting)


def test_what_to_try_next_watches_one_kind_at_a_time() -> None:
    watched = [line for line in command._NEXT.read_text().splitlines() if "--watch" in line]
    assert watched
    # kubectl: "you may only specify a single resource type".
    assert not [line for line in watched if re.search(r"get \S+,\S+", line)]


def test_a_command_that_fails_while_waiting_is_tried_again() -> None:
    answers: list[Any] = [CommandFailedError("kubectl get: refused"), (True, "")]

    def look() -> tuple[bool, str]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    wait_until("it", look, seconds=60, pause=0)
    assert answers == []


@pytest.fixture
def programs(tmp_path: Path) -> Kubectl:
    """A kubectl that writes down what it was asked, since there is no cluster here."""
    script = tmp_path / "kubectl"
    script.write_text(
        '#!/bin/sh\nprintf "%s\\n" "$@" >> "$0.asked"\n[ "$1" = logs ] && exit 1\ncat\n'
    )
    script.chmod(0o755)
    return Kubectl({"PATH": f"{tmp_path}:/usr/bin:/bin"})


def test_a_service_is_spoken_to_through_the_api_server(programs: Kubectl, tmp_path: Path) -> None:
    service = Service("metricwatch-demo", "simulator", 8080)
    assert programs.post(service, "/incident", {"kind": "cpu"}) == {"kind": "cpu"}
    path = "/api/v1/namespaces/metricwatch-demo/services/simulator:8080/proxy/incident"
    asked = (tmp_path / "kubectl.asked").read_text().splitlines()
    assert asked == ["create", "--raw", path, "-f", "-"]


def test_a_diagnosis_goes_on_where_a_part_of_it_fails(programs: Kubectl) -> None:
    text = diagnose(programs, ("shop",))
    assert "--- pods in shop" in text
    assert "--- logs in shop\nkubectl logs: it said nothing" in text


def test_files_reach_the_simulator_unchanged(tmp_path: Path, programs: Kubectl) -> None:
    chosen = scenario.replay([write_csv(tmp_path / "queue.csv")], algorithm=None, now=0)
    script = tmp_path / "kubectl"
    script.write_text('#!/bin/sh\ncat >> "$0.given"\necho >> "$0.given"\n')
    installing.install_metrics(programs, chosen, images=IMAGES)
    first = (tmp_path / "kubectl.given").read_text().splitlines()[0]
    maps = {item["metadata"]["name"]: item for item in json.loads(first)["items"]}
    given = base64.b64decode(maps["simulator-files"]["binaryData"]["queue.csv.gz"])
    assert given == chosen.files["queue.csv.gz"]
    assert {"__main__.py", "shop.py", "replay.py"} <= maps["simulator"]["data"].keys()
