"""Chains of rules: the first one that is broken speaks."""

from metricwatch_operator.planning.policies import Chain, Rule, Violation, evaluate


def _above(limit: int, reason: str) -> Rule[int]:
    def rule(value: int) -> Violation | None:
        return Violation(reason, f"{value} is above {limit}") if value > limit else None

    return rule


CHAIN: Chain[int] = (_above(10, "Huge"), _above(5, "Big"))


def test_nothing_is_said_when_every_rule_holds() -> None:
    assert evaluate(CHAIN, 5) is None


def test_the_first_broken_rule_speaks_and_not_those_after_it() -> None:
    assert evaluate(CHAIN, 11) == Violation("Huge", "11 is above 10")
    assert evaluate(CHAIN, 6) == Violation("Big", "6 is above 5")


def test_rules_after_a_broken_one_are_not_asked() -> None:
    asked: list[int] = []

    def watcher(value: int) -> Violation | None:
        asked.append(value)
        return None

    assert evaluate((_above(0, "Positive"), watcher), 1) is not None
    assert asked == []
