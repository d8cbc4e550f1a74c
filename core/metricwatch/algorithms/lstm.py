"""One small recurrent network for each series, on top of a ridge autoregression.

The network (Hochreiter & Schmidhuber 1997) corrects the autoregression by what it makes of the
history in its state. One that is no better than the autoregression alone on samples it was not
trained on is switched off, series by series: its correction is zero.

What scores is in `lstm_cells`, in NumPy only: S networks advance with one batched product per
tick. Training is in `lstm_training`, which needs torch and is imported only by `fit`.
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
from metricwatch.algorithms.lstm_cells import Cells, Recurrence
from metricwatch.algorithms.network_bank import RIDGE, NetworkBank, lessons, read_reach
from metricwatch.resources.algorithm import LstmParameters
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid


class LstmBank(NetworkBank):
    """S autoregressions, S recurrent networks, and the state of both."""

    def __init__(self, base: AutoregressiveBank, cells: Cells, *, reach: int) -> None:
        """Takes parameters over; the state is fresh.

        Args:
            base: the autoregressions.
            cells: the networks.
            reach: samples after which a state has forgotten how it began.
        """
        super().__init__("lstm", base, cells, Recurrence(cells), reach=reach)


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
) -> LstmBank:
    """Returns networks trained all together, each kept at its own best pass over the history."""
    from metricwatch.algorithms.lstm_training import train_cells

    del labels  # it forecasts, and nothing else
    check_history(values, grid)
    own = own_parameters(LstmParameters, parameters)
    base = fit_ridge(
        values, lags=own.ridge_lags, ridge=RIDGE, scaling=scaling, should_stop=should_stop
    )
    entering, target = lessons(base, values)
    cells = train_cells(
        entering, target, own, seed=seed, progress=progress, should_stop=should_stop
    )
    fresh = autoregressive.restore(base.header(), base.tensors())
    return LstmBank(fresh, cells, reach=4 * own.chunk_length)


def restore(header: Header, tensors: Tensors) -> LstmBank:
    """Returns the bank that `header` and `tensors` describe, with a fresh state.

    Raises:
        TypeError, ValueError: they do not fit together.
    """
    base = autoregressive.restore(header, tensors)
    cells = Cells.restore(header, tensors, base.series)
    return LstmBank(base, cells, reach=read_reach(header))


def minimum_samples(parameters: ApiModel | None = None) -> int:
    """Returns what the autoregression takes, and a few gradients' reach for the network."""
    own = own_parameters(LstmParameters, parameters)
    return 3 * own.ridge_lags + 4 * own.chunk_length


def search(suggest: Suggest) -> LstmParameters:
    """Returns parameters to try: those that decide what a network can do and how it learns."""
    return LstmParameters(
        hidden=suggest.suggest_categorical("hidden", (8, 16, 32, 64)),
        ridge_lags=suggest.suggest_int("ridgeLags", 4, 96, log=True),
        chunk_length=suggest.suggest_int("chunkLength", 8, 96, log=True),
        learning_rate=suggest.suggest_float("learningRate", 1e-3, 2e-2, log=True),
        dropout=suggest.suggest_float("dropout", 0.0, 0.4),
    )


LSTM = Family(
    name="lstm",
    parameters=LstmParameters,
    fit=fit,
    restore=restore,
    minimum_samples=minimum_samples,
    cheap=False,
    search=search,
)
