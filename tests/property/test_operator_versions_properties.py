"""Whatever happens in whatever order: one version serves, and the machine comes to rest."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.version_world import Refused, World

from metricwatch.resources import VersionState
from metricwatch.store.rows import TakeOver

PATIENT = settings(deadline=None, max_examples=25)
NUMBERS = st.integers(1, 6)
QUIET_SECONDS = 2 * 3600
"""Longer than any delay, comparison or window of this test."""
LONGEST_STEP = 1200.0

EVENTS = st.one_of(
    st.tuples(st.just("look"), st.just(None)),
    st.tuples(st.just("settle"), st.just(None)),
    st.tuples(st.just("die after"), st.integers(0, 2)),
    st.tuples(st.just("repeat"), st.integers(1, 6)),
    st.tuples(st.just("wait"), st.sampled_from([10, 70, 700, 2000, 8000])),
    st.tuples(
        st.just("train"),
        st.sampled_from(["good", "good", "bad", "error", "unclear", "hopeless", "broken"]),
    ),
    st.tuples(
        st.just("detectors"),
        st.tuples(NUMBERS, st.sampled_from(["ready", "starting", "crashing", "late"])),
    ),
    st.tuples(
        st.just("scores"), st.tuples(NUMBERS, st.sampled_from(["well", "stormily", "silently"]))
    ),
    st.tuples(st.just("window"), st.sampled_from(["7d", "14d"])),
    st.tuples(st.just("pin"), st.one_of(st.none(), NUMBERS)),
    st.tuples(st.just("name"), NUMBERS),
    st.tuples(st.just("retrain"), st.none()),
    st.tuples(
        st.just("rollout"),
        st.fixed_dictionaries(
            {
                "strategy": st.sampled_from(["Immediate", "Shadow"]),
                "autoPromote": st.booleans(),
                "rollbackWindow": st.sampled_from(["0s", "10m"]),
            }
        ),
    ),
    st.tuples(st.just("policy"), st.sampled_from(["KeepServing", "Promote"])),
    st.tuples(st.just("suspend"), st.booleans()),
    st.tuples(st.just("store"), st.booleans()),
    st.tuples(st.just("job goes"), st.none()),
    st.tuples(st.just("clock jumps"), st.sampled_from([-86_400, -3600, -20, 0, 20, 3600, 86_400])),
)


def happen(world: World, event: str, given_: Any) -> None:
    """Lets one thing happen."""
    match event:
        case "look":
            world.step()
        case "settle":
            world.settle()
        case "die after":
            world.do(world.plan(), most=given_)
        case "repeat":
            repeat(world, given_)
        case "wait":
            world.wait(given_)
        case "train":
            world.train(given_)
        case "detectors":
            world.detectors[given_[0]] = given_[1]
        case "scores":
            world.scores[given_[0]] = given_[1]
        case _:
            change(world, event, given_)


def change(world: World, event: str, given_: Any) -> None:
    """Lets a person, or the cluster, change something."""
    match event:
        case "window":
            world.spec["training"] = {"window": given_}
        case "pin":
            world.spec.pop("version", None)
            if given_ is not None:
                world.spec["version"] = given_
        case "name":
            world.annotations["metricwatch.io/promote-version"] = str(given_)
        case "retrain":
            world.ask_for_training()
        case "rollout":
            world.spec["rollout"] = given_
        case "policy":
            world.spec["qualityGate"] = {"failurePolicy": given_}
        case "suspend":
            world.spec["suspend"] = given_
        case "store":
            world.is_store_away = given_
        case "job goes":
            world.lose_jobs()
        case "clock jumps":
            world.ahead = given_


def repeat(world: World, back: int) -> None:
    """Another operator, or the same one before it died, carries out what was planned earlier."""
    if len(world.plans) < back:
        return
    for step in world.plans[-back].writes:
        try:
            world.write(step)
        except Refused:
            return


def check(world: World, *, had_served: bool) -> None:
    """What holds at every moment."""
    states = [one.state for one in world.overview.versions]
    assert states.count(VersionState.SERVING) == int(world.serving is not None)
    if had_served:
        assert world.serving is not None
    if world.serving is not None:
        assert world.versions[world.serving].state is VersionState.SERVING


@PATIENT
@given(st.lists(EVENTS, max_size=30))
def test_one_version_serves_and_the_machine_comes_to_rest(events: list[tuple[str, Any]]) -> None:
    world = World()
    for event, given_ in events:
        had_served = world.serving is not None
        happen(world, event, given_)
        check(world, had_served=had_served)
    calm_down(world)
    come_to_rest(world)
    world.spec.pop("version", None)
    world.spec |= {"suspend": False, "rollout": {"autoPromote": True}}
    # A run that could not succeed waits for somebody to mend the data and say so.
    world.ask_for_training()
    come_to_rest(world)
    assert world.serving is not None
    assert list(world.states().values()).count("Serving") == 1


def calm_down(world: World) -> None:
    """Trainers and detectors do their work from now on, database and clock are right."""
    world.is_store_away = False
    world.ahead = 0
    world.detectors.clear()
    world.scores.clear()


def come_to_rest(world: World) -> None:
    """Time goes by until nothing has happened for long."""
    quiet_since = world.now
    for _ in range(150):
        had_served = world.serving is not None
        steps = world.step()
        check(world, had_served=had_served)
        trained = world.train("good")
        if steps.writes or steps.creates or steps.applies or steps.deletions or trained:
            quiet_since = world.now
        elif world.now - quiet_since > QUIET_SECONDS:
            return
        busy = quiet_since == world.now
        world.wait(max(1.0, steps.requeue_after or 60.0) if busy else LONGEST_STEP)
    raise AssertionError(f"it does not come to rest: {world.states()} {world.plans[-1]}")


@PATIENT
@given(st.lists(EVENTS, max_size=30))
def test_a_version_goes_back_at_most_once_for_each_that_took_over(
    events: list[tuple[str, Any]],
) -> None:
    world = World()
    for event, given_ in events:
        if event != "repeat":
            happen(world, event, given_)
    ways = [how for _, how in world.served]
    for before, how in itertools.pairwise(ways):
        if how is TakeOver.ROLLED_BACK:
            assert before is TakeOver.PROMOTED
    if ways:
        assert ways[0] is not TakeOver.ROLLED_BACK


@PATIENT
@given(st.lists(EVENTS, max_size=30))
def test_nothing_is_planned_that_the_store_refuses(events: list[tuple[str, Any]]) -> None:
    world = World()
    for event, given_ in events:
        if event != "repeat":
            happen(world, event, given_)
        # `World.write` raises what the store refuses.
        world.step()


@PATIENT
@given(st.lists(EVENTS, max_size=30))
def test_the_serving_version_keeps_its_detectors(events: list[tuple[str, Any]]) -> None:
    world = World()
    for event, given_ in events:
        happen(world, event, given_)
        serving, had_them = world.serving, world.serving in world.deployed()
        steps = world.step()
        is_switched = world.serving != serving
        if had_them and not is_switched and not world.spec.get("suspend"):
            assert serving in world.deployed(), steps
        if had_them and is_switched:
            # What serves now was running before it took over: no tick is missed.
            assert world.serving in world.deployed()


@PATIENT
@given(st.lists(EVENTS, max_size=30))
def test_only_a_person_lets_a_version_serve_that_was_refused(
    events: list[tuple[str, Any]],
) -> None:
    world = World()
    for event, given_ in events:
        refused = {n for n, one in world.versions.items() if one.state is VersionState.REJECTED}
        before = len(world.served)
        happen(world, event, given_)
        for number, how in world.served[before:]:
            if number in refused and how is TakeOver.PROMOTED:
                raise AssertionError(f"version {number} was refused before: {world.states()}")
