"""How samples of different series are made comparable before a family learns from them."""

from __future__ import annotations

import numpy as np

from metricwatch.algorithms.base import FloatArray
from metricwatch.algorithms.robust import median, quantiles, spread
from metricwatch.resources.training import Scaling


def centre_and_scale(values: FloatArray, scaling: Scaling) -> tuple[FloatArray, FloatArray]:
    """Returns what to subtract from each series and what to divide it by then.

    Args:
        values: float64[S, T], NaN where there is no sample.
        scaling: robust (median and robust standard deviation), standard (mean and standard
            deviation), minmax (least and largest sample become 0 and 1), none.

    Returns:
        float64[S] each; the scale is above 0 also for a series that never changes.
    """
    series = len(values)
    match scaling:
        case Scaling.ROBUST:
            centre, scale = median(values), spread(values)
        case Scaling.STANDARD:
            count = np.maximum(np.count_nonzero(~np.isnan(values), axis=1), 1)
            centre = np.nan_to_num(values).sum(axis=1) / count
            deviation = np.nan_to_num(values - centre[:, None])
            scale = np.sqrt((deviation**2).sum(axis=1) / count)
        case Scaling.MINMAX:
            centre, largest = quantiles(values, 0.0, 1.0)
            scale = largest - centre
        case Scaling.NONE:
            return np.zeros(series), np.ones(series)
    centre = np.nan_to_num(centre)
    scale = np.nan_to_num(scale)
    return centre, np.where(scale > 0, scale, np.maximum(np.abs(centre), 1.0))
