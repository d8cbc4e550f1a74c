"""The searches of one training run: whose turn it is, for how long, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from optuna.exceptions import StorageInternalError

from metricwatch.algorithms.autoregressive import AUTOREGRESSIVE
from metricwatch.algorithms.base import Suggest
from metricwatch.resources import AutoregressiveParameters, Scaling, Tuning
from metricwatch.resources.schema import ApiModel
from metricwatch.series import Grid, Panel
from metricwatch.store.errors import StoreUnavailable
from metricwatch.store.location import DatabaseLocation
from metricwatch_trainer import searches
from metricwatch_trainer.learning import Lesson
from metricwatch_trainer.preparation import Group
from metricwatch_trainer.searches import Searches
from metricwatch_trainer.settings import Settings
from metricwatch_trainer.tuning import Terms, Tuned

FOUND = AutoregressiveParameters(lags=5)
SETTINGS = Settings(
    database=DatabaseLocation(url="postgresql://db/metrics"),
    model_uid="model-1",
    version=3,
    shard=0,
    shards=1,
)


def search(suggest: Suggest) -> ApiModel:
    return AutoregressiveParameters(lags=suggest.suggest_int("lags", 1, 8))


LESSON = Lesson(
    family=replace(AUTOREGRESSIVE, search=search),
    parameters=None,
    scaling=Scaling.ROBUST,
    seed=4,
)


@dataclass
class World:
    """Stands for the database, the search and the time that both take."""

    now: float = 0.0
    takes: float = 0.0
    opened: int = 0
    closed: int = 0
    forgotten: list[int | None] = field(default_factory=list)
    terms: list[Terms] = field(default_factory=list)
    error: Exception | None = None

    def open_storage(self, url: str) -> str:
        assert url == "postgresql://db/metrics"
        self.opened += 1
        return "storage"

    def forget_studies(self, storage: Any, *, model_uid: str, but: int | None) -> None:
        self.forgotten.append(but)

    def close_storage(self, storage: Any) -> None:
        assert storage == "storage"
        self.closed += 1

    def tune(self, family: Any, judge: Any, terms: Terms, **more: Any) -> Tuned:
        if self.error is not None:
            raise self.error
        self.terms.append(terms)
        self.now += self.takes
        return Tuned(FOUND, is_better=True, why="gains", baseline=0.25, best=0.5)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    for name in ("open_storage", "close_storage", "forget_studies", "tune"):
        monkeypatch.setattr(searches, name, getattr(world, name))
    return world


def make_searches(world: World, *, watches: int = 1, **tuning: Any) -> Searches:
    wanted = {"enabled": True, "timeout": "100s"} | tuning
    return Searches(
        settings=SETTINGS,
        tuning=Tuning.model_validate(wanted),
        watches=watches,
        should_stop=lambda: False,
        clock=lambda: world.now,
    )


def make_groups(ticks: int = 500) -> tuple[Group, ...]:
    values = np.random.default_rng(0).normal(size=(1, ticks))
    panel = Panel(grid=Grid(0, 60, ticks), labels=((("pod", "a"),),), values=values)
    return (Group(panel=panel, head=ticks * 4 // 5),)


def test_what_was_found_is_learned_with_and_told(world: World) -> None:
    lesson, summary = make_searches(world).refine(LESSON, make_groups(), watch_uid="w1")
    assert lesson == replace(LESSON, parameters=FOUND)
    assert summary is not None
    assert (summary["family"], summary["gain"], summary["isBetter"]) == (
        "autoregressive",
        0.25,
        True,
    )
    (terms,) = world.terms
    assert terms.name == "model-1/3/w1/0"
    assert (terms.storage, terms.seed, terms.trials) == ("storage", 4, 30)


def test_without_tuning_no_database_is_asked(world: World) -> None:
    wanted = make_searches(world, enabled=False)
    assert wanted.refine(LESSON, make_groups(), watch_uid="w1") == (LESSON, None)
    assert make_searches(world).refine(LESSON, (), watch_uid="w1") == (LESSON, None)
    assert world.opened == 0


def test_watches_share_the_time_and_what_one_leaves_is_for_the_others(world: World) -> None:
    world.takes = 10.0
    wanted = make_searches(world, watches=4)
    for number in range(4):
        wanted.refine(LESSON, make_groups(), watch_uid=f"w{number}")
    assert [terms.seconds for terms in world.terms] == [25.0, 30.0, 40.0, 70.0]
    assert (world.opened, world.forgotten) == (1, [3])


def test_trials_are_forgotten_when_the_version_is_stored(world: World) -> None:
    wanted = make_searches(world)
    wanted.forget()
    assert world.forgotten == []
    wanted.refine(LESSON, make_groups(), watch_uid="w1")
    wanted.forget()
    wanted.forget()
    assert (world.forgotten, world.closed) == ([3, None], 1)


def test_a_watch_without_series_takes_no_time_from_the_others(world: World) -> None:
    wanted = make_searches(world, watches=2)
    wanted.refine(LESSON, (), watch_uid="w0")
    wanted.refine(LESSON, make_groups(), watch_uid="w1")
    assert [terms.seconds for terms in world.terms] == [100.0]


def test_a_family_with_nothing_to_search_learns_as_asked_and_it_is_said(world: World) -> None:
    plain = replace(LESSON, family=replace(AUTOREGRESSIVE, search=None))
    lesson, summary = make_searches(world).refine(plain, make_groups(), watch_uid="w1")
    assert lesson == plain
    assert summary is not None
    assert summary["why"] == "autoregressive has no parameters to search"


def test_a_history_too_short_to_judge_on_is_learned_as_asked(world: World) -> None:
    lesson, summary = make_searches(world).refine(LESSON, make_groups(100), watch_uid="w1")
    assert lesson == LESSON
    assert summary is not None
    assert "100 samples are too few" in summary["why"]


def test_a_storage_that_is_lost_may_come_back(world: World) -> None:
    world.error = StorageInternalError("connection reset")
    with pytest.raises(StoreUnavailable, match="the search cannot keep its trials: connection"):
        make_searches(world).refine(LESSON, make_groups(), watch_uid="w1")
