"""What the quality gate says of what a trainer measured, rule by rule."""

from __future__ import annotations

import math
from typing import Any

import pytest

from metricwatch.gate import Found, GateMeasurement, Side, WatchMeasured
from metricwatch.resources import QualityGate
from metricwatch_operator.planning.gate import (
    LIMITS,
    Judgement,
    Verdict,
    chance_of,
    describe,
    numbers,
    read_measurement,
)
from metricwatch_operator.planning.gate import judge as judge_reading

LIMITS_OF_TEST = QualityGate(max_anomaly_rate=0.02, min_synthetic_recall=0.7, max_regression=0.1)


def judge(row: dict[str, Any] | None, limits: QualityGate, **how: bool) -> Judgement:
    return judge_reading(read_measurement(row), limits, **how)


def side(**changes: Any) -> Side:
    """A side that every rule lets pass."""
    kinds = {"spike": Found(found=9, of=10), "levelShift": Found(found=8, of=10)}
    well: dict[str, Any] = {
        "series": 10,
        "samples": 10_000,
        "anomalous": 50,
        "episodes": 4,
        "promised": 3.0,
        "injected": kinds,
        "recorded": Found(found=8, of=10),
        "dismissed": Found(found=2, of=6),
    }
    return Side(**(well | changes))


def report(
    candidate: Side | None = None, serving: Side | None = None, **changes: Any
) -> dict[str, Any]:
    """The report of a trainer; the same series are known to both sides."""
    one = candidate or side()
    watch = WatchMeasured(
        uid="w", name="latency", candidate=one, common=one, serving=serving, **changes
    )
    found = GateMeasurement(serving=1 if serving else None, watches=(watch,))
    return {"gate": found.to_row()}


def recall_of(share: int) -> dict[str, Found]:
    return {"spike": Found(found=share, of=100)}


