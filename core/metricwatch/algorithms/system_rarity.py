"""How rare a deviation is for its own channel, in decades of probability.

Channels of one system have nothing in common but the time: a load that is always in motion stands
beside an error count that rests at zero for weeks. So sizes of deviations are compared with the
channel's own 0.95 and 0.99 quantiles. Beyond them the tail is taken for a power law whose slope is
the one between the two quantiles, drawn towards that of a normal distribution (Weissman 1978
extrapolates from order statistics in the same way; the drawing is a fixed shrinkage).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray

SHARES = (0.95, 0.99)
"""The quantiles of a channel's sizes that are kept, as logarithms."""
TINY = 1e-12
_OWN_WEIGHT = 0.6
# ln(q99 / q95) of the size of a normal deviate is 0.273, of an exponential one 0.430.
_USUAL_SPAN = 0.33
_LEAST_SPAN = 0.15
_LN5 = float(np.log(5.0))
_LN10 = float(np.log(10.0))
_AT_Q99 = 2.0


def slopes(quantiles: FloatArray) -> FloatArray:
    """Returns d ln(size) / d ln(1 / probability) of each tail, above 0.

    Args:
        quantiles: float64[..., 2, S], logarithms of the quantiles at `SHARES`.
    """
    span = quantiles[..., 1, :] - quantiles[..., 0, :]
    drawn = _OWN_WEIGHT * span + (1.0 - _OWN_WEIGHT) * _USUAL_SPAN
    return np.asarray(np.maximum(drawn, _LEAST_SPAN) / _LN5)


def rarity(log_sizes: FloatArray, quantiles: FloatArray) -> FloatArray:
    """Returns -log10 of the probability of so large a size: 2 at the 0.99 quantile.

    Below that it falls in proportion to the size, to 0 for no deviation at all; what is not rare
    needs no probability.

    Args:
        log_sizes: float64[..., S], NaN gives NaN.
        quantiles: float64[..., 2, S], logarithms.
    """
    over = log_sizes - quantiles[..., 1, :]
    beyond = over / (slopes(quantiles) * _LN10)
    return np.where(over > 0, _AT_Q99 + beyond, _AT_Q99 * np.exp(np.minimum(over, 0.0)))


def log_size(deviations: FloatArray) -> FloatArray:
    """Returns ln|deviation|, bounded below; NaN stays NaN."""
    return np.asarray(np.log(np.maximum(np.abs(deviations), TINY)))


def evidence_of(rarities: FloatArray) -> FloatArray:
    """Returns rarities as a size whose tail falls about as fast as that of ordinary residuals.

    Rarities are logarithms already; a calibrator that looks at logarithms again would find tails
    that end. A factor of 1.58 for each decade makes the ratio of the 0.99 and 0.95 quantiles that
    of a normal deviate.
    """
    return np.asarray(10.0 ** (rarities / 5.0))


def capped(rarities: NDArray[np.float64], most: float) -> FloatArray:
    """Returns rarities of at most `most`, 0 where nothing is known.

    No channel alone may outweigh a system: what is a thousand times its quantile is hardly more
    certain than what is ten times.
    """
    return np.minimum(np.nan_to_num(rarities, nan=0.0), most)
