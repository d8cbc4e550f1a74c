"""docs/monitoring.md lists every metric that is exported, as it is exported, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from tests.chart_rendering import CHART

from metricwatch_detector.exposition import GAUGES
from metricwatch_detector.telemetry import Telemetry
from metricwatch_operator.metrics import Metrics

PAGE = Path(__file__).parents[2] / "docs" / "monitoring.md"
WATCH = ("watch_namespace", "watch", "model")


@dataclass(frozen=True, slots=True)
class Exported:
    """A metric, by its name in the text format."""

    name: str
    type: str
    labels: frozenset[str]


def in_registry(registry: CollectorRegistry) -> Iterator[Exported]:
    for collector in list(registry._collector_to_names):
        for family in collector.collect():
            if not family.name.startswith("metricwatch_"):
                continue
            name = f"{family.name}_total" if family.type == "counter" else family.name
            # Either of the metric itself, or of the family that a collector of ours makes.
            named = getattr(collector, "_labelnames", None) or getattr(family, "_labelnames", ())
            yield Exported(name, family.type, frozenset(named))


def in_code() -> dict[str, Exported]:
    found = [Exported(name, "gauge", frozenset()) for name, _ in GAUGES]
    found += in_registry(Telemetry(version=1, shard=0).registry)
    found += in_registry(Metrics().registry)
    return {one.name: one for one in found}


def on_page() -> dict[str, Exported]:
    """The rows of the tables of metrics; those of a watch have its labels without saying so."""
    found = {}
    for table in re.findall(r"(?:^\|.*\n)+", PAGE.read_text(), re.M):
        head, _, *rows = [
            [cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()
        ]
        if head[0] != "metric":
            continue
        for row in rows:
            cells = dict(zip(head, row, strict=True))
            labels = cells.get("labels", "") + cells.get("further labels", "")
            own = WATCH if "further labels" in cells else ()
            name = cells["metric"].strip("` *")
            listed = frozenset([*own, *re.findall(r"`(\w+)`", labels)])
            assert name not in found, f"{name} is listed twice"
            found[name] = Exported(name, cells["type"], listed)
    return found


def test_the_page_lists_what_is_exported_and_nothing_else() -> None:
    assert on_page().keys() == in_code().keys()


@pytest.mark.parametrize("name", sorted(in_code()))
def test_a_metric_has_the_type_and_the_labels_that_the_page_says(name: str) -> None:
    assert on_page()[name] == in_code()[name]


def test_what_only_the_serving_version_shows_is_marked() -> None:
    marked = set(re.findall(r"^\| `(\w+)` \*", PAGE.read_text(), re.M))
    telemetry = Telemetry(version=1, shard=0)
    hidden = (
        telemetry.open,
        telemetry.system_series,
        telemetry.last_sample,
        telemetry.longest_age,
        telemetry.lag,
        telemetry.behind,
        telemetry.drift,
    )
    assert marked == {metric.describe()[0].name for metric in hidden}


def test_values_that_the_page_names_are_the_charts() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    named = re.findall(
        r"`((?:monitoring|rules|dashboards|networkPolicy)\.[\w.]+)", PAGE.read_text()
    )
    assert len(named) > 8
    for path in named:
        found = values
        for part in path.split("."):
            assert part in found, path
            found = found[part]
