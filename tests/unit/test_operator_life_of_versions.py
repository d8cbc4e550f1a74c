"""Versions played through their lives: gate, shadow, take-over, rollback, pins."""

from __future__ import annotations

import pytest
from tests.unit.version_world import World, serves_of

from metricwatch.store.rows import TakeOver

MINUTE = 60
SHADOW = {"strategy": "Shadow", "shadow": {"duration": "30m"}}


def serving_world(**spec: object) -> World:
    """A world whose first version serves."""
    world = World(spec=dict(spec))
    world.bring()
    assert world.serving == 1
    world.wait(MINUTE)
    return world


def retrained(world: World, kind: str = "good") -> World:
    """The same with another version trained because somebody asked for it."""
    world.wait(MINUTE)
    world.ask_for_training()
    world.bring(kind)
    return world


def conditions(world: World) -> dict[str, tuple[str, str, str]]:
    world.settle()
    status = (world.state.model or {})["status"]
    return {
        one["type"]: (one["status"], one["reason"], one["message"]) for one in status["conditions"]
    }


def events(world: World) -> list[str]:
    return [news.reason for one in world.plans for news in one.news]


def test_a_better_version_takes_over_and_the_one_before_stays_for_a_while() -> None:
    world = retrained(serving_world())
    assert world.states() == {1: "Retired", 2: "Serving"}
    assert world.versions[2].replaced == 1
    assert world.deployed() == {1, 2}
    world.wait(10 * MINUTE)
    world.settle()
    assert world.deployed() == {2}


def test_without_a_rollback_window_the_version_before_goes_at_once() -> None:
    world = retrained(serving_world(rollout={"rollbackWindow": "0s"}))
    assert world.serving == 2
    assert world.deployed() == {2}


def test_a_worse_version_is_rejected_and_its_numbers_are_kept() -> None:
    world = retrained(serving_world(), "bad")
    assert world.states() == {1: "Serving", 2: "Rejected"}
    assert world.deployed() == {1}
    status, reason, message = conditions(world)["GatePassed"]
    assert (status, reason) == ("False", "TooManyAnomalies")
    assert "version 2" in message
    (shown, _) = (world.state.model or {})["status"]["versions"]
    assert (shown["verdict"], shown["reason"]) == ("Failed", "TooManyAnomalies")
    assert shown["quality"]["anomalyRate"] == 0.5
    assert shown["quality"]["servingAnomalyRate"] == 0.005
    assert "VersionRejected" in events(world)


def test_a_worse_version_serves_all_the_same_when_the_policy_says_so() -> None:
    world = retrained(serving_world(qualityGate={"failurePolicy": "Promote"}), "bad")
    assert world.serving == 2
    status, reason, message = conditions(world)["GatePassed"]
    assert (status, reason) == ("False", "TooManyAnomalies")
    assert message.endswith("failurePolicy is Promote")


def test_a_version_that_could_not_be_measured_failed_and_is_trained_again() -> None:
    world = retrained(serving_world(), "error")
    assert world.states()[2] == "Failed"
    assert world.versions[2].reason == "GateError"
    world.wait(2 * MINUTE)
    world.bring("good")
    assert world.serving == 3
    assert world.versions[3].attempt == 2


def test_a_version_that_nobody_could_judge_serves_when_somebody_asked_for_it() -> None:
    assert retrained(serving_world(), "unclear").serving == 2


def test_a_version_that_nobody_could_judge_serves_when_the_spec_asks_for_another() -> None:
    world = serving_world()
    world.spec["training"] = {"window": "7d"}
    world.bring("unclear")
    assert world.serving == 2


def test_a_first_version_that_nobody_could_judge_serves() -> None:
    world = World()
    world.bring("unclear")
    assert world.serving == 1
    assert conditions(world)["GatePassed"][:2] == ("Unknown", "GateInconclusive")


def test_a_first_version_that_cries_wolf_is_rejected_and_trained_again() -> None:
    world = World()
    world.bring("bad")
    assert world.states() == {1: "Rejected"}
    world.wait(2 * MINUTE)
    world.bring("good")
    assert world.serving == 2


def test_a_candidate_in_shadow_serves_when_its_time_is_over() -> None:
    world = retrained(serving_world(rollout=SHADOW))
    assert world.states() == {1: "Serving", 2: "Candidate"}
    assert world.deployed() == {1, 2}
    assert "version 2: compared with version 1 for 30m" in conditions(world)["Ready"][2]
    # What serves is what the spec asks for: who waits for the spec need not wait for this.
    assert "Reconciling" not in conditions(world)
    world.wait(29 * MINUTE)
    world.settle()
    assert world.serving == 1
    world.wait(MINUTE)
    world.settle()
    assert world.serving == 2
    assert {"VersionReady", "VersionServing"} <= set(events(world))


