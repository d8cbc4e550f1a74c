"""Hierarchical extreme learning machine (Tang, Deng & Huang 2016): one for all series of a bank.

Autoencoders refine the features, layer on layer: each projects at random, learns sparse weights
that give its input back (by FISTA, Beck & Teboulle 2009), and passes on what those weights make
of the input. The answer is a ridge regression on random units above the last layer. Nothing is
iterated over samples, so a fit takes well under a second, in NumPy only.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import (
    Family,
    FitStopped,
    FloatArray,
    Header,
    Report,
    ShouldStop,
    Suggest,
    Tensors,
    check_history,
    own_parameters,
    take_tensor,
)
from metricwatch.algorithms.labelled import (
    Examples,
    LabelledBank,
    examples,
    minimum_labelled_samples,
    restore_labelled,
)
from metricwatch.algorithms.window_features import FloatArray32
from metricwatch.algorithms.windows import Windows
from metricwatch.resources.algorithm import HelmParameters
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid

_SPARSENESS = 1e-3
_PASSES = 50
_GAIN = 0.8
_MOST_LAYERS, _MOST_UNITS = 4, 2048
_WINDOWS_AT_ONCE = 1 << 12

Layers = tuple[FloatArray32, ...]
"""float32[d + 1, h] each, what a layer weighs its input with, the bias last; the read-out is the
last one, with a single unit and nothing after it."""


class HelmBank(LabelledBank):
    """S series and the machine they share."""

    family = "helm"
    shared_tensors = frozenset(f"layer_{number}" for number in range(_MOST_LAYERS + 2))

    def __init__(self, windows: Windows, ordinary: FloatArray32, layers: Layers) -> None:
        """Takes parameters over.

        Args:
            windows: of S series.
            ordinary: float32[S], margin of an ordinary window.
            layers: of the machine, the read-out last.
        """
        super().__init__(windows, ordinary)
        self._layers = layers

    def margin(self, features: FloatArray32) -> FloatArray:
        """Returns what the machine answers, float64[n]: about 1 to anomalies, -1 to others."""
        return answer(self._layers, features)

    def header(self) -> dict[str, Any]:
        """Returns the shape of windows and layers."""
        return {**super().header(), "units": [layer.shape[1] for layer in self._layers[:-1]]}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns the parameters."""
        layers = {f"layer_{number}": layer[None] for number, layer in enumerate(self._layers)}
        return {**super().tensors(), **layers}


def answer(layers: Layers, features: FloatArray32) -> FloatArray:
    """Returns what a machine answers to windows, float64[n]."""
    result = np.empty(len(features))
    # In float64: products of matrices of other shapes differ in the last bits.
    weights = [layer.astype(np.float64) for layer in layers]
    for first in range(0, len(features), _WINDOWS_AT_ONCE):
        part = slice(first, first + _WINDOWS_AT_ONCE)
        signal = features[part].astype(np.float64)
        for layer in weights[:-1]:
            signal = np.tanh(_weighed(signal, layer))
        result[part] = _weighed(signal, weights[-1])[:, 0]
    return result


def fit(
    values: FloatArray,
    grid: Grid,
    parameters: ApiModel | None = None,
    *,
    scaling: Scaling = Scaling.ROBUST,
    seed: int = 0,
    labels: NDArray[np.bool_] | None = None,
    progress: Report | None = None,
    should_stop: ShouldStop | None = None,
) -> HelmBank:
    """Returns a bank whose machine was taught with the labelled windows of all series.

    Raises:
        FitStopped: `should_stop` returned true.
        ValueError: shapes do not fit together, or no window is labelled.
    """
    del scaling  # features have scales of their own
    check_history(values, grid)
    own = own_parameters(HelmParameters, parameters)
    taught = examples(
        values,
        grid,
        labels,
        window=own.window,
        family=HelmBank.family,
        seed=seed,
        progress=progress,
        should_stop=should_stop,
    )
    if should_stop is not None and should_stop():
        raise FitStopped
    layers = teach(taught, own, seed)
    ordinary = taught.ordinary(lambda features: answer(layers, features))
    return HelmBank(taught.windows, ordinary, layers)


def teach(taught: Examples, own: HelmParameters, seed: int) -> Layers:
    """Returns the layers of a machine, the read-out last."""
    chance = np.random.default_rng(seed)
    signal = taught.features.astype(np.float64)
    layers = []
    for units in own.layers:
        layers.append(_autoencoder(signal, units, chance))
        signal = np.tanh(_weighed(signal, layers[-1]))
    layers.append(_random(signal, own.hidden, chance))
    signal = np.tanh(_weighed(signal, layers[-1]))
    layers.append(_read_out(signal, taught, own.ridge))
    return tuple(layer.astype(np.float32) for layer in layers)


