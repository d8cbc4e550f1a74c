"""The searches of one training run: whose turn it is, for how long, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
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
from metricwatch.store.rows import Version
from metricwatch_trainer import searches
from metricwatch_trainer.learning import Lesson
from metricwatch_trainer.preparation import Group
from metricwatch_trainer.refusal import Refusal
from metricwatch_trainer.searches import Searches, found_before
from metricwatch_trainer.settings import Phase, Settings
from metricwatch_trainer.teamwork import ALONE, Team
from metricwatch_trainer.tuning import Terms, Tuned

FOUND = AutoregressiveParameters(lags=5)
SETTINGS = Settings(
    database=DatabaseLocation(url="postgresql://db/metrics?sslmode=verify-full"),
    model_uid="model-1",
    version=3,
    shard=0,
    shards=1,
)
SEARCHER = replace(SETTINGS, shard=1, shards=4, phase=Phase.SEARCH)
LEARNER = replace(SETTINGS, shard=2, shards=4)


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
    kept: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    may_open: bool = True

    def open_storage(self, url: str) -> str | None:
        assert url == "postgresql://db/metrics?sslmode=verify-full"
        self.opened += 1
        return "storage" if self.may_open else None

    def keep_result(self, storage: Any, name: str, summary: Mapping[str, Any]) -> None:
        self.kept[name] = summary

    def kept_result(self, storage: Any, name: str) -> Mapping[str, Any] | None:
        if self.error is not None:
            raise self.error
        return self.kept.get(name)

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
    for name in (
        "open_storage",
        "close_storage",
        "forget_studies",
        "keep_result",
        "kept_result",
        "tune",
    ):
        monkeypatch.setattr(searches, name, getattr(world, name))
    return world


def make_searches(
    world: World, *, watches: int = 1, settings: Settings = SETTINGS, **tuning: Any
) -> Searches:
    wanted = {"enabled": True, "timeout": "100s"} | tuning
    return Searches(
        settings=settings,
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
    assert terms.name == "model-1/3/w1"
    assert terms.team == ALONE
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


def test_pods_that_search_work_as_a_team_and_leave_what_they_found(world: World) -> None:
    make_searches(world, settings=SEARCHER).refine(LESSON, make_groups(), watch_uid="w1")
    (terms,) = world.terms
    assert terms.team == Team(size=4, number=1)
    assert world.kept["model-1/3/w1"]["parameters"] == FOUND.to_manifest()


def test_a_search_that_is_over_is_not_begun_again(world: World) -> None:
    make_searches(world, settings=SEARCHER).refine(LESSON, make_groups(), watch_uid="w1")
    make_searches(world, settings=SEARCHER).refine(LESSON, make_groups(), watch_uid="w1")
    assert len(world.terms) == 1


def test_every_slice_learns_with_what_the_search_found(world: World) -> None:
    make_searches(world, settings=SEARCHER).refine(LESSON, make_groups(), watch_uid="w1")
    wanted = make_searches(world, settings=LEARNER)
    lesson, summary = wanted.refine(LESSON, make_groups(100), watch_uid="w1")
    assert lesson == replace(LESSON, parameters=FOUND)
    assert summary == world.kept["model-1/3/w1"]
    assert len(world.terms) == 1


def test_a_search_that_gained_nothing_leaves_the_parameters_as_asked(world: World) -> None:
    world.kept["model-1/3/w1"] = {"why": "gains nothing", "isBetter": False}
    asked = replace(LESSON, parameters=AutoregressiveParameters(lags=3))
    lesson, _ = make_searches(world, settings=LEARNER).refine(asked, make_groups(), watch_uid="w1")
    assert lesson == asked


def test_a_slice_does_not_search_by_itself(world: World) -> None:
    wanted = make_searches(world, settings=LEARNER)
    lesson, summary = wanted.refine(LESSON, make_groups(), watch_uid="w1")
    assert (lesson, world.terms) == (LESSON, [])
    assert summary is not None
    assert summary["why"] == "the search left no result: learned as asked"


def test_a_single_trainer_searches_when_those_that_should_left_nothing(world: World) -> None:
    wanted = make_searches(world, parallelism=4)
    lesson, _ = wanted.refine(LESSON, make_groups(), watch_uid="w1")
    assert lesson == replace(LESSON, parameters=FOUND)


def test_a_search_in_several_pods_needs_a_place_for_its_trials(world: World) -> None:
    world.may_open = False
    with pytest.raises(Refusal, match="GRANT CREATE ON DATABASE") as refused:
        make_searches(world, settings=SEARCHER).refine(LESSON, make_groups(), watch_uid="w1")
    assert refused.value.reason == "NoPlaceForTrials"
    make_searches(world).refine(LESSON, make_groups(), watch_uid="w1")
    assert len(world.terms) == 1


def test_a_family_with_nothing_to_search_is_told_to_those_that_learn(world: World) -> None:
    plain = replace(LESSON, family=replace(AUTOREGRESSIVE, search=None))
    make_searches(world, settings=SEARCHER).refine(plain, make_groups(), watch_uid="w1")
    _, summary = make_searches(world, settings=LEARNER).refine(
        plain, make_groups(), watch_uid="w1"
    )
    assert summary is not None
    assert summary["why"] == "autoregressive has no parameters to search"


def test_a_result_that_cannot_be_read_now_may_be_read_later(world: World) -> None:
    world.error = StorageInternalError("connection reset")
    with pytest.raises(StoreUnavailable, match="connection reset"):
        make_searches(world, settings=LEARNER).refine(LESSON, make_groups(), watch_uid="w1")


def test_a_search_begins_with_what_was_best_for_an_earlier_version(world: World) -> None:
    wanted = make_searches(world, watches=2)
    wanted.earlier = {"w1": {"lags": 7}}
    wanted.refine(LESSON, make_groups(), watch_uid="w1")
    wanted.refine(LESSON, make_groups(), watch_uid="w2")
    assert [terms.first for terms in world.terms] == [{"lags": 7}, None]


def make_version(number: int, **tunings: Mapping[str, Any] | None) -> Version:
    watches = [
        {"uid": uid} | ({} if tuning is None else {"tuning": tuning})
        for uid, tuning in tunings.items()
    ]
    values = dict.fromkeys(Version.__slots__) | {"version": number}
    return Version(**(values | {"report": {"watches": watches} if tunings else None}))


def test_the_newest_search_for_the_same_family_counts() -> None:
    old, new = ({"family": "lstm", "found": {"hidden": size}} for size in (8, 16))
    other = {"family": "tcn", "found": {"channels": 4}}
    versions = [
        make_version(5),
        make_version(4, w1=other, w2=None),
        make_version(3, w1=new, w2={"family": "lstm", "why": "too few samples"}),
        make_version(2, w1=old, w2=old),
    ]
    assert found_before(versions, family="lstm") == {"w1": {"hidden": 16}, "w2": {"hidden": 8}}
    assert found_before(versions, family="tcn") == {"w1": {"channels": 4}}
    assert found_before([], family="lstm") == {}
