"""Comparisons are read no more often than they are worth, and counted moves are told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from tests.unit.operator_builders import make_model, make_request, make_watch
from tests.unit.test_operator_promotion import comparison

from metricwatch.resources import VersionState
from metricwatch.store.errors import StoreUnavailable
from metricwatch.store.rows import Comparison, TakeOver
from metricwatch_operator.comparisons import Comparisons
from metricwatch_operator.metrics import Metrics
from metricwatch_operator.planning.actions import CreateVersion, MarkReady, Serve, SetState
from metricwatch_operator.planning.comparing import WantedComparison
from metricwatch_operator.records import Records

WANTED = WantedComparison(2, 1, 1000)


@dataclass
class SlowRecords:
    """A database that takes its time."""

    takes: float = 0.1
    now: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    is_away: bool = False

    async def compare(self, model_id: int, **wanted: Any) -> Comparison:
        self.now += self.takes
        if self.is_away:
            raise StoreUnavailable("refused")
        self.asked.append({"model_id": model_id, **wanted})
        return comparison()


def comparisons(records: SlowRecords) -> Comparisons:
    return Comparisons(cast(Records, records), now=lambda: records.now)


async def test_a_comparison_is_kept_for_ten_seconds() -> None:
    records = SlowRecords()
    read = comparisons(records)
    for _ in range(3):
        assert await read.read(7, WANTED) == comparison()
    assert records.asked == [{"model_id": 7, "version": 2, "against": 1, "since": 1000}]
    records.now += 10.1
    await read.read(7, WANTED)
    assert len(records.asked) == 2


async def test_a_comparison_that_takes_long_is_kept_for_longer() -> None:
    records = SlowRecords(takes=2.0)
    read = comparisons(records)
    await read.read(7, WANTED)
    records.now += 39
    await read.read(7, WANTED)
    assert len(records.asked) == 1
    records.now += 2
    await read.read(7, WANTED)
    assert len(records.asked) == 2


async def test_other_versions_and_other_models_are_compared_at_once() -> None:
    records = SlowRecords()
    read = comparisons(records)
    await read.read(7, WANTED)
    await read.read(8, WANTED)
    await read.read(7, WantedComparison(3, 1, 1000))
    assert len(records.asked) == 3


async def test_what_is_no_longer_wanted_is_forgotten() -> None:
    records = SlowRecords()
    read = comparisons(records)
    await read.read(7, WANTED)
    assert await read.read(7, None) is None
    await read.read(7, WANTED)
    assert len(records.asked) == 2


async def test_a_comparison_that_cannot_be_had_is_none() -> None:
    records = SlowRecords(is_away=True)
    read = comparisons(records)
    assert await read.read(7, WANTED) is None
    records.is_away = False
    assert await read.read(7, WANTED) == comparison()


@pytest.mark.parametrize(
    ("step", "labels"),
    [
        (
            CreateVersion(
                "u", 1, make_request(make_model(), make_watch()), 1, "Created", "the first"
            ),
            ("Training", "Created"),
        ),
        (SetState("u", 1, VersionState.REJECTED, "RecallTooLow"), ("Rejected", "RecallTooLow")),
        (Serve("u", 2), ("promoted", "Superseded")),
        (Serve("u", 1, TakeOver.ROLLED_BACK, "CrashLoop"), ("rolledBack", "CrashLoop")),
    ],
)
def test_moves_of_versions_are_counted(step: Any, labels: tuple[str, str]) -> None:
    metrics = Metrics()
    metrics.count([step, MarkReady("u", 1)])
    found = metrics.registry.get_sample_value(
        "metricwatch_version_moves_total", {"move": labels[0], "reason": labels[1]}
    )
    assert found == 1


def test_versions_are_counted_by_state() -> None:
    metrics = Metrics()
    states = [["Serving", "Retired"], ["Serving", "Rejected", "Retired"]]
    metrics.conditions.replace(
        {**make_model(), "status": {"versions": [{"state": one} for one in versions]}}
        for versions in states
    )
    value = metrics.registry.get_sample_value
    assert value("metricwatch_versions", {"state": "Serving"}) == 2
    assert value("metricwatch_versions", {"state": "Rejected"}) == 1
    metrics.conditions.replace([])
    assert value("metricwatch_versions", {"state": "Serving"}) is None
