"""Channels to blame: ranked, kept as they were at the peak, named in the explanation."""

from dataclasses import replace

import numpy as np
import pytest

from metricwatch.anomalies import (
    Action,
    Anomaly,
    Blame,
    Change,
    Component,
    Lifecycle,
    Policy,
    State,
    Verdicts,
    advance,
    explain,
    judge,
    with_systems,
)
from metricwatch.series import Labels

NAN = float("nan")
POLICY = Policy(interval=60, threshold=4.0, cooldown=120)
A, B, C = ((("__name__", name), ("host", "x")) for name in ("cpu", "disk", "net"))
SYSTEM = 3


def blame(*weights: float, deviation: tuple[float, ...] = (9.0, -5.0, 2.5)) -> Blame:
    return Blame(
        labels=(A, B, C),
        system=np.full(3, SYSTEM),
        weight=np.array(weights),
        deviation=np.array(deviation),
    )


def verdicts(
    tick: int,
    rarity: float,
    weights: tuple[float, ...] = (3.0, 2.0, 1.0),
    *,
    values: tuple[float, ...] = (1.0, 1.0, 1.0),
    policy: Policy = POLICY,
) -> Verdicts:
    """One tick of three channels and their system, as a scorer says it."""
    nothing = np.full(4, NAN)
    judged = judge(
        policy,
        time=tick * 60,
        value=np.array([*values, NAN]),
        expected=np.array([1.0, 1.0, 1.0, NAN]),
        rarity=np.array([NAN, NAN, NAN, rarity]),
        reach=nothing,
        typical=nothing,
        severity=np.zeros(4),
        side=np.zeros(4, np.int8),
        long=np.zeros(4, np.bool_),
    )
    return with_systems(policy, judged, slots=np.array([SYSTEM]), blame=blame(*weights))


def play(policy: Policy, *ticks: Verdicts) -> list[Change]:
    life = Lifecycle()
    return [change for tick in ticks for change in advance(policy, life, tick)]


def test_channels_come_in_the_order_of_their_weight() -> None:
    ranked = blame(1.0, 3.0, 2.0).ranked(SYSTEM)
    assert [one.labels for one in ranked] == [B, C, A]
    assert [one.deviation for one in ranked] == [-5.0, 2.5, 9.0]


def test_equal_weights_keep_the_order_of_the_channels() -> None:
    assert [one.labels for one in blame(1.0, 1.0, 1.0).ranked(SYSTEM)] == [A, B, C]


def test_no_more_are_ranked_than_asked_for() -> None:
    assert blame(1.0, 3.0, 2.0).ranked(SYSTEM, most=1) == (Component(B, -5.0),)


def test_a_channel_without_a_sample_is_not_to_blame() -> None:
    ranked = blame(3.0, 2.0, 1.0, deviation=(NAN, 1.0, 1.0)).ranked(SYSTEM)
    assert [one.labels for one in ranked] == [B, C]


def test_a_slot_of_no_system_has_no_channels() -> None:
    assert blame(3.0, 2.0, 1.0).ranked(0) == ()


def test_the_value_of_a_system_is_its_rarity_and_its_band_ends_where_it_alerts() -> None:
    said = verdicts(1, 6.0)
    shown = (said.value, said.expected, said.lower, said.upper, said.score)
    assert [column[SYSTEM] for column in shown] == [6.0, 0.0, 0.0, 4.0, 1.5]


def test_a_channel_has_nothing_to_judge() -> None:
    assert np.isnan(verdicts(1, 6.0).score[:SYSTEM]).all()


def test_a_system_without_any_sample_shows_nothing() -> None:
    said = verdicts(1, NAN)
    shown = (said.value, said.expected, said.lower, said.upper, said.score)
    assert all(np.isnan(column[SYSTEM]) for column in shown)


def test_the_least_deviation_is_for_samples_and_not_for_systems() -> None:
    policy = replace(POLICY, least_absolute=100.0, least_relative=0.5)
    assert verdicts(1, 6.0, policy=policy).score[SYSTEM] == 1.5


def test_an_anomaly_opens_on_the_system_alone() -> None:
    (change,) = play(POLICY, verdicts(1, 6.0, values=(99.0, 1.0, 1.0)))
    assert (change.action, change.series) == (Action.OPENED, SYSTEM)


