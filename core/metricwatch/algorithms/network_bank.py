"""What families of networks have in common: a ridge autoregression that a network corrects.

The autoregression explains what is linear, and decides what enters: a missing or odd sample
reaches no network. The network says how far the next sample will be from the autoregression's
forecast, in ordinary residuals. So networks learn from the very inputs they see when they score,
and a history is scored with the autoregression first and the networks after it.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.autoregressive import AutoregressiveBank
from metricwatch.algorithms.autoregressive_state import FloatArray32
from metricwatch.algorithms.base import (
    RESIDUAL,
    FloatArray,
    Header,
    Prediction,
    check_history,
)
from metricwatch.algorithms.network_weights import CLIP
from metricwatch.series import Grid

RIDGE = 1.0


class Weights(Protocol):
    """Parameters of S networks."""

    def header(self) -> dict[str, Any]:
        """Returns sizes, and what series have in common, as JSON values."""
        ...

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns what is each series' own, the first axis being S."""
        ...


class NetworkState(Protocol):
    """What S networks carry from tick to tick."""

    def step(self, taken: FloatArray32) -> FloatArray32:
        """Returns what is said of the next sample, in ordinary residuals, then takes it in.

        Args:
            taken: float32[S], in scales, never NaN.
        """
        ...

    def run(self, taken: FloatArray32) -> FloatArray32:
        """Returns what one step for each tick of float32[S, T] gives, and advances as much."""
        ...


class NetworkBank:
    """S autoregressions, S networks, and the state of both."""

    streams = (RESIDUAL,)

    def __init__(
        self,
        family: str,
        base: AutoregressiveBank,
        weights: Weights,
        state: NetworkState,
        *,
        reach: int,
    ) -> None:
        """Takes parameters over.

        Args:
            family: its name.
            base: the autoregressions, which also hold scales and the latest samples.
            weights: the networks.
            state: of the networks, fresh.
            reach: samples after which a state has forgotten how it began.
        """
        self.family = family
        self._base = base
        self._weights = weights
        self._state = state
        self._reach = reach

    @property
    def series(self) -> int:
        """S."""
        return self._base.series

    @property
    def warmup(self) -> int:
        """What the autoregression takes, and then the networks."""
        return self._base.warmup + self._reach

    def step(self, time: int, values: FloatArray) -> Prediction:
        """Advances all series by one tick."""
        del time  # the same at any hour
        forecast, taken = self._base.advance(values)
        return self._corrected(values, forecast, self._state.step(taken))

    def backtest(self, grid: Grid, values: FloatArray) -> Prediction:
        """Returns what one step for each tick gives."""
        check_history(values, grid)
        forecast, taken = self._base.advance(values)
        return self._corrected(values, forecast, self._state.run(taken))

    def _corrected(
        self, values: FloatArray, forecast: FloatArray32, correction: FloatArray32
    ) -> Prediction:
        """Returns the prediction for [S] or [S, T]."""
        innovation = self._base.innovation
        if values.ndim == 2:
            innovation = innovation[:, None]
        corrected = correction * innovation
        corrected += forecast
        expected = self._base.unscaled(corrected)
        return Prediction.forecast(expected, values - expected)

    def header(self) -> dict[str, Any]:
        """Returns the sizes, and what series have in common."""
        return self._base.header() | self._weights.header() | {"reach": self._reach}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns the parameters of autoregressions and networks."""
        return self._base.tensors() | self._weights.tensors()


def lessons(base: AutoregressiveBank, values: FloatArray) -> tuple[FloatArray32, FloatArray32]:
    """Returns what enters the networks and what they are to say after it.

    Args:
        base: with a fresh state, which is a used one afterwards.
        values: float64[S, T].

    Returns:
        Inputs float32[S, T], sample t - 1 at position t; and targets float32[S, T], the residual
        of the autoregression in ordinary residuals, NaN where there is none.
    """
    forecast, taken = base.advance(values)
    entering = np.zeros(values.shape, dtype=np.float32)
    entering[:, 1:] = np.clip(taken[:, :-1], -CLIP, CLIP)
    target = (base.scaled(values) - forecast) / base.innovation[:, None]
    return entering, np.clip(target, -CLIP, CLIP).astype(np.float32)


def read_reach(header: Header) -> int:
    """Returns the reach in a bank's header.

    Raises:
        ValueError: it is none.
    """
    reach = header.get("reach")
    if not isinstance(reach, int) or not 1 <= reach <= 100_000:
        raise ValueError(f"reach is {reach!r}, expected 1 to 100000")
    return reach
