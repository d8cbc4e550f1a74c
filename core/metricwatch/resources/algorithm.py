"""Which family learns, and its parameters: at most the one block that matches the type.

A family of another package is named by a domain and a word, and its parameters are free in form:
only the trainer, which has the package, can check them.
"""

import re
from enum import StrEnum
from typing import Annotated

from pydantic import Field, JsonValue, WithJsonSchema
from pydantic.alias_generators import to_snake

from metricwatch.resources.formats import PositiveDuration
from metricwatch.resources.schema import ApiModel, Rule


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

_BUILT_IN = tuple(member.value for member in AlgorithmType)
AlgorithmName = Annotated[
    str,
    Field(max_length=128),
    Rule(
        message=f"must be one of {', '.join(_BUILT_IN)}, or name a family of another package by "
        "a domain and a word, like example.com/holt",
        cel=f"self in {list(_BUILT_IN)} || self.matches('{EXTERNAL_PATTERN}')",
        holds=lambda name: name in _BUILT_IN or re.fullmatch(EXTERNAL_PATTERN, name) is not None,
    ),
]
ExternalParameters = Annotated[
    dict[str, JsonValue],
    Field(max_length=64),
    WithJsonSchema(
        {"type": "object", "maxProperties": 64, "x-kubernetes-preserve-unknown-fields": True}
    ),
]


class SeasonalParameters(ApiModel):
    """A profile per period, with its own spread."""

    periods: Annotated[tuple[PositiveDuration, ...], Field(min_length=1, max_length=4)] = Field(
        default=("1d", "1w"),
        validate_default=True,
        description="periods after which the metric repeats itself. One that the history does not "
        "cover twice is left out.",
    )


class LstmParameters(ApiModel):
    """One small recurrent network per series, on top of a ridge autoregression."""

    hidden: Annotated[int, Field(ge=2, le=256)] = Field(
        default=32, description="hidden is the number of units of each network."
    )
    epochs: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=30,
        description="epochs is the most passes over the history; each series keeps its best one.",
    )
    learning_rate: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.005, description="learningRate of the first step; it falls along a cosine."
    )
    segments: Annotated[int, Field(ge=1, le=256)] = Field(
        default=16,
        description="segments into which a history is cut; they are learned from side by side.",
    )
    chunk_length: Annotated[int, Field(ge=2, le=1024)] = Field(
        default=31,
        description="chunkLength is how many samples back the gradient reaches.",
    )
    ridge_lags: Annotated[int, Field(ge=1, le=512)] = Field(
        default=32,
        description="ridgeLags is how many past samples the autoregression under it sees.",
    )
    patience: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=10,
        description="patience is after how many epochs without improvement training ends.",
    )


class AutoregressiveParameters(ApiModel):
    """A ridge regression on the latest samples."""

    lags: Annotated[int, Field(ge=1, le=512)] = Field(
        default=32, description="lags is how many past samples are looked at."
    )
    ridge: Annotated[float, Field(gt=0, le=1e9)] = Field(
        default=1.0, description="ridge is the strength of the penalty on the weights."
    )


class ZscoreParameters(ApiModel):
    """Distance from a moving mean in moving standard deviations."""

    half_life: PositiveDuration = Field(
        default="6h",
        validate_default=True,
        description="halfLife after which a sample counts half in mean and spread.",
    )


class LaterParameters(ApiModel):
    """Parameters of a family that is announced but not built yet: none so far."""


_FAMILIES = tuple(name for name in _BUILT_IN if name != AlgorithmType.AUTO)
type_matches_block = Rule(
    message="set at most the parameter block that matches type",
    cel=" && ".join(f"(!has(self.{name}) || self.type == '{name}')" for name in _FAMILIES),
    holds=lambda algorithm: all(
        getattr(algorithm, to_snake(name)) is None or algorithm.type == name for name in _FAMILIES
    ),
)
external_needs_its_type = Rule(
    message="external needs the type of another package's family, like example.com/holt",
    cel="!has(self.external) || self.type.contains('/')",
    holds=lambda algorithm: algorithm.external is None or "/" in algorithm.type,
)


def _later(name: str) -> LaterParameters | None:
    block: LaterParameters | None = Field(
        default=None, description=f"{name} holds the parameters of type {name}."
    )
    return block


class Algorithm(ApiModel):
    """The family that learns, and its parameters."""

    rules = (type_matches_block, external_needs_its_type)

    type: AlgorithmName = Field(
        default=AlgorithmType.AUTO.value,
        description=f"type of the family that learns: {', '.join(_BUILT_IN)}, or the name of one "
        "that another package adds to the images of trainer and detector, like example.com/holt. "
        "auto lets the trainer choose. randomForest, xgboost and helm learn from labels.",
    )
    lstm: LstmParameters | None = Field(
        default=None, description="lstm holds the parameters of type lstm."
    )
    seasonal: SeasonalParameters | None = Field(
        default=None, description="seasonal holds the parameters of type seasonal."
    )
    autoregressive: AutoregressiveParameters | None = Field(
        default=None, description="autoregressive holds the parameters of type autoregressive."
    )
    zscore: ZscoreParameters | None = Field(
        default=None, description="zscore holds the parameters of type zscore."
    )
    tcn: LaterParameters | None = _later("tcn")
    adaptive_threshold: LaterParameters | None = _later("adaptiveThreshold")
    subspace_pca: LaterParameters | None = _later("subspacePca")
    isolation_forest: LaterParameters | None = _later("isolationForest")
    kmeans: LaterParameters | None = _later("kmeans")
    ensemble: LaterParameters | None = _later("ensemble")
    random_forest: LaterParameters | None = _later("randomForest")
    xgboost: LaterParameters | None = _later("xgboost")
    helm: LaterParameters | None = _later("helm")
    external: ExternalParameters | None = Field(
        default=None,
        description="external holds the parameters of a family of another package, in the form "
        "that it asks for. The trainer checks them.",
    )
