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
    take_tensor,
)
from metricwatch.algorithms.lstm_cells import Cells
from metricwatch.resources.algorithm import LstmParameters
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid

CLIP = 8.0
"""Inputs in scales and corrections in ordinary residuals stay within this."""
_RIDGE = 1.0
_MOST_HIDDEN = 1024


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
        series, hidden = cells.head.shape
        self._hidden = np.zeros((series, 1, hidden), dtype=np.float32)
        self._memory = np.zeros((series, hidden), dtype=np.float32)

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
        correction = self._correction()
        self._advance(np.clip(taken, -CLIP, CLIP))
        return self._corrected(values, forecast, correction)

    def backtest(self, grid: Grid, values: FloatArray) -> Prediction:
        """Returns what one step for each tick gives."""
        check_history(values, grid)
        forecast, taken = self._base.advance(values)
        entering = np.ascontiguousarray(np.clip(taken, -CLIP, CLIP).T)
        correction = np.empty(values.shape, dtype=np.float32)
        for tick, samples in enumerate(entering):
            correction[:, tick] = self._correction()
            self._advance(samples)
        return self._corrected(values, forecast, correction)

    def _correction(self) -> FloatArray32:
        """Returns what the networks say of the next sample, float32[S], in ordinary residuals."""
        correction: FloatArray32 = np.vecdot(self._hidden[:, 0], self._cells.head)
        correction += self._cells.offset
        return np.clip(correction, -CLIP, CLIP, out=correction)

    def _corrected(
        self, values: FloatArray, forecast: FloatArray32, correction: FloatArray32
    ) -> Prediction:
        """Returns the prediction for [S] or [S, T]."""
        innovation = self._base.innovation[(slice(None), *[None] * (values.ndim - 1))]
        expected = self._base.unscaled(forecast + innovation * correction)
        return Prediction.forecast(expected, values - expected)

    def header(self) -> dict[str, Any]:
        """Returns the sizes."""
        hidden = self._cells.hidden
        return {"lags": self._base.lags, "hidden": hidden, "reach": self._reach}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns the parameters of autoregressions and networks."""
        cells = self._cells
        return self._base.tensors() | {
            "recurrent": cells.recurrent,
            "entry": cells.entry,
            "cell_bias": cells.bias,
            "head": cells.head,
            "offset": cells.offset,
        }

    def _advance(self, entering: FloatArray32) -> None:
        """Moves every network on by one input, float32[S]."""
        cells, hidden = self._cells, self._cells.hidden
        gates = np.matmul(self._hidden, cells.recurrent)[:, 0]
        gates += entering[:, None] * cells.entry
        gates += cells.bias
        sigmoid, candidate = gates[:, : 3 * hidden], gates[:, 3 * hidden :]
        # tanh of the half: one function for all gates that cannot overflow.
        np.tanh(0.5 * sigmoid, out=sigmoid)
        sigmoid += 1.0
        sigmoid *= 0.5
        np.tanh(candidate, out=candidate)
        admit, keep, show = (sigmoid[:, at : at + hidden] for at in (0, hidden, 2 * hidden))
        self._memory *= keep
        self._memory += admit * candidate
        np.multiply(show, np.tanh(self._memory), out=self._hidden[:, 0])


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
    hidden, reach = header.get("hidden"), header.get("reach")
    if not isinstance(hidden, int) or not 1 <= hidden <= _MOST_HIDDEN:
        raise ValueError(f"hidden is {hidden!r}, expected 1 to {_MOST_HIDDEN}")
    if not isinstance(reach, int) or not 1 <= reach <= 100_000:
        raise ValueError(f"reach is {reach!r}, expected 1 to 100000")
    base = autoregressive.restore(header, tensors)
    series = base.series
    cells = Cells(
        recurrent=take_tensor(tensors, "recurrent", (series, hidden, 4 * hidden), np.float32),
        entry=take_tensor(tensors, "entry", (series, 4 * hidden), np.float32),
        bias=take_tensor(tensors, "cell_bias", (series, 4 * hidden), np.float32),
        head=take_tensor(tensors, "head", (series, hidden), np.float32),
        offset=take_tensor(tensors, "offset", (series,), np.float32),
    )
    return LstmBank(base, cells, reach=reach)


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