def _autoencoder(signal: FloatArray, units: int, chance: np.random.Generator) -> FloatArray:
    """Returns a layer [d + 1, units] whose weights give the signal back from random units."""
    random = np.tanh(_weighed(signal, _random(signal, units, chance)))
    return _standardised(signal, _sparse(random, signal).T)


def _random(signal: FloatArray, units: int, chance: np.random.Generator) -> FloatArray:
    """Returns a random layer [d + 1, units]; without a bias all its units were odd functions."""
    layer = _standardised(signal, chance.standard_normal((signal.shape[1], units)))
    layer[-1] += chance.standard_normal(units)
    return layer


def _sparse(random: FloatArray, signal: FloatArray) -> FloatArray:
    """Returns b [h, d] that makes |random b - signal|² / n + 2 s |b|₁ least, by FISTA."""
    count = len(signal)
    gram, target = random.T @ random / count, random.T @ signal / count
    pace = 1.0 / max(float(np.linalg.eigvalsh(gram)[-1]), 1e-12)
    weights = np.zeros((random.shape[1], signal.shape[1]))
    ahead, momentum = weights, 1.0
    for _ in range(_PASSES):
        moved = ahead - pace * (gram @ ahead - target)
        shrunk = np.sign(moved) * np.maximum(np.abs(moved) - pace * _SPARSENESS, 0.0)
        following = (1.0 + (1.0 + 4.0 * momentum**2) ** 0.5) / 2.0
        ahead = shrunk + (momentum - 1.0) / following * (shrunk - weights)
        weights, momentum = shrunk, following
    return weights


def _standardised(signal: FloatArray, weights: FloatArray) -> FloatArray:
    """Returns a layer of `weights` [d, h] whose units vary around 0 within what tanh can tell."""
    drive = signal @ weights
    gain = _GAIN / np.maximum(drive.std(axis=0), 1e-6)
    return np.concatenate([weights * gain, -(drive.mean(axis=0) * gain)[None]])


def _read_out(signal: FloatArray, taught: Examples, ridge: float) -> FloatArray:
    """Returns the weighted ridge regression [h + 1, 1] of 1 for anomalies and -1 for others."""
    design = np.concatenate([signal, np.ones((len(signal), 1))], axis=1)
    weighted = (design * taught.weight[:, None]).T
    penalty = ridge * np.eye(design.shape[1])
    penalty[-1, -1] = 1e-6 * ridge  # the level is nothing to be shrunk
    target = np.where(taught.anomalous, 1.0, -1.0)
    return np.linalg.solve(weighted @ design + penalty, weighted @ target)[:, None]


def _weighed(signal: FloatArray, layer: FloatArray) -> FloatArray:
    product: FloatArray = signal @ layer[:-1] + layer[-1]
    return product


def restore(header: Header, tensors: Tensors) -> HelmBank:
    """Returns the bank that `header` and `tensors` describe, with a fresh state.

    Raises:
        ValueError: they do not fit together.
    """
    windows, ordinary = restore_labelled(header, tensors)
    units = header.get("units")
    if not isinstance(units, list) or not 1 <= len(units) <= _MOST_LAYERS + 1:
        raise ValueError(f"units is {units!r}, expected 1 to {_MOST_LAYERS + 1} layers")
    if not all(isinstance(number, int) and 1 <= number <= _MOST_UNITS for number in units):
        raise ValueError(f"units is {units!r}, expected 1 to {_MOST_UNITS} in each layer")
    sizes = [windows.width, *units, 1]
    layers = [
        take_tensor(tensors, f"layer_{number}", (1, below + 1, above), np.float32)[0]
        for number, (below, above) in enumerate(pairwise(sizes))
    ]
    return HelmBank(windows, ordinary, tuple(layers))


def minimum_samples(parameters: ApiModel | None = None) -> int:
    """Returns what the scales of features take."""
    own_parameters(HelmParameters, parameters)
    return minimum_labelled_samples()


def search(suggest: Suggest) -> HelmParameters:
    """Returns parameters to try."""
    return HelmParameters(
        window=suggest.suggest_categorical("window", [None, 16, 32, 64, 128]),
        layers=(suggest.suggest_int("units", 16, 128, log=True),) * 2,
        hidden=suggest.suggest_int("hidden", 64, 1024, log=True),
        ridge=suggest.suggest_float("ridge", 1e-3, 1e3, log=True),
    )


HELM = Family(
    name="helm",
    parameters=HelmParameters,
    fit=fit,
    restore=restore,
    minimum_samples=minimum_samples,
    # Not that it takes long: a fold of a history may hold none of the labels.
    cheap=False,
    learns_from_labels=True,
    search=search,
)
