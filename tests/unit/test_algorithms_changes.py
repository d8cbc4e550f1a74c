"""Jumps and steps, told without learning."""

import numpy as np
import pytest

from metricwatch.algorithms.changes import BLOCK, Jumps, Steps
from metricwatch.algorithms.window_sums import WindowSums

STEP = 60
NAN = float("nan")


def times(count: int, *, first: int = 0) -> np.ndarray:
    return STEP * np.arange(first, first + count)


def test_a_jump_is_the_difference_to_the_latest_sample_there_was() -> None:
    jump, before = Jumps(1).run(np.array([[1.0, 4.0, NAN, NAN, 2.0]]))
    np.testing.assert_array_equal(jump, [[NAN, 3.0, NAN, NAN, -2.0]])
    np.testing.assert_array_equal(before, [[NAN, 1.0, 4.0, 4.0, 4.0]])


def test_jumps_of_ticks_are_those_of_a_run_wherever_it_is_cut() -> None:
    values = np.random.default_rng(0).standard_normal((3, 40))
    values[:, 5:9] = NAN
    values[0, 0] = NAN
    whole = Jumps(3).run(values)[0]
    pieces, ticks = Jumps(3), Jumps(3)
    cut = [pieces.run(values[:, part])[0] for part in (slice(0, 7), slice(7, 40))]
    np.testing.assert_array_equal(np.concatenate(cut, axis=1), whole)
    each = [ticks.step(column) for column in values.T]
    np.testing.assert_array_equal(np.stack(each, axis=1), whole)


def test_a_step_shows_within_a_block_and_is_the_level_after_half_a_dozen() -> None:
    values = np.zeros((1, 30 * BLOCK))
    start = 15 * BLOCK
    values[:, start:] = 5.0
    change = Steps(1, step=STEP).run(times(values.shape[1]), values)[0]
    assert np.abs(change[BLOCK:start]).max() == pytest.approx(0)
    assert change[start + BLOCK // 2 - 1] == pytest.approx(2.5)
    assert change[start + BLOCK - 1 : start + 5 * BLOCK] == pytest.approx(5.0)
    assert change[start + 8 * BLOCK :] == pytest.approx(0)


def test_a_spike_moves_a_step_by_its_share_of_a_block() -> None:
    values = np.zeros((1, 20 * BLOCK))
    values[0, 15 * BLOCK] = 12.0
    change = Steps(1, step=STEP).run(times(values.shape[1]), values)[0]
    assert np.nanmax(change) == pytest.approx(1.0)
    assert change[16 * BLOCK :] == pytest.approx(0)


@pytest.mark.parametrize("first", [0, 5, 11])
def test_steps_are_the_same_wherever_a_run_begins_or_is_cut(first: int) -> None:
    values = np.random.default_rng(0).standard_normal((2, 400)).cumsum(axis=1)
    values[0, 30:70] = NAN
    at = times(400, first=first)
    whole = Steps(2, step=STEP).run(at, values)
    pieces, ticks = Steps(2, step=STEP), Steps(2, step=STEP)
    cut = [pieces.run(at[part], values[:, part]) for part in (slice(0, 131), slice(131, 400))]
    np.testing.assert_array_equal(np.concatenate(cut, axis=1), whole)
    each = [ticks.run(at[[tick]], values[:, [tick]]) for tick in range(400)]
    np.testing.assert_array_equal(np.concatenate(each, axis=1), whole)


def test_steps_are_unknown_before_a_block_is_full_and_while_half_of_it_is_missing() -> None:
    values = np.zeros((1, 6 * BLOCK))
    values[:, 4 * BLOCK :] = NAN
    change = Steps(1, step=STEP).run(times(values.shape[1]), values)[0]
    assert np.isnan(change[:BLOCK]).all()
    assert np.isfinite(change[BLOCK : 4 * BLOCK + BLOCK // 2]).all()
    assert np.isnan(change[4 * BLOCK + BLOCK // 2 :]).all()


def test_after_a_long_gap_nothing_is_known_of_the_level() -> None:
    values = np.zeros((1, 2 * BLOCK))
    steps = Steps(1, step=STEP)
    steps.run(times(2 * BLOCK), values)
    later = steps.run(times(1, first=100 * BLOCK), values[:, :1])
    # The last block before the gap is still the oldest of a dozen.
    assert later[0, 0] == pytest.approx(0)
    again = steps.run(times(1, first=200 * BLOCK), 0 * values[:, :1] + 9)
    assert np.isfinite(again).all()


# --- sums over windows


def test_a_sum_is_divided_by_the_root_of_its_width() -> None:
    sums = WindowSums(1, (4, 9)).run(np.ones((1, 20)))
    np.testing.assert_allclose(sums[:, 0, -1], [2.0, 3.0])
    np.testing.assert_allclose(sums[:, 0, 0], [0.5, 1 / 3])


def test_sums_of_independent_values_stay_in_their_unit() -> None:
    noise = np.random.default_rng(0).standard_normal((50, 400))
    sums = WindowSums(50, (12, 48)).run(noise)[..., 100:]
    np.testing.assert_allclose(sums.std(axis=(1, 2)), 1.0, rtol=0.1)


def test_sums_of_ticks_are_those_of_a_run_wherever_it_is_cut() -> None:
    values = np.random.default_rng(0).standard_normal((2, 120))
    values[:, 50:55] = NAN
    whole = WindowSums(2, (5, 12)).run(values)
    pieces, ticks = WindowSums(2, (5, 12)), WindowSums(2, (5, 12))
    cut = [pieces.run(values[:, part]) for part in (slice(0, 31), slice(31, 31), slice(31, 120))]
    np.testing.assert_allclose(np.concatenate(cut, axis=2), whole, atol=1e-6)
    each = [ticks.step(column) for column in values.T]
    np.testing.assert_allclose(np.stack(each, axis=2), whole, atol=1e-6)
    mixed = WindowSums(2, (5, 12))
    mixed.run(values[:, :40])
    np.testing.assert_allclose(mixed.step(values[:, 40]), whole[..., 40], atol=1e-6)


def test_what_has_left_a_window_leaves_nothing_behind() -> None:
    sums = WindowSums(1, (4,))
    sums.step(np.array([1e12]))
    for _ in range(12):
        latest = sums.step(np.array([1.0]))
    assert latest[0, 0] == 2.0


def test_series_that_join_have_empty_windows() -> None:
    sums = WindowSums(1, (4,))
    for _ in range(6):
        sums.step(np.ones(1))
    sums.grow(1)
    np.testing.assert_allclose(sums.step(np.ones(2))[0], [2.0, 0.5])
