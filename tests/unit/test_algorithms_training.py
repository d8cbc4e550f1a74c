"""The hand-written backward pass against autograd, and the bookkeeping around it."""

import numpy as np
import pytest
import torch

from metricwatch.algorithms import lstm
from metricwatch.algorithms.autoregressive import fit_ridge
from metricwatch.algorithms.base import Progress
from metricwatch.algorithms.lstm_training import (
    _backward,
    _forward,
    _initial,
    _segments,
    _Tape,
    train_cells,
)
from metricwatch.resources.algorithm import LstmParameters
from metricwatch.series import Grid

STEPS, SERIES, BATCH, HIDDEN = 9, 3, 2, 5


def test_gradients_are_those_of_autograd() -> None:
    generator = torch.Generator().manual_seed(0)
    networks = _initial(SERIES, HIDDEN, generator)
    networks.head = torch.randn(SERIES, HIDDEN, generator=generator)
    networks.offset = torch.randn(SERIES, generator=generator)
    inputs, targets = (torch.randn(STEPS, SERIES, BATCH, generator=generator) for _ in range(2))
    tape = _Tape.blank(STEPS, SERIES, BATCH, HIDDEN)
    said = _forward(networks, tape, inputs)
    ours = _backward(networks, tape, 2 * (said - targets))

    weights, head, offset = (part.clone().requires_grad_() for part in networks.parts())
    loss = ((_reference(weights, head, offset, inputs) - targets) ** 2).sum()
    theirs = torch.autograd.grad(loss, (weights, head, offset))
    for gradient, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-5)


def _reference(
    weights: torch.Tensor, head: torch.Tensor, offset: torch.Tensor, inputs: torch.Tensor
) -> torch.Tensor:
    state = memory = torch.zeros(SERIES, BATCH, HIDDEN)
    said = []
    for entering in inputs:
        one = torch.ones(SERIES, BATCH, 1)
        gates = torch.bmm(torch.cat([state, entering[..., None], one], dim=-1), weights)
        admit, keep, show, candidate = gates.chunk(4, dim=-1)
        memory = keep.sigmoid() * memory + admit.sigmoid() * candidate.tanh()
        state = show.sigmoid() * memory.tanh()
        said.append((state * head[:, None]).sum(-1) + offset[:, None])
    return torch.stack(said)


@pytest.mark.parametrize(("ticks", "batch", "shift"), [(100, 4, 0), (103, 4, 7), (5, 16, 0)])
def test_segments_hold_every_sample_once_and_in_order(ticks: int, batch: int, shift: int) -> None:
    whole = torch.arange(1.0, ticks + 1).repeat(2, 1)
    cut = _segments(whole, batch, shift)
    in_order = cut.permute(1, 2, 0).reshape(2, -1)
    for row in in_order:
        assert row[row > 0].tolist() == whole[0].tolist()


def test_scoring_says_what_training_computed() -> None:
    generator = torch.Generator().manual_seed(3)
    networks = _initial(SERIES, HIDDEN, generator)
    networks.head = 0.1 * torch.randn(SERIES, HIDDEN, generator=generator)
    inputs = torch.randn(STEPS, SERIES, 1, generator=generator)
    tape = _Tape.blank(STEPS, SERIES, 1, HIDDEN)
    said = _forward(networks, tape, inputs)[-1, :, 0].numpy()

    cells = lstm.Cells(
        recurrent=networks.weights[:, :HIDDEN].numpy(),
        entry=networks.weights[:, HIDDEN].numpy(),
        bias=networks.weights[:, HIDDEN + 1].numpy(),
        head=networks.head.numpy(),
        offset=networks.offset.numpy(),
    )
    ridge = fit_ridge(np.zeros((SERIES, 100)), lags=2, ridge=1.0)
    bank = lstm.LstmBank(ridge, cells, reach=10)
    for entering in inputs[..., 0].numpy():
        bank._advance(entering)
    correction = np.vecdot(bank._hidden[:, 0], cells.head)
    np.testing.assert_allclose(correction, said, rtol=1e-4, atol=1e-6)


def test_training_goes_the_same_way_with_any_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    entering = rng.standard_normal((60, 200)).astype(np.float32)
    target = np.roll(entering, -1, axis=1) ** 2 - 1
    parameters = LstmParameters(hidden=4, epochs=2, segments=4, chunk_length=10)
    before = torch.get_num_threads()
    heads = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        heads.append(train_cells(entering, target, parameters, seed=5).head)
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    np.testing.assert_array_equal(heads[0], heads[1])


def test_training_ends_early_when_nothing_gets_better() -> None:
    told: list[Progress] = []
    values = np.random.default_rng(0).standard_normal((2, 600))
    parameters = LstmParameters(hidden=4, epochs=500, patience=3, learning_rate=0.05)
    lstm.fit(values, Grid(0, 60, 600), parameters, progress=told.append)
    assert told[-1].epoch is not None
    assert told[-1].epoch < 500
    assert told[-1].series == 2


def test_progress_counts_the_series_of_every_shard() -> None:
    told: list[Progress] = []
    rng = np.random.default_rng(0)
    parameters = LstmParameters(hidden=2, epochs=2, segments=2, chunk_length=10, ridge_lags=2)
    lstm.fit(rng.standard_normal((60, 120)), Grid(0, 60, 120), parameters, progress=told.append)
    assert max(one.series for one in told) == 60
    left = told[-1].seconds_left
    assert left is not None
    assert left >= 0
