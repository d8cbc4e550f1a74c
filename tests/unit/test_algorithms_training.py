"""The hand-written backward pass against autograd, and the bookkeeping around it."""

import numpy as np
import pytest
import torch

from metricwatch.algorithms import lstm, network_training
from metricwatch.algorithms.base import FitStopped, Progress
from metricwatch.algorithms.lstm_cells import Cells, Recurrence
from metricwatch.algorithms.lstm_training import LstmNetworks, train_cells
from metricwatch.algorithms.network_training import _segments, choose_device
from metricwatch.resources.algorithm import LstmParameters
from metricwatch.series import Grid

STEPS, SERIES, BATCH, HIDDEN = 9, 3, 2, 5
CPU = torch.device("cpu")


def networks(generator: torch.Generator, batch: int = BATCH) -> LstmNetworks:
    made = LstmNetworks.random(SERIES, HIDDEN, batch, STEPS, generator, CPU)
    made.head = torch.randn(SERIES, HIDDEN, generator=generator)
    made.offset = torch.randn(SERIES, generator=generator)
    return made


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_gradients_are_those_of_autograd(dropout: float) -> None:
    generator = torch.Generator().manual_seed(0)
    made = networks(generator)
    inputs, targets = (torch.randn(STEPS, SERIES, BATCH, generator=generator) for _ in range(2))
    kept = (torch.rand(SERIES, BATCH, HIDDEN, generator=generator) >= dropout).float()
    ours = made.gradients(
        inputs, lambda said: 2 * (said - targets), None if dropout == 0 else kept
    )

    weights, head, offset = (part.clone().requires_grad_() for part in made.parts())
    said = _reference(weights, head, offset, inputs, kept)
    loss = ((said - targets) ** 2).sum()
    theirs = torch.autograd.grad(loss, (weights, head, offset))
    for gradient, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-5)


def _reference(
    weights: torch.Tensor,
    head: torch.Tensor,
    offset: torch.Tensor,
    inputs: torch.Tensor,
    kept: torch.Tensor,
) -> torch.Tensor:
    state = memory = torch.zeros(SERIES, BATCH, HIDDEN)
    said = []
    for entering in inputs:
        one = torch.ones(SERIES, BATCH, 1)
        gates = torch.bmm(torch.cat([state, entering[..., None], one], dim=-1), weights)
        admit, keep, show, candidate = gates.chunk(4, dim=-1)
        memory = keep.sigmoid() * memory + admit.sigmoid() * candidate.tanh()
        state = show.sigmoid() * memory.tanh()
        said.append((state * kept * head[:, None]).sum(-1) + offset[:, None])
    return torch.stack(said)


@pytest.mark.parametrize(("ticks", "batch", "shift"), [(100, 4, 0), (103, 4, 7), (5, 16, 0)])
def test_segments_hold_every_sample_once_and_in_order(ticks: int, batch: int, shift: int) -> None:
    whole = torch.arange(1.0, ticks + 1).repeat(2, 1)
    cut = _segments(whole, batch, shift)
    in_order = cut.permute(1, 2, 0).reshape(2, -1)
    for row in in_order:
        assert row[row > 0].tolist() == whole[0].tolist()


@pytest.mark.parametrize("shared", [False, True])
def test_scoring_says_what_training_computed_but_for_rounded_weights(shared: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    made = networks(generator, batch=1)
    if shared:
        made.weights[:, :HIDDEN] = made.weights[0, :HIDDEN]
    inputs = torch.randn(STEPS, SERIES, 1, generator=generator)
    said = made.say(inputs)[..., 0].T.numpy()

    cells = Cells.of_weights(*(part.numpy() for part in made.parts()), shared=shared)
    recurrence = Recurrence(cells)
    taken = inputs[..., 0].T.numpy()
    ours = recurrence.run(np.ascontiguousarray(taken[:, :-1]))
    np.testing.assert_allclose(ours[:, 1:], said[:, :-2], atol=0.03)
    np.testing.assert_allclose(recurrence.step(taken[:, -1]), said[:, -2], atol=0.03)


def test_eight_bits_take_less_than_half_a_hundredth_of_the_largest_weight() -> None:
    made = networks(torch.Generator().manual_seed(1))
    cells = Cells.of_weights(*(part.numpy() for part in made.parts()), shared=False)
    fold = np.repeat([0.25, 0.25, 0.25, 0.5], HIDDEN).astype(np.float32)
    back = cells.recurrent * (cells.step / fold)[:, None]
    weights = made.weights[:, :HIDDEN].numpy()
    assert np.abs(back - weights).max() <= 0.005 * np.abs(weights).max()


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


def test_series_that_share_have_the_same_recurrent_weights_and_their_own_reading() -> None:
    rng = np.random.default_rng(2)
    entering = rng.standard_normal((4, 300)).astype(np.float32)
    target = np.roll(entering, -1, axis=1) ** 2 - 1
    target[1] *= -1
    parameters = LstmParameters(hidden=4, epochs=6, segments=4, chunk_length=10, shared=True)
    cells = train_cells(entering, target, parameters, seed=5)
    assert cells.shared
    assert cells.recurrent.shape == (1, 4, 16)
    assert len(np.unique(cells.entry, axis=0)) == 4
    own = Cells.restore(cells.header(), cells.tensors(), 4)
    np.testing.assert_array_equal(own.recurrent, cells.recurrent)


def test_dropout_changes_what_is_learned_but_the_seed_decides_how() -> None:
    rng = np.random.default_rng(0)
    entering = rng.standard_normal((2, 300)).astype(np.float32)
    target = np.roll(entering, -1, axis=1) ** 2 - 1

    def heads(dropout: float) -> object:
        parameters = LstmParameters(
            hidden=4, epochs=3, segments=2, chunk_length=10, dropout=dropout
        )
        return train_cells(entering, target, parameters, seed=1).entry.tolist()

    assert heads(0.5) == heads(0.5)
    assert heads(0.5) != heads(0.0)


def test_the_gpu_is_taken_when_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device().type == "cpu"


def test_training_stops_between_chunks_when_asked_to() -> None:
    values = np.random.default_rng(0).standard_normal((2, 600))
    asked = iter([False, False, False])
    with pytest.raises(FitStopped):
        lstm.fit(values, Grid(0, 60, 600), should_stop=lambda: next(asked, True))


def test_all_networks_are_switched_off_where_nothing_is_to_be_learned() -> None:
    noise = np.random.default_rng(0).standard_normal((2, 600))
    bank = lstm.fit(noise, Grid(0, 60, 600), LstmParameters(hidden=4, epochs=3, patience=1))
    assert not bank.tensors()["head"].any()


def test_large_shards_go_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(network_training._SHARD, "cpu", 2)
    rng = np.random.default_rng(0)
    entering = rng.standard_normal((5, 120)).astype(np.float32)
    parameters = LstmParameters(hidden=2, epochs=1, segments=2, chunk_length=10)
    assert train_cells(entering, entering, parameters, seed=0).series == 5
