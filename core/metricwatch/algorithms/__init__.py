"""Families of algorithms behind one protocol; a new family is one module and one entry here.

Other packages add families through the entry point group `metricwatch.families`: each entry names
a `Family`, and its name is a domain and a word, such as `example.com/holtWinters`, so that it can
clash with nothing. A detector needs the same package as the trainer that used it.
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType

from metricwatch.algorithms.adaptive_threshold import ADAPTIVE_THRESHOLD
from metricwatch.algorithms.autoregressive import AUTOREGRESSIVE
from metricwatch.algorithms.base import (
    RESIDUAL,
    Bank,
    Family,
    FitStopped,
    Horizon,
    OnlineBank,
    Prediction,
    Progress,
    Stream,
    SystemBank,
)
from metricwatch.algorithms.boosted_trees import XGBOOST
from metricwatch.algorithms.ensemble import ENSEMBLE
from metricwatch.algorithms.extreme_learning import HELM
from metricwatch.algorithms.isolation_forest import ISOLATION_FOREST
from metricwatch.algorithms.kmeans import KMEANS
from metricwatch.algorithms.lstm import LSTM
from metricwatch.algorithms.random_forest import RANDOM_FOREST
from metricwatch.algorithms.seasonal import SEASONAL
from metricwatch.algorithms.subspace_pca import SUBSPACE_PCA
from metricwatch.algorithms.tcn import TCN
from metricwatch.algorithms.zscore import ZSCORE

ENTRY_POINTS = "metricwatch.families"

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (
            SEASONAL,
            LSTM,
            TCN,
            AUTOREGRESSIVE,
            ZSCORE,
            ADAPTIVE_THRESHOLD,
            SUBSPACE_PCA,
            ISOLATION_FOREST,
            KMEANS,
            RANDOM_FOREST,
            XGBOOST,
            HELM,
            ENSEMBLE,
        )
    }
)
"""The families of this package."""


class UnknownFamilyError(LookupError):
    """No such family is here; the message names those that are."""


@cache
def families() -> Mapping[str, Family]:
    """Returns every family, those of other packages included.

    Raises:
        TypeError: an entry point does not name a `Family` with the name of the entry.
    """
    found = dict(FAMILIES)
    for entry in entry_points(group=ENTRY_POINTS):
        family = entry.load()
        if not isinstance(family, Family) or family.name != entry.name or "/" not in entry.name:
            raise TypeError(
                f"entry point {entry.name} = {entry.value} must name a Family called "
                f"{entry.name!r}, a domain and a word such as example.com/holtWinters"
            )
        found[family.name] = family
    return MappingProxyType(found)


def family_named(name: str) -> Family:
    """Returns a family.

    Raises:
        UnknownFamilyError: no such family is installed.
        TypeError: as `families`, unless it is one of this package: a broken package of somebody
            else's takes none of ours down.
    """
    family = FAMILIES.get(name) or families().get(name)
    if family is None:
        raise UnknownFamilyError(f"family {name!r} is unknown here: {', '.join(families())} are")
    return family


__all__ = [
    "FAMILIES",
    "RESIDUAL",
    "Bank",
    "Family",
    "FitStopped",
    "Horizon",
    "OnlineBank",
    "Prediction",
    "Progress",
    "Stream",
    "SystemBank",
    "UnknownFamilyError",
    "families",
    "family_named",
]
