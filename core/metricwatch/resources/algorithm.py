"""Which family learns, and its parameters: at most the one block that matches the type."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field
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


_FAMILIES = tuple(member.value for member in AlgorithmType if member is not AlgorithmType.AUTO)
type_matches_block = Rule(
    message="set at most the parameter block that matches type",
    cel=" && ".join(f"(!has(self.{name}) || self.type == '{name}')" for name in _FAMILIES),
    holds=lambda algorithm: all(
        getattr(algorithm, to_snake(name)) is None or algorithm.type == name for name in _FAMILIES
    ),
)


def _later(name: str) -> LaterParameters | None:
    block: LaterParameters | None = Field(
        default=None, description=f"{name} holds the parameters of type {name}."
    )
    return block


class Algorithm(ApiModel):
    """The family that learns, and its parameters."""

    rules = (type_matches_block,)

    type: AlgorithmType = Field(
        default=AlgorithmType.AUTO,
        description="type of the family that learns. auto lets the trainer choose. "
        "randomForest, xgboost and helm learn from labels.",
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
