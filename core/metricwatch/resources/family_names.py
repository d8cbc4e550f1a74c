"""Names of families: those of this package, and those that other packages bring.

A family of another package is named by a domain and a word, and its parameters are free in form:
only the trainer, which has the package, can check them.
"""

import re
from enum import StrEnum
from typing import Annotated

from pydantic import Field, JsonValue, WithJsonSchema

from metricwatch.resources.schema import Rule


class AlgorithmType(StrEnum):
    """Families of algorithms; `auto` leaves the choice to the trainer."""

    AUTO = "auto"
    LSTM = "lstm"
    TCN = "tcn"
    SEASONAL = "seasonal"
    AUTOREGRESSIVE = "autoregressive"
    ZSCORE = "zscore"
    ADAPTIVE_THRESHOLD = "adaptiveThreshold"
    SUBSPACE_PCA = "subspacePca"
    ISOLATION_FOREST = "isolationForest"
    KMEANS = "kmeans"
    ENSEMBLE = "ensemble"
    RANDOM_FOREST = "randomForest"
    XGBOOST = "xgboost"
    HELM = "helm"


NETWORKS = (AlgorithmType.LSTM, AlgorithmType.TCN)
"""Families that can be one for all series."""

EXTERNAL_PATTERN = r"^[a-z0-9][-a-z0-9.]*[a-z0-9]/[a-zA-Z][-a-zA-Z0-9]*$"
"""Names of families of other packages, as in the entry point group `metricwatch.families`."""

BUILT_IN = tuple(member.value for member in AlgorithmType)
"""Every name that needs no other package."""
AlgorithmName = Annotated[
    str,
    Field(max_length=128),
    Rule(
        message=f"must be one of {', '.join(BUILT_IN)}, or name a family of another package by "
        "a domain and a word, like example.com/holt",
        cel=f"self in {list(BUILT_IN)} || self.matches('{EXTERNAL_PATTERN}')",
        holds=lambda name: name in BUILT_IN or re.fullmatch(EXTERNAL_PATTERN, name) is not None,
    ),
]
ExternalParameters = Annotated[
    dict[str, JsonValue],
    Field(max_length=64),
    WithJsonSchema(
        {"type": "object", "maxProperties": 64, "x-kubernetes-preserve-unknown-fields": True}
    ),
]