def test_components_are_those_of_the_peak() -> None:
    changes = play(
        POLICY,
        verdicts(1, 5.0, (1.0, 2.0, 3.0)),
        verdicts(2, 8.0, (2.0, 3.0, 1.0)),
        verdicts(3, 6.0, (3.0, 2.0, 1.0)),
    )
    assert [change.anomaly.components[0].labels for change in changes] == [C, B, B]


def test_the_next_anomaly_has_components_of_its_own() -> None:
    calm = [verdicts(tick, 0.0) for tick in (2, 3, 4)]
    changes = play(
        POLICY, verdicts(1, 9.0, (1.0, 2.0, 3.0)), *calm, verdicts(5, 5.0, (3.0, 2.0, 1.0))
    )
    assert [change.action for change in changes] == [Action.OPENED, Action.CLOSED, Action.OPENED]
    assert changes[-1].anomaly.components[0].labels == A


def test_another_process_continues_with_the_components_that_were_written() -> None:
    (opened,) = play(POLICY, verdicts(1, 9.0))
    life = Lifecycle.of(4)
    life.adopt({SYSTEM: opened.anomaly})
    (updated,) = advance(POLICY, life, verdicts(2, 5.0, (1.0, 2.0, 3.0)))
    assert updated.anomaly.components == opened.anomaly.components


def test_a_peak_that_another_model_saw_has_no_components() -> None:
    (opened,) = play(POLICY, verdicts(1, 5.0))
    life = Lifecycle.of(4)
    life.adopt({SYSTEM: opened.anomaly})
    (updated,) = advance(POLICY, life, replace(verdicts(2, 9.0), blame=None))
    assert updated.anomaly.components == ()


def test_a_copy_and_a_selection_keep_components() -> None:
    life = Lifecycle()
    advance(POLICY, life, verdicts(1, 9.0))
    copy, taken = life.copy(), life.take(np.array([SYSTEM, 0]))
    assert taken.components == {0: life.components[SYSTEM]}
    advance(POLICY, life, verdicts(2, 10.0, (1.0, 2.0, 3.0)))
    assert copy.components[SYSTEM][0].labels == A


def test_a_missing_channel_is_an_anomaly_until_it_is_back() -> None:
    policy = replace(POLICY, missing_is_anomaly=True, missing_after=60, cooldown=0)
    gone = (NAN, 1.0, 1.0)
    changes = play(
        policy,
        verdicts(1, 0.0),
        *(verdicts(tick, 0.0, values=gone) for tick in (2, 3)),
        verdicts(4, 0.0),
    )
    assert [(change.action, change.series) for change in changes] == [
        (Action.OPENED, 0),
        (Action.CLOSED, 0),
    ]
    assert changes[-1].anomaly.state is State.RESOLVED


def anomaly_of(*components: Component) -> Anomaly:
    (change,) = play(POLICY, verdicts(1, 6.0))
    return replace(change.anomaly, components=components)


def test_an_explanation_lists_the_components_and_names_the_first_three() -> None:
    four = [Component((("host", "x"), ("metric", f"m{at}")), 9.5 - at) for at in range(4)]
    said = explain(anomaly_of(*four), POLICY, family="system")
    assert said["components"] == [
        {"labels": {"host": "x", "metric": f"m{at}"}, "deviation": 9.5 - at} for at in range(4)
    ]
    assert said["summary"] == (
        "the series together are as odd as once in 10^6.0 samples, 10^4.0 alerts; most to blame: "
        '{metric="m0"} (+9.5 typical deviations), {metric="m1"} (+8.5 typical deviations), '
        '{metric="m2"} (+7.5 typical deviations) and 1 more'
    )


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        ((A, B), "cpu (+1.0 typical deviations), disk"),
        ((A,), 'cpu{host="x"} (+1.0 typical deviations)'),
    ],
)
def test_components_are_named_by_what_tells_them_apart(
    labels: tuple[Labels, ...], shown: str
) -> None:
    components = [Component(one, 1.0) for one in labels]
    summary = explain(anomaly_of(*components), POLICY, family="system")["summary"]
    assert f"to blame: {shown}" in str(summary)


def test_a_deviation_that_is_no_number_is_left_out() -> None:
    said = explain(anomaly_of(Component(A, NAN)), POLICY, family="system")
    assert said["components"] == [{"labels": dict(A), "deviation": None}]
    assert str(said["summary"]).endswith('to blame: cpu{host="x"}')


def test_an_anomaly_of_a_series_lists_no_components() -> None:
    assert "components" not in explain(anomaly_of(), POLICY, family="zscore")
