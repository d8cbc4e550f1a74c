"""Copies of series in one walk: each as if it had been walked alone."""

from dataclasses import replace

import numpy as np
import pytest
from tests.unit.test_trainer_gate_measuring import (
    GRID,
    HEAD,
    POLICY,
    SHOP,
    learn,
    panel_of,
    pod,
    rhythm,
)

from metricwatch.artifact import ModelChunk, pack, unpack
from metricwatch_trainer.gate.copies import copies_of, copy_of, side_by_side
from metricwatch_trainer.gate.walks import Walked, walk_tail

CHOSEN = {pod(0), pod(2)}
SHIFTED = rhythm()
SHIFTED[:, HEAD + 60 : HEAD + 90] += 400.0


def walked(chunks: tuple[ModelChunk, ...], *values: np.ndarray) -> Walked:
    panel = side_by_side([panel_of(one) for one in values])
    return walk_tail(chunks, panel, HEAD, POLICY, should_stop=lambda: False)


@pytest.mark.parametrize("family", ["seasonal", "zscore", "kmeans", "ensemble"])
def test_a_copy_is_walked_as_the_series_alone(family: str) -> None:
    (content,) = learn(rhythm(), family)
    together = walked(copies_of([unpack(content)], CHOSEN, copies=2), rhythm(), SHIFTED)
    assert together.judged == (pod(0), pod(2), copy_of(pod(0), 1), copy_of(pod(2), 1))
    for number, values in enumerate((rhythm(), SHIFTED)):
        alone = walked(copies_of([unpack(content)], CHOSEN), values)
        own = slice(2 * number, 2 * number + 2)
        np.testing.assert_array_equal(together.alarm[own], alone.alarm)
        np.testing.assert_array_equal(together.episodes[own], alone.episodes)
        np.testing.assert_array_equal(together.samples[own], alone.samples)
        np.testing.assert_allclose(together.residual[own], alone.residual, rtol=1e-5, atol=1e-5)
    assert together.alarm[2:].any(axis=1).all()


def test_copies_of_systems_are_walked_as_the_systems_alone() -> None:
    (content,) = learn(rhythm(), systems=SHOP)
    together = walked(copies_of([unpack(content)], CHOSEN, copies=2), rhythm(), SHIFTED)
    assert together.judged == (*SHOP.labels, *(copy_of(one, 1) for one in SHOP.labels))
    for number, values in enumerate((rhythm(), SHIFTED)):
        alone = walked(copies_of([unpack(content)], CHOSEN), values)
        np.testing.assert_array_equal(together.alarm[2 * number : 2 * number + 2], alone.alarm)


def test_a_walk_of_copies_teaches_the_original_nothing() -> None:
    for content in (*learn(rhythm(), "zscore"), *learn(rhythm(), systems=SHOP)):
        original = unpack(content)
        walked(copies_of([original], CHOSEN, copies=2), rhythm(), SHIFTED)
        assert pack(original) == content


def test_no_copy_has_the_labels_of_another_series() -> None:
    labels = [pod(0), copy_of(pod(0), 1), copy_of(pod(0), 2), copy_of(pod(1), 1)]
    assert copy_of(pod(0), 0) == pod(0)
    assert len(set(labels)) == 4
    assert all(list(one) == sorted(one) for one in labels)


def test_series_nobody_chose_are_not_copied() -> None:
    (content,) = learn(rhythm())
    assert copies_of([unpack(content)], {pod(9)}, copies=3) == ()
    one = panel_of(rhythm())
    assert side_by_side([one]) is one
    both = side_by_side([one, replace(one, values=SHIFTED)])
    assert both.grid == GRID
    assert len(both.labels) == len(set(both.labels)) == 8
    np.testing.assert_array_equal(both.values[4:], SHIFTED)
