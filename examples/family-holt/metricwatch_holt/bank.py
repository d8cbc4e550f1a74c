"""S series, each with a level and a trend that follow its samples (Holt 1957).

The trend is damped (Gardner & McKenzie, "Forecasting Trends in Time Series", Management Science
1985): without it a short slope is continued for ever, which after a gap is far off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms import RESIDUAL, Prediction
from metricwatch.algorithms.base import step_through, take_tensor
from metricwatch.series import Grid

NAME = "example.com/holt"
_CLIP = 4.0
_MOST_DOUBLINGS = 60
_LONGEST_WARMUP = 3000

Floats = NDArray[np.float64]


class HoltBank:
    """Parameters and state of S series, each an array of S numbers: no loop over series."""

    family = NAME
    streams = (RESIDUAL,)

    def __init__(
        self, *, level_rate: Floats, trend_rate: Floats, scale: Floats, damping: float
    ) -> None:
        """Takes parameters; the state begins with nothing seen.

        Args:
            level_rate: float64[S] in (0, 1], share of a surprise that enters the level.
            trend_rate: float64[S] in [0, 1], share of that which enters the trend.
            scale: float64[S] above 0, size of an ordinary surprise.
            damping: in (0, 1], what is left of the trend after one tick.
        """
        self._level_rate = level_rate
        self._trend_rate = trend_rate
        self._scale = scale
        self._damping = damping
        self._level = np.full(self.series, np.nan)
        self._trend = np.zeros(self.series)
        self._doublings = np.zeros(self.series, np.int64)

    @property
    def series(self) -> int:
        """S."""
        return len(self._level_rate)

    @property
    def warmup(self) -> int:
        """So many samples that a twentieth of the level is older."""
        slowest = float(self._level_rate.min(initial=1.0))
        return min(_LONGEST_WARMUP, 1 + round(3.0 / slowest))

    def step(self, time: int, values: Floats) -> Prediction:
        """Says what was expected of one tick, then learns from it."""
        del time  # the same at any hour
        expected = self._level + self._damping * self._trend
        surprise = values - expected
        pull = self._level_rate * self._bounded(surprise)
        first = np.isnan(expected) & ~np.isnan(values)
        # A missing sample pulls nothing: the trend goes on and dies down.
        self._level = np.where(first, values, expected + pull)
        self._trend = np.where(first, 0.0, self._damping * self._trend + self._trend_rate * pull)
        return Prediction.forecast(expected, surprise)

    def _bounded(self, surprise: Floats) -> Floats:
        """Returns what of a surprise the state may believe, 0 where there is none.

        One sample far out moves it by four deviations at most. The bound doubles with each sample
        in a row that passes it, so a new level is accepted within some samples.
        """
        bound = np.ldexp(_CLIP * self._scale, self._doublings)
        known = ~np.isnan(surprise)
        beyond = np.abs(surprise) > bound
        change = np.where(beyond, 1, -1) * known
        self._doublings = np.clip(self._doublings + change, 0, _MOST_DOUBLINGS)
        return np.clip(np.where(known, surprise, 0.0), -bound, bound)

    def backtest(self, grid: Grid, values: Floats) -> Prediction:
        """Returns what a step for each tick gives."""
        return step_through(self, grid, values)

    def header(self) -> dict[str, Any]:
        """Returns what is no array."""
        return {"damping": self._damping}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns what was learned. The state is not stored: history brings it up to date."""
        return {
            "level_rate": self._level_rate,
            "trend_rate": self._trend_rate,
            "scale": self._scale,
        }


def restore(header: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> HoltBank:
    """Returns the bank that was stored. What comes from a database is checked, not trusted.

    Raises:
        ValueError: it is no such bank.
    """
    damping = header.get("damping")
    if not isinstance(damping, float) or not 0.0 < damping <= 1.0:
        raise ValueError(f"damping is {damping!r}, expected a number in (0, 1]")
    shape = tensors["scale"].shape if "scale" in tensors else ()
    level_rate, trend_rate, scale = (
        take_tensor(tensors, name, shape, np.float64)
        for name in ("level_rate", "trend_rate", "scale")
    )
    in_range = ((level_rate > 0) & (level_rate <= 1) & (trend_rate >= 0) & (trend_rate <= 1)).all()
    if scale.ndim != 1 or not in_range or not (scale > 0).all():
        raise ValueError("rates and scale do not describe a level with a trend")
    return HoltBank(level_rate=level_rate, trend_rate=trend_rate, scale=scale, damping=damping)
