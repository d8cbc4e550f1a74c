"""Alert rules speak of metrics that exist, with labels that they have."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry
from tests.chart_rendering import CHART

from metricwatch_detector.exposition import GAUGES
from metricwatch_detector.telemetry import Telemetry
from metricwatch_operator.metrics import Metrics

RULES = [
    rule
    for group in yaml.safe_load((CHART / "files" / "rules.yaml").read_text())["groups"]
    for rule in group["rules"]
]


def names(registry: CollectorRegistry) -> Iterator[str]:
    for metric in registry.collect():
        yield metric.name
        # How the text format calls a counter.
        yield f"{metric.name}_total"
        # And the parts of a histogram.
        yield from (f"{metric.name}_{part}" for part in ("bucket", "sum", "count"))


@pytest.fixture(scope="module")
def exported() -> set[str]:
    return {
        *(name for name, _help in GAUGES),
        *names(Telemetry(version=1, shard=0).registry),
        *names(Metrics().registry),
        "up",
    }


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_asks_for_metrics_that_are_exported(
    rule: dict[str, str], exported: set[str]
) -> None:
    asked = set(re.findall(r"\b(metricwatch_\w+|up\b)", rule["expr"]))
    assert asked
    assert asked <= exported


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_says_in_words_what_its_labels_name(rule: dict[str, Any]) -> None:
    told = rule["annotations"]["summary"] + rule["annotations"]["description"]
    grouped = re.match(r"(?:max|sum) by \((.*?)\)", rule["expr"])
    named = set(grouped[1].split(", ")) if grouped else set()
    if "without (detector)" in rule["expr"] and not grouped:
        named = {"watch_namespace", "watch", "model"}
    assert named <= set(re.findall(r"\$labels\.(\w+)", told))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_is_tried_in_promtool(rule: dict[str, Any]) -> None:
    tests = CHART.parents[1] / "tests" / "integration" / "test_alert_rules.py"
    assert f'"{rule["alert"]}"' in tests.read_text()


def test_runbooks_name_metrics_that_are_exported(exported: set[str]) -> None:
    for page in (CHART.parents[1] / "docs" / "runbooks").glob("*.md"):
        asked = set(re.findall(r"\bmetricwatch_\w+", page.read_text()))
        asked |= set(re.findall(r"\bprocess_\w+", page.read_text()))
        assert asked <= exported, page.name
