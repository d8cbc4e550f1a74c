"""Whatever is observed in whatever order, plans converge, and a settled world stays settled."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.test_operator_versions_properties import EVENTS, happen
from tests.unit.operator_builders import (
    CONFIG,
    NOW,
    NOW_SECONDS,
    available,
    carry_out,
    make_health,
    make_model,
    make_overview,
    make_watch,
)
from tests.unit.version_world import World

from metricwatch.store.rows import HealthState
from metricwatch_operator.observed import Observed
from metricwatch_operator.planning.plan import plan

PATIENT = settings(deadline=None, max_examples=20)
NAMES = st.sampled_from(["a", "b", "c"])
EDITS = st.one_of(
    st.tuples(st.just("add or change watch"), st.tuples(NAMES, st.sampled_from(["up", "down"]))),
    st.tuples(st.just("remove watch"), NAMES),
    st.tuples(st.just("break watch"), NAMES),
    st.tuples(st.just("model"), st.sampled_from([{}, {"suspend": True}, {"version": 7}])),
    st.tuples(st.just("shards"), st.integers(1, 3)),
    st.tuples(st.just("report"), st.sampled_from(HealthState)),
    st.tuples(st.just("children go"), st.booleans()),
    st.tuples(st.just("children are edited"), st.integers(0, 9)),
    st.tuples(st.just("statuses are lost"), st.none()),
    st.tuples(st.just("memory is lost"), st.none()),
    st.tuples(st.just("database is lost"), st.none()),
    st.tuples(st.just("stale look"), st.integers(1, 4)),
    st.tuples(st.just("look"), st.none()),
)


def first_world() -> Observed:
    """A model with a watch, known to the database."""
    model, watch = make_model(), make_watch("a")
    world = Observed("shop", "checkout", model=model, watches=(watch,))
    return settle_down(replace(world, overview=make_overview(model)))


def settle_down(world: Observed) -> Observed:
    """The world after so many looks that nothing is left to do; trainers take their time."""
    for _ in range(25):
        steps = plan(world, now=NOW, config=CONFIG)
        if steps.is_empty:
            return world
        world = start(carry_out(world, steps))
    raise AssertionError(f"there is always something to do: {steps}")


def start(world: Observed) -> Observed:
    """All detectors become ready."""
    return replace(world, deployments=tuple(available(dict(one)) for one in world.deployments))


def edit(world: Observed, what: str, how: Any) -> Observed:
    """The world after somebody, or something, changed it."""
    watches = {one["metadata"]["name"]: one for one in world.watches}
    match what:
        case "add or change watch":
            name, query = how
            before = watches.get(name, {}).get("metadata", {}).get("generation", 0)
            watch = make_watch(name, query=query)
            watch["metadata"]["generation"] = before + 1
            return replace(world, watches=_sorted(watches | {name: watch}))
        case "break watch" if how in watches:
            broken = copy.deepcopy(watches[how])
            broken["spec"]["interval"] = "soon"
            return replace(world, watches=_sorted(watches | {how: broken}))
        case "remove watch":
            return replace(world, watches=_sorted({n: w for n, w in watches.items() if n != how}))
        case "model":
            return _with_spec(world, how)
        case "shards":
            return _with_spec(world, {"detector": {"shards": how}})
        case _:
            return damage(world, what, how)


def damage(world: Observed, what: str, how: Any) -> Observed:
    """The world after something of it went wrong."""
    match what:
        case "report" if world.overview is not None:
            rows = tuple(
                replace(row, health=(make_health(state=how),)) for row in world.overview.watches
            )
            return replace(world, overview=replace(world.overview, watches=rows))
        case "children go":
            return replace(world, deployments=(), jobs=world.jobs if how else (), pods=())
        case "children are edited":
            edited = [copy.deepcopy(dict(one)) for one in world.deployments]
            for one in edited:
                one["spec"]["replicas"] = how
            return replace(world, deployments=tuple(edited))
        case "statuses are lost":
            bare = tuple({k: v for k, v in one.items() if k != "status"} for one in world.watches)
            model = {k: v for k, v in (world.model or {}).items() if k != "status"}
            return replace(world, model=model, watches=bare)
        case "memory is lost":
            return replace(world, memory=type(world.memory)())
        case "database is lost":
            return replace(world, overview=None, memory=type(world.memory)())
    return world


def _sorted(watches: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(watches[name] for name in sorted(watches))


def _with_spec(world: Observed, changes: dict[str, Any]) -> Observed:
    model = copy.deepcopy(dict(world.model or {}))
    model["spec"] = make_model(**changes)["spec"]
    model["metadata"]["generation"] += 1
    return replace(world, model=model)


@PATIENT
@given(st.lists(EDITS, max_size=12))
def test_any_sequence_of_observations_ends_in_a_world_that_needs_nothing(
    edits: list[tuple[str, Any]],
) -> None:
    worlds = [first_world()]
    for what, how in edits:
        world = edit(worlds[-1], what, how)
        # A cache that is behind shows an older world; what is done about it happens in this one.
        shown = worlds[-how] if what == "stale look" and how <= len(worlds) else world
        steps = plan(shown, now=NOW, config=CONFIG)
        if what == "stale look":
            # The store refuses what no longer fits, and the API server what was made before.
            steps = replace(steps, writes=())
        worlds.append(start(carry_out(world, steps)))
    settled = settle_down(worlds[-1])
    assert plan(settled, now=NOW, config=CONFIG).is_empty
    # Another operator that knows nothing of what this one wrote: rows once more, and no object.
    fresh = plan(replace(settled, memory=type(settled.memory)()), now=NOW, config=CONFIG)
    assert fresh.creates + fresh.applies + fresh.deletions == ()
    assert fresh.statuses + fresh.news == ()
    assert {type(step).__name__ for step in fresh.writes} <= {"Assign"}


@PATIENT
@given(st.lists(EDITS, max_size=12), st.randoms(use_true_random=False))
def test_what_was_found_in_another_order_gives_the_same_plan(
    edits: list[tuple[str, Any]], chance: Any
) -> None:
    world = first_world()
    for what, how in edits:
        world = edit(world, what, how)
        world = start(carry_out(world, plan(world, now=NOW, config=CONFIG)))
    shuffled = replace(
        world,
        jobs=_shuffled(world.jobs, chance),
        deployments=_shuffled(world.deployments, chance),
        pods=_shuffled(world.pods, chance),
    )
    assert plan(shuffled, now=NOW, config=CONFIG) == plan(world, now=NOW, config=CONFIG)


def _shuffled(objects: tuple[Any, ...], chance: Any) -> tuple[Any, ...]:
    return tuple(chance.sample(objects, len(objects)))


@PATIENT
@given(
    st.lists(EVENTS, max_size=15),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from([None, 0, 200, 10_000]),
)
def test_until_the_next_look_time_alone_changes_nothing(
    events: list[tuple[str, Any]], share: float, sample_age: int | None
) -> None:
    world = World()
    for event, given_ in events:
        happen(world, event, given_)
    world.is_store_away = False
    world.settle(rounds=30)
    seen = world.look()
    assert seen.overview is not None
    newest = None if sample_age is None else world.now - sample_age
    health = make_health(world.serving or 1, last_sample_at=newest)
    rows = tuple(replace(row, health=(health,)) for row in seen.overview.watches)
    seen = replace(seen, overview=replace(seen.overview, watches=rows))
    now = NOW + timedelta(seconds=world.now - NOW_SECONDS + world.ahead)
    for _ in range(30):
        steps = plan(seen, now=now, config=CONFIG)
        if steps.is_empty:
            break
        seen = carry_out(seen, steps, now=world.now)
    assert steps.requeue_after is not None
    later = now + timedelta(seconds=share * steps.requeue_after)
    assert plan(seen, now=later, config=CONFIG).is_empty