def test_a_candidate_for_another_spec_is_work_until_it_serves() -> None:
    world = serving_world(rollout=SHADOW)
    world.spec["training"] = {"window": "7d"}
    world.bring()
    assert world.states() == {1: "Serving", 2: "Candidate"}
    assert conditions(world)["Reconciling"][:2] == ("True", "Progressing")
    world.wait(31 * MINUTE)
    world.settle()
    assert world.serving == 2
    assert "Reconciling" not in conditions(world)


def test_the_end_of_a_comparison_is_waited_for() -> None:
    world = retrained(serving_world(rollout=SHADOW))
    world.wait(30 * MINUTE - 5)
    wait = world.step().requeue_after
    assert wait is not None
    assert wait <= 5.0


@pytest.mark.parametrize(
    ("scores", "reason"), [("stormily", "AnomalyStorm"), ("silently", "ScoresNothing")]
)
def test_a_candidate_that_misbehaves_in_shadow_is_rejected_early(scores: str, reason: str) -> None:
    world = serving_world(rollout=SHADOW)
    world.scores[2] = scores
    retrained(world)
    world.wait(5 * MINUTE)
    world.settle()
    assert world.states() == {1: "Serving", 2: "Rejected"}
    assert world.versions[2].reason == reason
    assert world.deployed() == {1}


def test_a_candidate_that_is_held_back_serves_when_it_is_named() -> None:
    world = retrained_by_hand()
    assert world.states() == {1: "Serving", 2: "Candidate"}
    found = conditions(world)
    assert "metricwatch.io/promote-version" in found["Ready"][2]
    assert "Reconciling" not in found
    world.annotations["metricwatch.io/promote-version"] = "2"
    world.settle()
    assert world.serving == 2


def retrained_by_hand() -> World:
    world = serving_world()
    world.spec["rollout"] = {"autoPromote": False}
    return retrained(world)


def test_an_annotation_that_names_no_candidate_is_remarked_on() -> None:
    world = serving_world()
    for text in ("7", "latest"):
        world.annotations["metricwatch.io/promote-version"] = text
        assert f"{text!r} is no candidate" in conditions(world)["Trained"][2]
    world.annotations["metricwatch.io/promote-version"] = "1"
    assert "no candidate" not in conditions(world)["Trained"][2]


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("crashing", "CrashLoop"),
        ("stormily", "AnomalyStorm"),
        ("silently", "ScoresNothing"),
    ],
)
def test_a_version_that_misbehaves_after_it_took_over_goes_back_once(
    trouble: str, reason: str
) -> None:
    world = retrained(serving_world())
    kinds = world.detectors if trouble == "crashing" else world.scores
    kinds[2] = trouble
    world.wait(5 * MINUTE)
    world.settle()
    assert world.states() == {1: "Serving", 2: "Rejected"}
    assert world.versions[2].reason == reason
    assert world.versions[1].replaced is None
    assert world.deployed() == {1}
    assert "RolledBack" in events(world)
    # What came back has nothing to go back to, and what was sent back does not return.
    kinds[1] = trouble
    world.wait(5 * MINUTE)
    world.settle()
    assert world.serving == 1
    assert [one.how for one in serves_of(world.plans)].count(TakeOver.ROLLED_BACK) == 1


def test_a_version_that_misbehaves_after_the_window_stays() -> None:
    world = retrained(serving_world())
    world.wait(11 * MINUTE)
    world.settle()
    world.detectors[2] = "crashing"
    world.settle()
    assert world.serving == 2


def test_a_version_that_cannot_start_never_takes_the_serving_one_down() -> None:
    world = serving_world()
    world.detectors[2] = "crashing"
    retrained(world)
    assert world.states() == {1: "Serving", 2: "Failed"}
    assert world.versions[2].reason == "DetectorNotReady"
    assert world.deployed() == {1}


def test_a_pin_takes_effect_when_the_detectors_are_ready() -> None:
    world = retrained(serving_world())
    world.wait(11 * MINUTE)
    world.settle()
    world.spec["version"], world.detectors[1] = 1, "starting"
    world.settle()
    assert world.serving == 2
    assert world.deployed() == {1, 2}
    assert conditions(world)["Reconciling"][0] == "True"
    world.detectors[1] = "ready"
    world.settle()
    assert world.states() == {1: "Serving", 2: "Retired"}
    assert world.versions[2].reason == "Pinned"
    assert world.versions[1].replaced is None
    assert world.deployed() == {1}


