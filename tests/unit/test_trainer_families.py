"""Every family goes the whole way: from a request over a fit and a scoring to an artifact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from metricwatch.algorithms import FAMILIES
from metricwatch.artifact import unpack
from metricwatch.assignments import TrainingRequest
from metricwatch.series import Grid, Panel
from metricwatch_trainer.learning import as_artifact, learn_group
from metricwatch_trainer.lessons import lesson_of
from metricwatch_trainer.preparation import group_series

TICKS = 576
WATCH = {
    "uid": "u1",
    "namespace": "shop",
    "name": "latency",
    "queries": [{"expr": "up"}],
    "source": {"url": "http://prometheus:9090"},
    "intervalSeconds": 300,
}
QUICK: dict[str, dict[str, Any]] = {
    "lstm": {"hidden": 4, "epochs": 1},
    "tcn": {"channels": 4, "epochs": 1},
    "randomForest": {"trees": 4},
    "xgboost": {"rounds": 4},
}


def make_panel() -> tuple[Panel, np.ndarray]:
    """Two days of three series, and the samples of an incident that each of them had."""
    rng = np.random.default_rng(0)
    day = np.sin(np.arange(TICKS) * 2 * np.pi / 288)
    values = 100 + 30 * day + 3 * rng.normal(size=(3, TICKS))
    incident = np.zeros(values.shape, np.bool_)
    incident[:, 200:206] = True
    values[incident] += 60
    labels = tuple((("pod", str(row)),) for row in range(3))
    grid = Grid(start=1_700_000_100, step=300, count=TICKS)
    return Panel(grid=grid, labels=labels, values=values), incident


def learn(scope: str = "perSeries", **algorithm: Any) -> tuple[set[str], list[Any]]:
    """The families that the stored chunks name, and what the report says of the series."""
    row = {"algorithm": algorithm, "scope": scope, "watches": [WATCH]}
    lesson = lesson_of(TrainingRequest.from_row(row))
    panel, incident = make_panel()
    (group,), _ = group_series(
        panel,
        least_samples=100,
        least_to_fit=lesson.family.minimum_samples(lesson.parameters),
        largest_group=100,
        labels=incident if lesson.family.learns_from_labels else None,
    )
    chunks, learned = learn_group(
        group, lesson, watch_uid="u1", progress=lambda _: None, should_stop=lambda: False
    )
    stored = [unpack(as_artifact(chunk, shard=0, number=0).content) for chunk in chunks]
    assert {label for chunk in stored for label in chunk.labels} == set(panel.labels)
    return {chunk.family for chunk in stored}, list(learned)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_learned_and_stored(name: str) -> None:
    block = {name: QUICK[name]} if name in QUICK else {}
    families, learned = learn(type=name, **block)
    assert families == {name}
    assert [one.family for one in learned] == [name] * 3
    assert all(one.samples == TICKS for one in learned)


@pytest.mark.parametrize("name", ["lstm", "tcn"])
def test_a_network_that_all_series_share_is_learned_and_stored(name: str) -> None:
    families, learned = learn("shared", type=name, **{name: QUICK[name]})
    assert families == {name}
    assert len(learned) == 3


def test_auto_stores_what_it_chose() -> None:
    families, learned = learn(type="auto")
    assert families == {one.family for one in learned}
    assert families <= set(FAMILIES)