# Candidate, serving version, further numbers, and the reason that is given.
CASES: dict[str, tuple[Side, Side | None, dict[str, Any], str]] = {
    "equal to the serving version": (side(), side(), {}, "GatePassed"),
    "alone and good": (side(), None, {}, "GatePassed"),
    "anomaly rate above the limit": (side(anomalous=300), side(), {}, "TooManyAnomalies"),
    "anomaly rate at the limit": (side(anomalous=200), side(), {}, "GatePassed"),
    "an incident that the serving version saw as well": (
        side(anomalous=300),
        side(anomalous=290),
        {},
        "GatePassed",
    ),
    "anomaly rate above both": (side(anomalous=300), side(anomalous=250), {}, "TooManyAnomalies"),
    "anomaly rate without a comparison": (side(anomalous=300), None, {}, "TooManyAnomalies"),
    "far more alarms than promised": (side(episodes=30), side(), {}, "AlarmBudgetExceeded"),
    "more alarms, but no more than the serving version": (
        side(episodes=30),
        side(episodes=30),
        {},
        "GatePassed",
    ),
    "more alarms than promised by chance": (side(episodes=9), side(), {}, "GatePassed"),
    "three alarms where almost none was promised": (
        side(episodes=3, promised=0.05),
        side(episodes=1),
        {},
        "AlarmBudgetExceeded",
    ),
    "recall too low": (side(injected=recall_of(50)), side(), {}, "RecallTooLow"),
    "recall low, but as low as the serving version's": (
        side(injected=recall_of(50)),
        side(injected=recall_of(55)),
        {},
        "GatePassed",
    ),
    "recall lower than a low one": (
        side(injected=recall_of(40)),
        side(injected=recall_of(65)),
        {},
        "RecallTooLow",
    ),
    "recall lower than a low one by chance": (
        side(injected=recall_of(50)),
        side(injected=recall_of(60)),
        {},
        "GatePassed",
    ),
    "recall of few anomalies": (
        side(injected={"spike": Found(found=1, of=4), "drift": Found(found=0, of=4)}),
        side(injected={"spike": Found(found=3, of=4), "drift": Found(found=0, of=4)}),
        {},
        "GatePassed",
    ),
    "recall too low without a comparison": (
        side(injected=recall_of(50)),
        None,
        {},
        "RecallTooLow",
    ),
    "recall lower than a high one, above the limit": (
        side(injected=recall_of(75)),
        side(injected=recall_of(99)),
        {},
        "GatePassed",
    ),
    "misses recorded anomalies": (
        side(recorded=Found(found=4, of=10)),
        side(),
        {},
        "MissesRecorded",
    ),
    "misses one of few recorded": (
        side(recorded=Found(found=0, of=4)),
        side(recorded=Found(found=4, of=4)),
        {},
        "GatePassed",
    ),
    "misses recorded anomalies that nobody finds": (
        side(recorded=Found(found=4, of=10)),
        side(recorded=Found(found=4, of=10)),
        {},
        "GatePassed",
    ),
    "a larger error": (
        side(),
        side(),
        {"log_error_ratio": 10 * math.log(1.2), "error_series": 10},
        "ErrorTooLarge",
    ),
    "an error as large as allowed": (
        side(),
        side(),
        {"log_error_ratio": 10 * math.log(1.09), "error_series": 10},
        "GatePassed",
    ),
    "a smaller error": (
        side(),
        side(),
        {"log_error_ratio": -10.0, "error_series": 10},
        "GatePassed",
    ),
    "raises what people dismissed": (
        side(dismissed=Found(found=3, of=6)),
        side(),
        {},
        "RepeatsDismissed",
    ),
    "several rules broken, the first one speaks": (
        side(anomalous=300, injected=recall_of(1)),
        side(),
        {"log_error_ratio": 20.0, "error_series": 10},
        "TooManyAnomalies",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_rule_is_broken_by_what_it_is_about_and_by_nothing_else(case: str) -> None:
    candidate, serving, changes, reason = CASES[case]
    found = judge(report(candidate, serving, **changes), LIMITS_OF_TEST)
    assert found.reason == reason
    passed = reason == "GatePassed"
    assert found.verdict is (Verdict.SUCCESSFUL if passed else Verdict.FAILED)
    assert found.message


def test_every_rule_is_broken_in_some_case() -> None:
    given = {reason for *_, reason in CASES.values()}
    assert len(given - {"GatePassed"}) == len(LIMITS)


@pytest.mark.parametrize("case", [name for name in CASES if CASES[name][1] is None])
def test_a_first_version_is_refused_only_for_crying_wolf(case: str) -> None:
    candidate, _, _, reason = CASES[case]
    found = judge(report(candidate), LIMITS_OF_TEST, is_first=True)
    wanted = Verdict.FAILED if reason == "TooManyAnomalies" else Verdict.SUCCESSFUL
    assert found.verdict is wanted


@pytest.mark.parametrize(
    ("taken_over", "serving", "expected"),
    [
        pytest.param(True, None, Verdict.SUCCESSFUL, id="it came, all else was taken over"),
        pytest.param(True, Side(), Verdict.SUCCESSFUL, id="it is of other series now"),
        pytest.param(True, side(), Verdict.FAILED, id="the serving version knows it"),
        pytest.param(False, None, Verdict.FAILED, id="everything was learned"),
    ],
)
def test_a_watch_that_the_serving_version_does_not_know_is_held_to_what_a_first_version_is(
    taken_over: bool, serving: Side | None, expected: Verdict
) -> None:
    row = report(side(injected=recall_of(30)), serving)
    row["watches"] = [{"uid": "v"} | ({"from": 1} if taken_over else {}), {"uid": "w"}]
    assert judge(row, LIMITS_OF_TEST).verdict is expected


def test_what_a_first_version_lacks_is_told_all_the_same() -> None:
    found = judge(report(side(injected=recall_of(50))), LIMITS_OF_TEST, is_first=True)
    assert "finds 50% of the anomalies put in" in found.message
    assert "nothing better serves" in found.message


def test_the_worst_kind_of_anomaly_is_named() -> None:
    kinds = {"spike": Found(found=9, of=10), "drift": Found(found=1, of=10)}
    found = judge(report(side(injected=kinds)), LIMITS_OF_TEST)
    assert found.message == "it finds 50% of the anomalies put in, less than 70% (drift 10%)"


def report_of(**sides: Side) -> dict[str, Any]:
    """The report about several watches, in two shards each, by name."""
    watches = tuple(
        WatchMeasured(uid=f"uid-{name}", name=name, candidate=one, common=one)
        for name, one in sides.items()
        for _ in range(2)
    )
    return {"gate": GateMeasurement(watches=watches).to_row()}


@pytest.mark.parametrize(
    ("bad", "where"),
    [
        pytest.param(1, " (watch bad-0)", id="one"),
        pytest.param(3, " (watches bad-0, bad-1, bad-2)", id="as many as fit"),
        pytest.param(5, " (watches bad-0, bad-1, bad-2 and 2 more)", id="more than fit"),
    ],
)
def test_the_watches_that_break_a_rule_by_themselves_are_named(bad: int, where: str) -> None:
    sides = {f"bad-{number}": side(anomalous=900) for number in range(bad)}
    found = judge(report_of(good=side(), **sides), LIMITS_OF_TEST)
    assert found.reason == "TooManyAnomalies"
    assert found.message.endswith(f"more than 2.00%{where}")


def test_no_watch_is_named_when_there_is_one_only() -> None:
    found = judge(report_of(bad=side(anomalous=900)), LIMITS_OF_TEST)
    assert found.message == "9.00% of the samples held back are anomalous to it, more than 2.00%"


def test_a_rule_that_only_all_watches_together_break_blames_none() -> None:
    few = side(episodes=4, promised=1.3)
    found = judge(report_of(**{f"w-{n}": few for n in range(8)}), LIMITS_OF_TEST)
    assert found.reason == "AlarmBudgetExceeded"
    assert found.message == "it raised 64 alarms where 20.8 were promised"


def test_the_watch_of_what_a_first_version_lacks_is_named() -> None:
    row = report_of(good=side(), deaf=side(injected=recall_of(10)))
    found = judge(row, LIMITS_OF_TEST, is_first=True)
    assert found.verdict is Verdict.SUCCESSFUL
    assert "(watch deaf), and nothing better serves" in found.message


@pytest.mark.parametrize(
    ("row", "verdict", "words"),
    [
        (None, Verdict.INCONCLUSIVE, "nothing was measured"),
        ({"trained": 3}, Verdict.INCONCLUSIVE, "nothing was measured"),
        ({"gate": {"inconclusive": "a short history"}}, Verdict.INCONCLUSIVE, "a short history"),
        ({"gate": {"watches": []}}, Verdict.INCONCLUSIVE, "nothing was measured"),
        ({"gate": {"error": "disk full"}}, Verdict.ERROR, "measuring failed: disk full"),
        ({"gate": {"watches": "many"}}, Verdict.ERROR, "cannot be read"),
    ],
)
def test_what_could_not_be_measured_is_no_failure(
    row: dict[str, Any] | None, verdict: Verdict, words: str
) -> None:
    found = judge(row, LIMITS_OF_TEST)
    assert found.verdict is verdict
    assert words in found.message


def test_a_gate_that_is_off_lets_everything_pass() -> None:
    off = LIMITS_OF_TEST.model_copy(update={"enabled": False})
    for row in (None, {"gate": {"error": "x"}}, report(side(anomalous=9000), side())):
        assert judge(row, off).verdict is Verdict.SUCCESSFUL


@pytest.mark.parametrize(
    ("count", "promised", "chance"),
    # 1 - sum of exp(-m) m^k / k! up to count - 1.
    [(0, 1.0, 1.0), (3, 1.0, 0.0803), (9, 3.0, 0.0038), (30, 3.0, 0.0), (1, 0.0, 0.0)],
)
def test_the_chance_of_alarms_is_that_of_poisson(
    count: int, promised: float, chance: float
) -> None:
    assert chance_of(count, promised=promised) == pytest.approx(chance, abs=5e-5)


def test_the_chance_of_very_many_alarms_is_found_at_once() -> None:
    assert chance_of(10**7, promised=10.0) == 0.0
    assert 0 < chance_of(1100, promised=1000.0) < 0.01


def test_the_numbers_of_both_sides_are_shown() -> None:
    row = report(side(), side(anomalous=100), log_error_ratio=0.0, error_series=5)
    measured = read_measurement(row).measured
    shown = numbers(measured)
    assert (shown["anomalyRate"], shown["servingAnomalyRate"]) == (0.005, 0.01)
    assert (shown["episodes"], shown["promisedEpisodes"]) == (4.0, 3.0)
    assert (shown["recall"], shown["recall.spike"]) == (0.85, 0.9)
    assert shown["errorRatio"] == 1.0
    assert "anomaly rate 0.50% (serving version 1.00%)" in describe(measured)


@pytest.mark.parametrize("row", [None, {"gate": {"inconclusive": "x"}}, {"gate": {"watches": 1}}])
def test_without_a_measurement_no_numbers_are_shown(row: dict[str, Any] | None) -> None:
    assert numbers(read_measurement(row).measured) == {}
