"""The examples, and the resources that the chart and its notes show, are valid."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.chart_rendering import CHART, helm

from metricwatch.resources import parse_model, parse_watch
from metricwatch_dev.paths import REPOSITORY

EXAMPLES = sorted((REPOSITORY / "examples").rglob("*.yaml"))
PARSERS = {"AnomalyModel": parse_model, "MetricWatch": parse_watch}


def test_the_command_finds_nothing_wrong_with_any_example() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "metricwatch_cli.main", "validate", *map(str, EXAMPLES)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_watch_of_an_example_has_its_model_beside_it(path: Path) -> None:
    beside = [
        manifest
        for file in path.parent.glob("*.yaml")
        for manifest in yaml.safe_load_all(file.read_text())
    ]
    models = {item["metadata"]["name"] for item in beside if item["kind"] == "AnomalyModel"}
    watches = [item for item in beside if item["kind"] == "MetricWatch"]
    assert {item["spec"]["modelRef"]["name"] for item in watches} <= models
    assert models


@pytest.mark.parametrize(
    "name",
    ["latency", "error-rate", "traffic", "queue-length", "cpu", "business-count", "motor-current"],
)
def test_each_kind_of_metric_has_a_file_to_apply_that_says_why(name: str) -> None:
    text = (REPOSITORY / "examples" / "metrics" / f"{name}.yaml").read_text()
    model, watch = yaml.safe_load_all(text)
    assert (model["kind"], watch["kind"]) == ("AnomalyModel", "MetricWatch")
    assert watch["spec"]["modelRef"]["name"] == model["metadata"]["name"]
    # Settings that make no difference teach nothing.
    for item in (model, watch):
        spec = PARSERS[item["kind"]](item).spec
        assert spec != PARSERS[item["kind"]](_bare(item)).spec
    assert text.startswith("# ")
    assert text.count("#") >= 4


def _bare(item: dict[str, Any]) -> dict[str, Any]:
    """The shortest resource of its kind and query."""
    kept = ("modelRef", "query", "queries")
    spec = {name: value for name, value in item["spec"].items() if name in kept}
    return item | {"spec": spec}


def test_a_variant_of_the_shop_is_a_change_of_the_same_model() -> None:
    shop = yaml.safe_load((REPOSITORY / "examples/shop/model.yaml").read_text())
    for path in (REPOSITORY / "examples/shop/variants").glob("*.yaml"):
        variant = yaml.safe_load(path.read_text())
        assert variant["metadata"] == shop["metadata"]
        assert variant["spec"] != shop["spec"]


def test_the_resources_on_the_charts_page_are_valid() -> None:
    annotations = yaml.safe_load((CHART / "Chart.yaml").read_text())["annotations"]
    shown = yaml.safe_load(annotations["artifacthub.io/crdsExamples"])
    assert [item["kind"] for item in shown] == ["AnomalyModel", "MetricWatch"]
    for item in shown:
        PARSERS[item["kind"]](item)


def test_the_resources_in_the_charts_notes_are_valid() -> None:
    notes = (CHART / "templates" / "NOTES.txt").read_text()
    block = re.search(r"<<'YAML'\n(.*?)\n\s+YAML", notes, re.DOTALL)
    assert block is not None
    for branch in (r"\1", r"\2"):
        text = re.sub(r"{{ if .*?}}(.*?){{ else }}(.*?){{ end }}", branch, block[1])
        for item in yaml.safe_load_all(re.sub(r"(?m)^ {5}", "", text)):
            PARSERS[item["kind"]](item)


def helm_commands(page: Path) -> list[list[str]]:
    """The `helm install` and `helm upgrade` of a page's blocks, as words."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line) for line in lines if re.match("helm (install|upgrade) ", line)]


PAGES = [REPOSITORY / "README.md", REPOSITORY / "docs/getting-started.md", CHART / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_the_commands_on_a_page_set_values_that_there_are(page: Path) -> None:
    commands = helm_commands(page)
    assert commands
    for words in commands:
        assert (REPOSITORY / words[3]).resolve() == CHART
        pairs = [words[at + 1] for at, word in enumerate(words) if word == "--set"]
        if "--reset-then-reuse-values" in words:
            pairs.append("database.urlSecret.name=set-before")
        settings = [part for pair in pairs for part in ("--set", pair)]
        done = subprocess.run(
            [helm(), "template", "m", str(CHART), "--kube-version", "1.34.4", *settings],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_the_images_on_the_charts_page_are_those_of_its_values() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())["images"]
    shown = yaml.safe_load(chart["annotations"]["artifacthub.io/images"])
    assert {item["name"]: item["image"] for item in shown} == {
        name: f"{values[name]['repository']}:{chart['appVersion']}"
        for name in ("operator", "trainer", "detector")
    }


def test_the_changes_on_the_charts_page_are_of_kinds_that_are_known_there() -> None:
    annotations = yaml.safe_load((CHART / "Chart.yaml").read_text())["annotations"]
    for change in yaml.safe_load(annotations["artifacthub.io/changes"]):
        assert change["kind"] in {"added", "changed", "deprecated", "removed", "fixed", "security"}
        assert change["description"]
