"""Families of algorithms behind one protocol; a new family is one module and one entry here."""

from collections.abc import Mapping
from types import MappingProxyType

from metricwatch.algorithms.autoregressive import AUTOREGRESSIVE
from metricwatch.algorithms.base import (
    Bank,
    Family,
    FitStopped,
    OnlineBank,
    Prediction,
    Progress,
)
from metricwatch.algorithms.lstm import LSTM
from metricwatch.algorithms.seasonal import SEASONAL
from metricwatch.algorithms.zscore import ZSCORE

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {family.name: family for family in (SEASONAL, LSTM, AUTOREGRESSIVE, ZSCORE)}
)

__all__ = [
    "FAMILIES",
    "Bank",
    "Family",
    "FitStopped",
    "OnlineBank",
    "Prediction",
    "Progress",
]
