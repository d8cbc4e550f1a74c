"""One small recurrent network for each series, on top of a ridge autoregression.

The autoregression explains what is linear; the network (Hochreiter & Schmidhuber 1997) corrects it
by what it makes of the history in its state. A network that is no better than the autoregression
alone on samples it was not trained on is switched off, series by series: its correction is zero.

Here is what scores, in NumPy only: S networks advance with one batched product per tick. Training
is in `lstm_training`, which needs torch and is imported only by `fit`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms import autoregressive
from metricwatch.algorithms.autoregressive import AutoregressiveBank, fit_ridge
from metricwatch.algorithms.autoregressive_state import FloatArray32
from metricwatch.algorithms.base import (
    RESIDUAL,
    Family,
    FloatArray,
    Header,
    Prediction,
    Report,
    ShouldStop,
    Tensors,
    check_history,
    own_parameters,
)
from metricwatch.algorithms.lstm_cells import CLIP, Cells, Recurrence
from metricwatch.resources.algorithm import LstmParameters
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid

_RIDGE = 1.0


class LstmBank:
    """S autoregressions, S networks, and the state of both."""

    family = "lstm"
    streams = (RESIDUAL,)

    def __init__(self, base: AutoregressiveBank, cells: Cells, *, reach: int) -> None:
        """Takes parameters over; the state is fresh.

        Args:
            base: the autoregressions, which also hold scales and the latest samples.
            cells: the networks.
            reach: samples after which a state has forgotten how it began.
        """
        self._base = base
        self._cells = cells
        self._reach = reach
        self._recurrence = Recurrence(cells)

    @property
    def series(self) -> int:
        """S."""
        return self._base.series

    @property
    def warmup(self) -> int:
        """The lags, and as many samples as a gradient reached back."""
        return self._base.warmup + self._reach

    def step(self, time: int, values: FloatArray) -> Prediction:
        """Advances all series by one tick."""
        del time  # the same at any hour
        forecast, taken = self._base.advance(values)
        return self._corrected(values, forecast, self._recurrence.step(taken))

    def backtest(self, grid: Grid, values: FloatArray) -> Prediction:
        """Returns what one step for each tick gives."""
        check_history(values, grid)
        forecast, taken = self._base.advance(values)
        return self._corrected(values, forecast, self._recurrence.run(taken))

    def _corrected(
        self, values: FloatArray, forecast: FloatArray32, correction: FloatArray32
    ) -> Prediction:
        """Returns the prediction for [S] or [S, T]."""
        innovation = self._base.innovation[(slice(None), *[None] * (values.ndim - 1))]
        expected = self._base.unscaled(forecast + innovation * correction)
        return Prediction.forecast(expected, values - expected)

    def header(self) -> dict[str, Any]:
        """Returns the sizes, and what series have in common."""
        return self._base.header() | self._cells.header() | {"reach": self._reach}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns the parameters of autoregressions and networks."""
        return self._base.tensors() | self._cells.tensors()


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
        values, lags=own.ridge_lags, ridge=_RIDGE, scaling=scaling, should_stop=should_stop
    )
    entering, target = _lessons(base, values)
    cells = train_cells(
        entering, target, own, seed=seed, progress=progress, should_stop=should_stop
    )
    fresh = autoregressive.restore(base.header(), base.tensors())
    return LstmBank(fresh, cells, reach=4 * own.chunk_length)


def _lessons(base: AutoregressiveBank, values: FloatArray) -> tuple[FloatArray32, FloatArray32]:
    """Returns what enters the networks and what they are to say after it.

    The autoregression goes through the history as it will when it scores, so that networks learn
    from the very inputs they will see.

    Returns:
        Inputs float32[S, T], sample t - 1 at position t; and targets float32[S, T], the residual
        of the autoregression in ordinary residuals, NaN where there is none.
    """
    forecast, taken = base.advance(values)
    entering = np.zeros(values.shape, dtype=np.float32)
    entering[:, 1:] = np.clip(taken[:, :-1], -CLIP, CLIP)
    target = (base.scaled(values) - forecast) / base.innovation[:, None]
    return entering, np.clip(target, -CLIP, CLIP).astype(np.float32)


def restore(header: Header, tensors: Tensors) -> LstmBank:
    """Returns the bank that `header` and `tensors` describe, with a fresh state.

    Raises:
        ValueError: they do not fit together.
    """
    reach = header.get("reach")
    if not isinstance(reach, int) or not 1 <= reach <= 100_000:
        raise ValueError(f"reach is {reach!r}, expected 1 to 100000")
    base = autoregressive.restore(header, tensors)
    return LstmBank(base, Cells.restore(header, tensors, base.series), reach=reach)


def minimum_samples(parameters: ApiModel | None = None) -> int:
    """Returns what the autoregression takes, and a few gradients' reach for the network."""
    own = own_parameters(LstmParameters, parameters)
    return 3 * own.ridge_lags + 4 * own.chunk_length


LSTM = Family(
    name="lstm",
    parameters=LstmParameters,
    fit=fit,
    restore=restore,
    minimum_samples=minimum_samples,
    cheap=False,
)
