"""Whatever happens to versions, processes and commits, each tick is decided exactly once."""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from metricwatch.anomalies import Action, Anomaly, Lifecycle, Policy, Verdicts, advance
from metricwatch_detector.ledger import Ledger

INTERVAL = 60
Scores = list[list[float]]  # [tick][series]
# How long an example takes says more about the machine than about the code.
PATIENT = settings(deadline=None)
levels = st.sampled_from([0.0, 0.5, 0.8, 1.0, 1.5, 3.0])
events = st.sampled_from(
    ["flush", "flush", "switch", "lose the answer", "fail", "restart", "wait"]
)


def tick(number: int, scores: list[float]) -> Verdicts:
    score = np.array(scores)
    ones = np.ones(len(score))
    return Verdicts(
        time=number * INTERVAL,
        value=10 * score,
        expected=ones,
        lower=-ones,
        upper=3 * ones,
        rarity=4 * score,
        score=score,
        typical=ones,
        severity=score,
        side=np.ones(len(score), np.int8),
        long=np.zeros(len(score), np.bool_),
    )


@dataclass(slots=True)
class Table:
    """What the database remembers."""

    decided_until: int = 0
    rows: dict[tuple[int, int], Anomaly] = field(default_factory=dict)

    def open(self) -> dict[int, Anomaly]:
        return {series: row for (series, _), row in self.rows.items() if row.ended_at is None}


@dataclass(slots=True)
class Process:
    """One running version, with the steps that a recorder makes around its ledger."""

    policy: Policy
    ledger: Ledger = field(default_factory=Ledger)
    settled_until: int | None = None

    def flush(self, table: Table, how: str) -> None:
        if self.settled_until != table.decided_until:
            self.ledger.settle(self.policy, table.decided_until)
            self.ledger.adopt(self.policy, table.open())
        decision = self.ledger.decide(self.policy, late_before=0)
        if decision is None or how == "fail":
            self.settled_until = None
            return
        for change in decision.changes:
            table.rows[change.series, change.anomaly.started_at] = change.anomaly
        table.decided_until = decision.until
        if how != "lose the answer":
            self.ledger.commit(decision)
            self.settled_until = decision.until


def in_one_pass(policy: Policy, history: Scores) -> dict[tuple[int, int], Anomaly]:
    life = Lifecycle.of(len(history[0]))
    rows = {}
    for number, scores in enumerate(history, start=1):
        for change in advance(policy, life, tick(number, scores)):
            rows[change.series, change.anomaly.started_at] = change.anomaly
    return rows


def restarted(policy: Policy, table: Table, history: Scores, now: int) -> Process:
    """A new process, which scores the ticks it needs to know and those not decided yet."""
    process = Process(policy)
    first = max(table.decided_until // INTERVAL - policy.memory + 1, 1)
    for number in range(first, now + 1):
        process.ledger.add(policy, tick(number, history[number - 1]))
    return process


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    of = draw(st.integers(1, 4))
    return Policy(
        interval=INTERVAL,
        threshold=4.0,
        anomalous=draw(st.integers(1, of)),
        of=of,
        min_duration=draw(st.sampled_from([0, 60, 150])),
        cooldown=draw(st.sampled_from([0, 60, 240])),
    )


@st.composite
def histories(draw: st.DrawFn) -> Scores:
    series = draw(st.integers(1, 3))
    row = st.lists(levels, min_size=series, max_size=series)
    return draw(st.lists(row, min_size=1, max_size=40))


@PATIENT
@given(policies(), histories(), st.data())
def test_every_tick_is_decided_once_whatever_happens(
    policy: Policy, history: Scores, data: st.DataObject
) -> None:
    table = Table()
    serving, other = Process(policy), Process(policy)
    for number, scores in enumerate(history, start=1):
        serving.ledger.add(policy, tick(number, scores))
        other.ledger.add(policy, tick(number, scores))
        event = data.draw(events)
        if event == "switch":
            serving, other = other, serving
        elif event == "restart":
            serving = restarted(policy, table, history, number)
        elif event != "wait":
            serving.flush(table, event)
        other.ledger.settle(policy, table.decided_until)
        other.settled_until = None
    serving.flush(table, "flush")
    assert table.rows == in_one_pass(policy, history)


@PATIENT
@given(policies(), histories())
def test_the_head_sees_what_is_open_before_anything_is_decided(
    policy: Policy, history: Scores
) -> None:
    ledger = Ledger()
    for number, scores in enumerate(history, start=1):
        ledger.add(policy, tick(number, scores))
    decision = ledger.decide(policy, late_before=0)
    assert decision is not None
    assert ledger.head.open.tolist() == decision.lifecycle.open.tolist()


@PATIENT
@given(histories(), st.integers(1, 30))
def test_what_waits_is_bounded_and_the_oldest_make_room(history: Scores, most: int) -> None:
    policy = Policy(interval=INTERVAL, threshold=4.0)
    ledger, lost = Ledger(), 0
    for number, scores in enumerate(history, start=1):
        lost += ledger.add(policy, tick(number, scores), most=most)
        assert ledger.waiting <= most
    assert ledger.waiting + lost == len(history)
    decision = ledger.decide(policy, late_before=INTERVAL * len(history))
    assert decision is not None
    assert decision.until == INTERVAL * len(history)
    assert all(change.late for change in decision.changes if change.time < decision.until)


def test_what_is_late_says_so() -> None:
    policy = Policy(interval=INTERVAL, threshold=4.0)
    ledger = Ledger()
    for number in (1, 2, 3):
        ledger.add(policy, tick(number, [3.0]))
    decision = ledger.decide(policy, late_before=3 * INTERVAL)
    assert decision is not None
    assert [change.late for change in decision.changes] == [True, False]
    assert decision.changes[0].action is Action.OPENED


@PATIENT
@given(policies(), histories())
def test_of_many_updates_the_last_counts_and_every_turn(policy: Policy, history: Scores) -> None:
    ledger, life = Ledger(), Lifecycle.of(len(history[0]))
    told = []
    for number, scores in enumerate(history, start=1):
        ledger.add(policy, tick(number, scores))
        told += advance(policy, life, tick(number, scores))
    decision = ledger.decide(policy, late_before=0)
    assert decision is not None
    latest = {(one.series, one.anomaly.started_at): one for one in told}
    turns = [one for one in told if one.action is not Action.UPDATED]
    updates = {key: one for key, one in latest.items() if one.action is Action.UPDATED}
    assert [one for one in decision.changes if one.action is not Action.UPDATED] == turns
    kept = [one for one in decision.changes if one.action is Action.UPDATED]
    assert set(updates.values()) <= set(kept)
    assert len(kept) == len({(one.series, one.anomaly.started_at) for one in kept})
    assert [one.time for one in decision.changes] == sorted(one.time for one in decision.changes)
