"""Families of networks: what scores is what was trained, and what is stored is checked."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from metricwatch.algorithms import autoregressive, lstm, tcn
from metricwatch.algorithms.network_weights import as_floats, from_text, rounded, to_text
from metricwatch.algorithms.tcn_layers import Convolution, Layers, receptive_field
from metricwatch.algorithms.tcn_training import TcnNetworks, train_layers
from metricwatch.resources.algorithm import LstmParameters, TcnParameters
from metricwatch.resources.schema import ApiModel
from metricwatch.series import Grid

SERIES, LAYERS, CHANNELS = 3, 3, 4
SMALL: dict[str, Any] = {
    "lstm": LstmParameters(hidden=4, epochs=2, segments=2, chunk_length=10, ridge_lags=4),
    "tcn": TcnParameters(
        channels=4, layers=3, epochs=2, segments=2, chunk_length=10, ridge_lags=4
    ),
}
FAMILIES = {"lstm": lstm.LSTM, "tcn": tcn.TCN}


def networks(batch: int = 1) -> TcnNetworks:
    generator = torch.Generator().manual_seed(3)
    made = TcnNetworks.random(SERIES, LAYERS, CHANNELS, batch, generator, torch.device("cpu"))
    for part in made.parts()[1:]:
        part.normal_(0.0, 0.3, generator=generator)
    return made


def inputs(steps: int, batch: int = 1) -> torch.Tensor:
    return torch.randn(steps, SERIES, batch, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shared", [False, True])
def test_convolutions_score_as_they_were_trained_but_for_rounded_weights(shared: bool) -> None:
    made = networks()
    if shared:
        made.parts()[0][:] = made.parts()[0][0].clone()
    whole = inputs(40)
    said = made.say(whole)[..., 0].T.numpy()
    layers = Layers.of_weights(*(part.numpy() for part in made.parts()), shared=shared)
    ours = Convolution(layers).run(whole[..., 0].T.contiguous().numpy())
    # Before the first sample training has zeros and scoring has nothing.
    reach = receptive_field(LAYERS)
    np.testing.assert_allclose(ours[:, reach + 1 :], said[:, reach:-1], atol=0.03)


def test_a_chunk_sees_the_samples_of_the_chunk_before_it() -> None:
    made, whole = networks(batch=2), inputs(40, batch=2)
    heard: list[torch.Tensor] = []

    def blame(said: torch.Tensor) -> torch.Tensor:
        heard.append(said)
        return torch.ones_like(said)

    made.rewind()
    made.gradients(whole[:25], blame, None)
    made.gradients(whole[25:], blame, None)
    torch.testing.assert_close(torch.cat(heard), made.say(whole))


def test_gradients_of_convolutions_are_those_of_the_loss() -> None:
    made, whole = networks(batch=2), inputs(20, batch=2)
    gradients = made.gradients(whole, torch.ones_like, None)
    small = 1e-2
    for part, gradient in zip(made.parts(), gradients, strict=True):
        place = (1, *[0] * (part.dim() - 1))
        losses = []
        for sign in (1, -1):
            part[place] += sign * small
            losses.append(float(made.say(whole).sum()))
            part[place] -= sign * small
        slope = (losses[0] - losses[1]) / (2 * small)
        assert float(gradient[place]) == pytest.approx(slope, rel=0.02, abs=0.02)


def curve(ticks: int, seed: int) -> NDArray[np.float64]:
    """A chaotic series that no linear forecast gets hold of (a noisy logistic map)."""
    rng = np.random.default_rng(seed)
    values = np.empty(ticks)
    now = 0.4
    for at in range(ticks):
        now = min(max(3.8 * now * (1 - now) + 0.002 * rng.standard_normal(), 0.01), 0.99)
        values[at] = now
    return values


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("lstm", LstmParameters(hidden=8, learning_rate=0.02, segments=8, chunk_length=8)),
        (
            "lstm",
            LstmParameters(hidden=8, learning_rate=0.02, segments=8, chunk_length=8, shared=True),
        ),
        ("tcn", TcnParameters(channels=8, layers=3, epochs=15, chunk_length=15)),
        ("tcn", TcnParameters(channels=8, layers=3, epochs=15, chunk_length=15, shared=True)),
    ],
)
def test_a_network_foresees_what_an_autoregression_cannot(name: str, parameters: ApiModel) -> None:
    values = np.stack([curve(1500, 0), 100 * curve(1500, 1)])
    later = np.stack([curve(400, 2), 100 * curve(400, 3)])
    grid = Grid(0, 60, 400)
    plain = autoregressive.fit(values, Grid(0, 60, 1500)).backtest(grid, later).residual
    bank = FAMILIES[name].fit(values, Grid(0, 60, 1500), parameters, seed=1)
    ours = bank.backtest(grid, later).residual
    ratio = np.nanstd(ours, axis=1) / np.nanstd(plain, axis=1)
    assert (ratio < 0.6).all()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("shared", [False, True])
def test_a_bank_scores_the_same_after_it_was_stored(name: str, shared: bool) -> None:
    values = np.stack([curve(400, seed) for seed in range(3)])
    parameters = SMALL[name].model_copy(update={"shared": shared})
    bank = FAMILIES[name].fit(values, Grid(0, 60, 400), parameters)
    again = FAMILIES[name].restore(bank.header(), bank.tensors())
    grid = Grid(0, 60, 400)
    np.testing.assert_array_equal(
        again.backtest(grid, values).expected, bank.backtest(grid, values).expected
    )
    assert (bank.header()["shared"] is not None) == shared
    assert {len(tensor) for tensor in bank.tensors().values()} == {3}


@pytest.mark.parametrize("name", FAMILIES)
def test_with_defaults_a_series_takes_less_than_eight_kilobytes(name: str) -> None:
    own = {"lstm": LstmParameters(epochs=1), "tcn": TcnParameters(epochs=1)}
    values = np.random.default_rng(0).standard_normal((2, 400))
    bank = FAMILIES[name].fit(values, Grid(0, 60, 400), own[name])
    assert sum(tensor.nbytes for tensor in bank.tensors().values()) / 2 < 8192


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("reach", 0, "reach is 0"),
        ("reach", "x", "reach is 'x'"),
        ("hidden", 0, "hidden is 0"),
        ("channels", 0, "channels is 0"),
        ("layers", 11, "layers is 11"),
        ("reach", 9, "do not reach 9"),
        ("shared", 7, "are int"),
        ("shared", "AAAA", "have 3 bytes"),
        ("shared", "?", "base64|padded|base-64"),
    ],
)
def test_a_stored_bank_with_a_wrong_header_is_refused(
    name: str, key: str, value: object, message: str
) -> None:
    bank = FAMILIES[name].fit(np.ones((2, 200)), Grid(0, 60, 200), SMALL[name])
    header = bank.header()
    if key not in header or (name == "lstm" and value == 9):
        return
    with pytest.raises((ValueError, TypeError), match=message):
        FAMILIES[name].restore(header | {key: value}, bank.tensors())


def test_series_share_the_layers_but_not_how_they_enter() -> None:
    rng = np.random.default_rng(2)
    entering = rng.standard_normal((4, 300)).astype(np.float32)
    target = np.roll(entering, -1, axis=1) ** 2 - 1
    target[1] *= -1
    parameters = SMALL["tcn"].model_copy(update={"shared": True, "epochs": 4})
    layers = train_layers(entering, target, parameters, seed=5)
    assert layers.mixing.shape == (1, 3, 8, 4)
    assert len(np.unique(layers.entry, axis=0)) == 4


def test_a_column_of_zeros_is_rounded_to_zeros() -> None:
    weights = np.zeros((1, 3, 2), dtype=np.float32)
    weights[0, :, 1] = [0.5, -1.0, 0.25]
    whole, step = rounded(weights)
    np.testing.assert_array_equal(whole[0, :, 0], 0)
    np.testing.assert_allclose(
        as_floats(whole)[0, :, 1] * step[0, 1], weights[0, :, 1], atol=0.004
    )


def test_weights_come_back_from_text() -> None:
    weights = np.arange(-12, 12, dtype=np.int8).reshape(1, 4, 6)
    np.testing.assert_array_equal(from_text(to_text(weights), (1, 4, 6)), weights)


class _Edge:
    """Suggests an end of every range."""

    def __init__(self, end: int) -> None:
        self._end = end

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        del name, log
        return (low, high)[self._end]

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        del name, log
        return (low, high)[self._end]

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        del name
        return choices[-self._end]


@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize("family", [lstm.LSTM, tcn.TCN, autoregressive.AUTOREGRESSIVE])
def test_whatever_a_search_suggests_is_within_the_bounds_of_the_parameters(
    family: Any, end: int
) -> None:
    search: Callable[[Any], ApiModel] = family.search
    found = search(_Edge(end))
    assert isinstance(found, family.parameters)
    assert family.minimum_samples(found) > 0
