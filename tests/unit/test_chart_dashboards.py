"""The Grafana dashboards: of Grafana's own schema, laid out without holes, and said in words."""

from __future__ import annotations

import enum
import inspect
import json
import re
import types
import typing
from itertools import combinations
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from tests.chart_rendering import CHART, EVERYTHING, OWN_DATABASE, of_kind, render

from metricwatch_detector.exposition import GAUGES
from metricwatch_detector.telemetry import Telemetry
from metricwatch_dev.dashboards.command import DASHBOARDS, DIRECTORY
from metricwatch_dev.dashboards.command import render as render_dashboard
from metricwatch_operator.metrics import Metrics

FILES = sorted(DIRECTORY.glob("*.json"))
COLUMNS = 24


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DIRECTORY / name).read_text())
    return found


def panels(name: str) -> list[dict[str, Any]]:
    return [panel for panel in load(name)["panels"] if panel["type"] != "row"]


def expressions(name: str) -> list[str]:
    """Every query: of panels, variables and annotations."""
    board = load(name)
    found = [target["expr"] for panel in panels(name) for target in panel["targets"]]
    found += [
        one["query"]["query"] for one in board["templating"]["list"] if one["type"] == "query"
    ]
    found += [one["expr"] for one in (board.get("annotations") or {}).get("list", ())]
    return found


each_dashboard = pytest.mark.parametrize("name", DASHBOARDS)
each_panel = pytest.mark.parametrize(
    ("name", "panel"),
    [
        pytest.param(name, panel, id=f"{name.removesuffix('.json')}: {panel['title']}")
        for name in DASHBOARDS
        for panel in panels(name)
    ],
)


@each_dashboard
def test_the_file_in_the_chart_is_the_one_that_is_generated(name: str) -> None:
    remedy = "run python -m metricwatch_dev dashboards"
    assert (DIRECTORY / name).read_text() == render_dashboard(name), remedy


def test_every_file_in_the_chart_is_generated() -> None:
    assert {path.name for path in FILES} == set(DASHBOARDS)


# --- Grafana's schema, as its own library of types has it


@each_dashboard
def test_grafana_knows_every_field(name: str) -> None:
    plugins.register_default_plugins()
    board = load(name)
    # A field that the types do not have is lost on the way.
    read = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    assert read == board


@each_dashboard
def test_every_field_has_the_type_that_grafana_gives_it(name: str) -> None:
    plugins.register_default_plugins()
    assert list(mistyped(Dashboard.from_json(load(name)), name)) == []


def test_a_field_of_another_type_would_be_noticed() -> None:
    plugins.register_default_plugins()
    board = load(next(iter(DASHBOARDS)))
    board["panels"][1]["gridPos"]["w"] = "wide"
    board["panels"][1]["fieldConfig"]["defaults"]["thresholds"]["mode"] = "relative"
    board["panels"][1]["targets"][0]["expr"] = 7
    wrong = list(mistyped(Dashboard.from_json(board), ""))
    assert [path.rsplit(".", 1)[-1] for path in wrong] == ["expr", "w", "mode"]


def mistyped(value: object, path: str) -> typing.Iterator[str]:
    """Paths of what is not of the type that its class declares."""
    hints = typing.get_type_hints(type(value))
    for field, hint in hints.items():
        own = getattr(value, field, None)
        if not fits(own, hint):
            yield f"{path}.{field}"
        for number, one in enumerate(own if isinstance(own, list) else [own]):
            if hasattr(one, "to_json"):
                yield from mistyped(one, f"{path}.{field}[{number}]")


