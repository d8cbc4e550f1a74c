"""What a set of parameters is worth, on history alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from metricwatch.algorithms import Prediction
from metricwatch.algorithms.autoregressive import AUTOREGRESSIVE
from metricwatch.injection import Injected, Kind
from metricwatch.resources import AutoregressiveParameters
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid, Panel
from metricwatch_trainer.preparation import Group
from metricwatch_trainer.tuning_objective import Objective, TooLittle, recall, skill

TICKS = 960


def make_group(series: int = 4, ticks: int = TICKS, *, seed: int = 0) -> Group:
    """A rhythm of eight samples that two lags cannot know and eight can, and a little noise."""
    rng = np.random.default_rng(seed)
    shape = np.array([0.0, 3.0, 1.0, 7.0, 2.0, 9.0, 4.0, 5.0])
    values = shape[np.arange(ticks) % 8] + rng.normal(scale=0.3, size=(series, ticks))
    labels = tuple((("pod", str(row)),) for row in range(series))
    panel = Panel(grid=Grid(start=0, step=60, count=ticks), labels=labels, values=values)
    return Group(panel=panel, head=ticks * 4 // 5)


def make_objective(*groups: Group) -> Objective:
    return Objective.of(groups, family=AUTOREGRESSIVE, scaling=Scaling.ROBUST, seed=3)


def last_step(objective: Objective, lags: int) -> float:
    parameters = AutoregressiveParameters(lags=lags)
    return list(objective.steps(parameters, should_stop=lambda: False))[-1]


def test_parameters_that_know_the_rhythm_are_worth_more() -> None:
    objective = make_objective(make_group())
    assert last_step(objective, 16) > last_step(objective, 1) + 0.05
    few, many = (
        objective.confirm(AutoregressiveParameters(lags=lags), should_stop=lambda: False)
        for lags in (1, 16)
    )
    assert many > few


def test_the_same_parameters_are_worth_the_same() -> None:
    assert last_step(make_objective(make_group()), 8) == last_step(make_objective(make_group()), 8)


def test_what_confirms_takes_no_part_in_the_search() -> None:
    objective = make_objective(make_group())
    seen = max(part.grid.end for part in objective.searching)
    confirming = objective.confirming
    assert seen < confirming.grid.start + confirming.head * confirming.grid.step


def test_what_confirms_is_asked_for_many_different_anomalies() -> None:
    rounds = make_objective(make_group()).confirming.injections
    assert len({one.events for one in rounds}) == len(rounds) == 4


def test_a_part_is_judged_on_what_came_after_its_fit() -> None:
    for part in make_objective(make_group()).searching:
        assert 0 < part.head < part.grid.count
        (injection,) = part.injections
        assert injection.values.shape[1] == part.grid.count - part.head
        assert injection.events


def test_many_series_are_judged_by_some_of_them() -> None:
    objective = make_objective(make_group(series=60, ticks=480))
    assert len(objective.confirming.values) == 24
    sizes = [len(part.values) for part in objective.searching]
    assert sizes == [8] * 6


def test_the_largest_group_speaks_for_a_watch() -> None:
    objective = make_objective(make_group(series=1), make_group(series=5))
    assert len(objective.confirming.values) == 5


def test_a_history_without_room_for_an_anomaly_is_too_short() -> None:
    with pytest.raises(TooLittle, match="200 samples are too few to judge parameters on: 320"):
        make_objective(make_group(ticks=200))
    make_objective(make_group(ticks=321))


def test_labels_reach_the_family_for_the_part_it_is_fitted_on() -> None:
    seen = []

    def fit(values, grid, parameters=None, *, labels=None, **more):  # type: ignore[no-untyped-def]
        seen.append((values.shape, labels.shape))
        return AUTOREGRESSIVE.fit(values, grid, parameters, **more)

    group = make_group()
    marked = replace(group, labels=np.ones(group.panel.values.shape, np.bool_))
    objective = Objective.of(
        [marked], family=replace(AUTOREGRESSIVE, fit=fit), scaling=Scaling.ROBUST, seed=0
    )
    objective.confirm(None, should_stop=lambda: False)
    assert seen == [((4, 768), (4, 768))]


def test_parts_without_a_label_before_them_judge_no_family_that_needs_one() -> None:
    group = make_group(series=30)
    flags = np.zeros(group.panel.values.shape, np.bool_)
    flags[[3, 29], 100:110] = True
    flags[7, 550:560] = True
    objective = make_objective(replace(group, labels=flags))
    assert len(objective.confirming.values) == 24
    confirming = objective.confirming.labels
    assert confirming is not None
    assert confirming.any(axis=1).sum() == 3
    for part in objective.searching:
        assert part.labels is not None
        assert part.labels[:, : part.head].any()
    assert len(objective.searching) < 6


def test_labels_that_come_too_late_to_judge_anything_are_said_so() -> None:
    group = make_group()
    flags = np.zeros(group.panel.values.shape, np.bool_)
    flags[0, -10:] = True
    with pytest.raises(TooLittle, match="too few recorded anomalies to judge parameters on"):
        make_objective(replace(group, labels=flags))


def make_event(series: int, start: int, end: int) -> Injected:
    return Injected(Kind.SPIKE, series, start, end, 1.0)


def test_found_is_what_stands_out_from_all_undisturbed_samples() -> None:
    clean = np.ones((1, 2, 100))
    clean[0, :, 50] = 3.0
    disturbed = clean.copy()
    disturbed[0, 0, 10:12] = 4.0
    disturbed[0, 1, 10:12] = 2.5
    events = [make_event(0, 10, 12), make_event(1, 10, 12)]
    assert recall(clean, disturbed, events, spare=0) == 0.5
    # A budget of one false alarm lets the undisturbed sample at 50 pass.
    assert recall(clean, disturbed, events, spare=1) == 1.0


def test_streams_of_any_unit_count_alike_and_so_do_both_signs() -> None:
    rng = np.random.default_rng(0)
    clean = rng.normal(size=(2, 1, 200)) * np.array([1.0, 1e9])[:, None, None]
    disturbed = clean.copy()
    disturbed[0, 0, 20] = -50.0
    disturbed[1, 0, 80] = 5e10
    assert recall(clean, disturbed, [make_event(0, 20, 21), make_event(0, 80, 81)], spare=0) == 1.0


def test_evidence_that_is_missing_or_never_moves_finds_nothing() -> None:
    event = [make_event(0, 1, 3)]
    assert recall(np.full((1, 1, 9), np.nan), np.full((1, 1, 9), np.nan), event, spare=0) == 0.0
    assert recall(np.zeros((1, 1, 9)), np.ones((1, 1, 9)), event, spare=0) == 0.0
    assert recall(np.zeros((1, 1, 9)), np.ones((1, 1, 9)), [], spare=0) == 0.0


def test_skill_is_the_share_of_the_naive_error_that_is_saved() -> None:
    values = np.array([[0.0, 2.0, 0.0, 2.0, 0.0]])
    half = np.full((1, 4), 1.0)
    assert skill(Prediction.forecast(half, half), values) == pytest.approx(0.5)
    perfect = np.zeros((1, 4))
    assert skill(Prediction.forecast(perfect, perfect), values) == 1.0
    assert skill(Prediction.forecast(half, 99 * half), values) == -1.0
    assert skill(Prediction.forecast(half, half), np.zeros((1, 5))) == 0.0
