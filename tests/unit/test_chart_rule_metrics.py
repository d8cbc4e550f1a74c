"""Alert rules speak of metrics that exist, with labels that they have."""

import re
from collections.abc import Iterator

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


def test_runbooks_name_metrics_that_are_exported(exported: set[str]) -> None:
    for page in (CHART.parents[1] / "docs" / "runbooks").glob("*.md"):
        asked = set(re.findall(r"\bmetricwatch_\w+", page.read_text()))
        assert asked <= exported, page.name