def test_training_goes_on_beside_a_pin_and_candidates_wait() -> None:
    world = serving_world()
    world.spec["version"] = 1
    retrained(world)
    assert world.states() == {1: "Serving", 2: "Candidate"}
    assert world.deployed() == {1}
    found = conditions(world)
    assert "spec.version pins, so version 2 waits" in found["Ready"][2]
    assert "Reconciling" not in found


def test_without_the_pin_the_newest_good_version_takes_over() -> None:
    world = retrained(serving_world())
    world.spec["version"] = 1
    world.settle()
    assert world.serving == 1
    del world.spec["version"]
    world.settle()
    assert world.states() == {1: "Retired", 2: "Serving"}
    assert "VersionReinstated" in events(world)


def test_without_the_pin_a_version_that_was_rejected_does_not_take_over() -> None:
    world = retrained(serving_world(), "bad")
    world.spec["version"] = 2
    world.settle()
    assert world.serving == 2
    world.spec["version"] = 1
    world.settle()
    del world.spec["version"]
    world.settle()
    assert world.states() == {1: "Serving", 2: "Rejected"}


def test_a_pinned_version_is_not_rolled_back() -> None:
    world = retrained(serving_world())
    world.spec["version"] = 2
    world.detectors[2] = "crashing"
    world.settle()
    assert world.serving == 2
    assert world.deployed() == {2}


@pytest.mark.parametrize("kind", ["missing", "failed"])
def test_a_pin_to_a_version_that_cannot_serve_leaves_the_serving_one_alone(kind: str) -> None:
    world = serving_world()
    if kind == "failed":
        world.wait(MINUTE)
        world.ask_for_training()
        world.bring("hopeless")
    world.spec["version"] = 2
    found = conditions(world)
    assert found["Ready"][:2] == ("True", "Serving")
    assert found["Stalled"][:2] == ("True", "VersionNotFound")
    assert found["Stalled"][2].endswith("there are 1")
    assert world.serving == 1


def test_a_pin_to_a_version_in_training_waits_for_it() -> None:
    world = serving_world()
    world.wait(MINUTE)
    world.ask_for_training()
    world.settle()
    world.spec["version"] = 2
    assert "Stalled" not in conditions(world)
    world.train("bad")
    world.settle()
    # Whoever names a version knows better than the gate.
    assert world.serving == 2


def test_a_suspended_model_keeps_its_serving_version_and_runs_nothing() -> None:
    world = retrained(serving_world())
    world.spec["suspend"] = True
    world.settle()
    assert (world.serving, world.deployed()) == (2, set())
    del world.spec["suspend"]
    world.settle()
    assert world.deployed() == {1, 2}


def test_what_may_have_to_come_back_is_not_pruned() -> None:
    world = serving_world(versionHistoryLimit=1)
    for _ in range(4):
        retrained(world)
    assert world.states() == {3: "Retired", 4: "Retired", 5: "Serving"}
    world.spec["version"] = 3
    world.settle()
    del world.spec["version"]
    assert world.serving == 3


def test_a_change_while_a_candidate_is_compared_starts_over() -> None:
    world = retrained(serving_world(rollout=SHADOW))
    world.spec["training"] = {"window": "7d"}
    world.bring()
    assert world.states() == {1: "Serving", 2: "Retired", 3: "Candidate"}
    assert world.deployed() == {1, 3}


def test_an_operator_that_dies_anywhere_repeats_nothing() -> None:
    for death in range(3):
        world = serving_world()
        world.wait(MINUTE)
        world.ask_for_training()
        for _ in range(20):
            world.do(world.plan(), most=death)
            world.step()
            world.train()
        assert world.states() == {1: "Retired", 2: "Serving"}
        assert world.served == [(1, TakeOver.PROMOTED), (2, TakeOver.PROMOTED)]


def test_a_database_that_is_away_while_a_version_takes_over_changes_nothing() -> None:
    world = serving_world()
    world.wait(MINUTE)
    world.ask_for_training()
    world.settle()
    world.train()
    world.is_store_away = True
    world.settle()
    assert world.deployed() == {1}
    world.is_store_away = False
    world.settle()
    assert world.serving == 2