def fits(value: object, hint: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in (object, Any) or isinstance(hint, typing.TypeVar):
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if origin is typing.Literal:
        return value in inner
    if origin is list:
        return isinstance(value, list) and all(fits(one, inner[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(one, inner[1]) for one in value.values())
    if isinstance(value, dict) and hasattr(hint, "from_json"):
        # Some lists are left as they were read.
        read = hint.from_json(value)
        same = json.loads(json.dumps(read, cls=JSONEncoder)) == value
        return same and not list(mistyped(read, ""))
    if inspect.isclass(hint) and issubclass(hint, enum.Enum):
        return value in {one.value for one in hint}
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


# --- layout


@each_dashboard
def test_panels_neither_overlap_nor_leave_the_grid(name: str) -> None:
    places = [panel["gridPos"] for panel in load(name)["panels"]]
    for one in places:
        assert one["x"] >= 0
        assert one["x"] + one["w"] <= COLUMNS
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)


@each_dashboard
def test_no_line_of_panels_has_a_hole(name: str) -> None:
    lines: dict[int, list[dict[str, int]]] = {}
    for panel in load(name)["panels"]:
        lines.setdefault(panel["gridPos"]["y"], []).append(panel["gridPos"])
    for line in lines.values():
        assert sum(one["w"] for one in line) == COLUMNS
        assert len({one["h"] for one in line}) == 1


@each_dashboard
def test_every_panel_has_a_number_of_its_own(name: str) -> None:
    numbers = [panel["id"] for panel in load(name)["panels"]]
    assert len(set(numbers)) == len(numbers)
    assert 0 not in numbers


@each_dashboard
def test_titles_are_told_apart(name: str) -> None:
    titles = [panel["title"] for panel in panels(name)]
    # The same thing as a number and as a table.
    assert [title for title in set(titles) if titles.count(title) > 1] in ([], ["Open anomalies"])


@each_panel
def test_a_panel_says_what_it_shows_in_a_unit_by_limits(name: str, panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"]
    steps = defaults["thresholds"]["steps"]
    assert steps[0]["value"] is None
    limits = [step["value"] for step in steps[1:]]
    assert limits == sorted(limits)


@each_panel
def test_a_panel_asks_the_chosen_data_source(name: str, panel: dict[str, Any]) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert panel["datasource"] == chosen
    assert panel["targets"]
    assert all(target["datasource"] == chosen for target in panel["targets"])
    letters = [target["refId"] for target in panel["targets"]]
    assert len(set(letters)) == len(letters)


def test_the_band_lies_between_two_lines_that_are_there() -> None:
    (panel,) = (
        panel
        for panel in panels("metricwatch-anomalies.json")
        if panel["title"].startswith("Value")
    )
    legends = {target["legendFormat"] for target in panel["targets"]}
    given = panel["fieldConfig"]["overrides"]
    overrides = {one["matcher"]["options"]: one["properties"] for one in given}
    assert overrides.keys() == legends == {"value", "expected", "lower", "upper"}
    properties = {one["id"]: one["value"] for one in overrides["upper"]}
    assert properties["custom.fillBelowTo"] == "lower"


# --- what is asked


def exported() -> set[str]:
    names = {name for name, _ in GAUGES} | {"up"}
    for registry in (Telemetry(version=1, shard=0).registry, Metrics().registry):
        for metric in registry.collect():
            parts = ("", "_total", "_bucket", "_sum", "_count")
            names |= {metric.name + part for part in parts}
    return names


@each_dashboard
def test_queries_ask_for_metrics_that_are_exported(name: str) -> None:
    asked = {
        metric
        for expression in expressions(name)
        for metric in re.findall(r"\b(?:metricwatch|process)_\w+", expression)
    }
    assert asked
    assert asked <= exported()


@each_dashboard
def test_queries_use_variables_that_are_there(name: str) -> None:
    known = {one["name"] for one in load(name)["templating"]["list"]}
    known |= {"__range", "__rate_interval"}
    used = set(re.findall(r"\$\{?(\w+)", " ".join(expressions(name))))
    assert used <= known
    assert known - used <= {"datasource", "__range", "__rate_interval"}


def test_between_them_the_dashboards_show_every_gauge_of_anomalies_and_of_what_waits() -> None:
    asked = " ".join(one for name in DASHBOARDS for one in expressions(name))
    for metric in [name for name, _ in GAUGES] + [
        "metricwatch_system_anomaly_series",
        "metricwatch_scoring_behind_seconds",
        "metricwatch_detector_store_waiting_seconds",
        "metricwatch_reconcile_backlog",
    ]:
        assert metric in asked


# --- how they reach Grafana


def dashboards(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        one["metadata"]["name"]: one
        for one in of_kind(render(values), "ConfigMap")
        if "-dashboard-" in one["metadata"]["name"]
    }


def test_each_dashboard_is_a_config_map_that_grafanas_sidecar_finds() -> None:
    found = dashboards({**OWN_DATABASE, "dashboards": {"enabled": True}})
    assert found.keys() == {"metricwatch-dashboard-anomalies", "metricwatch-dashboard-itself"}
    for name, config in found.items():
        assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert "annotations" not in config["metadata"]
        ((file, text),) = config["data"].items()
        assert name.removeprefix("metricwatch-dashboard-") in file
        # What Helm made of the braces in legends.
        assert json.loads(text) == load(file)


def test_labels_folder_and_namespace_of_dashboards_can_be_chosen() -> None:
    chosen = {
        "enabled": True,
        "labels": {"dashboards": "yes"},
        "annotations": {"grafana_folder": "Metricwatch"},
        "namespace": "grafana",
    }
    for config in dashboards({**OWN_DATABASE, "dashboards": chosen}).values():
        assert config["metadata"]["namespace"] == "grafana"
        assert config["metadata"]["annotations"] == {"grafana_folder": "Metricwatch"}
        assert config["metadata"]["labels"]["dashboards"] == "yes"


def test_dashboards_come_only_when_they_are_asked_for() -> None:
    assert dashboards(OWN_DATABASE) == {}
    assert len(dashboards(EVERYTHING)) == 2
    assert yaml.safe_load((CHART / "values.yaml").read_text())["dashboards"]["enabled"] is False
