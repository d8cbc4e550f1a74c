"""One small temporal convolutional network for each series, on top of a ridge autoregression.

Layers of causal convolutions, each looking twice as far back as the one below it (Bai, Kolter &
Koltun 2018), correct the autoregression by what they make of the latest samples. A network that is
no better than the autoregression alone on samples it was not trained on is switched off, series by
series: its correction is zero.

What scores is in `tcn_layers`, in NumPy only. Training is in `tcn_training`, which needs torch and
is imported only by `fit`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms import autoregressive
from metricwatch.algorithms.autoregressive import AutoregressiveBank, fit_ridge
from metricwatch.algorithms.base import (
    Family,
    FloatArray,
    Header,
    Report,
    ShouldStop,
    Suggest,
    Tensors,
    check_history,
    own_parameters,
)
from metricwatch.algorithms.network_bank import RIDGE, NetworkBank, lessons, read_reach
from metricwatch.algorithms.tcn_layers import Convolution, Layers, receptive_field
from metricwatch.resources.algorithm import TcnParameters
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid


class TcnBank(NetworkBank):
    """S autoregressions, S convolutional networks, and the state of both."""

    def __init__(self, base: AutoregressiveBank, layers: Layers) -> None:
        """Takes parameters over; the state is fresh."""
        reach = receptive_field(layers.layers)
        super().__init__("tcn", base, layers, Convolution(layers), reach=reach)


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
) -> TcnBank:
    """Returns networks trained all together, each kept at its own best pass over the history."""
    from metricwatch.algorithms.tcn_training import train_layers

    del labels  # it forecasts, and nothing else
    check_history(values, grid)
    own = own_parameters(TcnParameters, parameters)
    base = fit_ridge(
        values, lags=own.ridge_lags, ridge=RIDGE, scaling=scaling, should_stop=should_stop
    )
    entering, target = lessons(base, values)
    layers = train_layers(
        entering, target, own, seed=seed, progress=progress, should_stop=should_stop
    )
    return TcnBank(autoregressive.restore(base.header(), base.tensors()), layers)


def restore(header: Header, tensors: Tensors) -> TcnBank:
    """Returns the bank that `header` and `tensors` describe, with a fresh state.

    Raises:
        TypeError, ValueError: they do not fit together.
    """
    base = autoregressive.restore(header, tensors)
    layers = Layers.restore(header, tensors, base.series)
    if read_reach(header) != receptive_field(layers.layers):
        raise ValueError(f"{layers.layers} layers do not reach {header['reach']} samples")
    return TcnBank(base, layers)


def minimum_samples(parameters: ApiModel | None = None) -> int:
    """Returns what the autoregression takes, and twice what the network looks at."""
    own = own_parameters(TcnParameters, parameters)
    return 3 * own.ridge_lags + 2 * receptive_field(own.layers)


def search(suggest: Suggest) -> TcnParameters:
    """Returns parameters to try: those that decide what a network can do and how it learns."""
    return TcnParameters(
        channels=suggest.suggest_categorical("channels", (4, 8, 16, 32)),
        layers=suggest.suggest_int("layers", 3, 8),
        ridge_lags=suggest.suggest_int("ridgeLags", 4, 96, log=True),
        learning_rate=suggest.suggest_float("learningRate", 1e-3, 2e-2, log=True),
        dropout=suggest.suggest_float("dropout", 0.0, 0.4),
    )


TCN = Family(
    name="tcn",
    parameters=TcnParameters,
    fit=fit,
    restore=restore,
    minimum_samples=minimum_samples,
    cheap=False,
    search=search,
)
