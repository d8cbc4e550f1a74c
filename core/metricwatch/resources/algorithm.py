"""Which family learns, and its parameters: at most the one block that matches the type."""

from typing import Annotated

from pydantic import Field
from pydantic.alias_generators import to_camel, to_snake

from metricwatch.resources.family_names import (
    BUILT_IN,
    AlgorithmName,
    AlgorithmType,
    ExternalParameters,
)
from metricwatch.resources.formats import PositiveDuration
from metricwatch.resources.schema import ApiModel, Rule
from metricwatch.resources.seasonal import SeasonalParameters as SeasonalParameters


class LstmParameters(ApiModel):
    """One small recurrent network per series, on top of a ridge autoregression."""

    hidden: Annotated[int, Field(ge=2, le=256)] = Field(
        default=32, description="hidden is the number of units of each network."
    )
    epochs: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=20,
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
        default=8,
        description="patience is after how many epochs without improvement training ends.",
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="dropout is the share of units that is left out at random while it learns.",
    )
    shared: bool = Field(
        default=False,
        description="shared lets all series share the recurrent weights; how a series enters and "
        "is read out stays its own.",
    )


class TcnParameters(ApiModel):
    """One small convolutional network per series, on top of a ridge autoregression."""

    channels: Annotated[int, Field(ge=2, le=128)] = Field(
        default=16, description="channels is the width of each layer."
    )
    layers: Annotated[int, Field(ge=1, le=10)] = Field(
        default=6,
        description="layers of each network: it looks at 2 to the power of layers samples.",
    )
    epochs: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=20,
        description="epochs is the most passes over the history; each series keeps its best one.",
    )
    learning_rate: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.005, description="learningRate of the first step; it falls along a cosine."
    )
    segments: Annotated[int, Field(ge=1, le=256)] = Field(
        default=4,
        description="segments into which a history is cut; they are learned from side by side.",
    )
    chunk_length: Annotated[int, Field(ge=2, le=1024)] = Field(
        default=63,
        description="chunkLength is how many samples of each segment go into a step of learning.",
    )
    ridge_lags: Annotated[int, Field(ge=1, le=512)] = Field(
        default=32,
        description="ridgeLags is how many past samples the autoregression under it sees.",
    )
    patience: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=8,
        description="patience is after how many epochs without improvement training ends.",
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="dropout is the share of channels that is left out at random while it learns.",
    )
    shared: bool = Field(
        default=False,
        description="shared lets all series share the weights of the layers; how a series enters "
        "and is read out stays its own.",
    )


class AutoregressiveParameters(ApiModel):
    """A ridge regression on the latest samples."""

    lags: Annotated[int, Field(ge=1, le=512)] = Field(
        default=32, description="lags is how many past samples are looked at."
    )
    ridge: Annotated[float, Field(gt=0, le=1e9)] = Field(
        default=1.0, description="ridge is the strength of the penalty on the weights."
    )


class AdaptiveThresholdParameters(ApiModel):
    """How far out a sample lies in the metric's own distribution, either tail by itself."""

    tail: Annotated[float, Field(ge=0.001, le=0.25)] = Field(
        default=0.05,
        description="tail is the share of samples whose distance from the median is the width of "
        "a tail. Less looks further out and needs a longer history.",
    )
    memory: PositiveDuration = Field(
        default="7d",
        validate_default=True,
        description="memory of the tails: how long samples count, 500 of them at least.",
    )


class SubspacePcaParameters(ApiModel):
    """Windows of samples against the subspace in which ordinary ones lie."""

    window: Annotated[int, Field(ge=8, le=256)] | None = Field(
        default=None,
        description="window is how many samples are looked at together, at most a quarter of the "
        "history. Left out: a twentieth of the history, 16 to 32.",
    )
    components: Annotated[int, Field(ge=1, le=64)] = Field(
        default=10,
        description="components that span the subspace, at most a third of the window.",
    )


class ZscoreParameters(ApiModel):
    """Distance from a moving mean in moving standard deviations."""

    half_life: PositiveDuration = Field(
        default="6h",
        validate_default=True,
        description="halfLife after which a sample counts half in the mean; in the spread it "
        "counts half after 28 of them.",
    )


WindowLength = Annotated[int, Field(ge=8, le=256)]
_WINDOW = Field(
    default=None,
    description="window is how many samples are looked at together; shorter where the history "
    "has less than twenty times as many. Unset, it is 64, or a day where that is less.",
)

_LABELLED_WINDOW = Field(
    default=None,
    description="window is how many samples are looked at together; shorter where the history "
    "has less than twenty times as many. Unset, it is 16.",
)


class IsolationForestParameters(ApiModel):
    """A small isolation forest for each series, on features of the latest samples."""

    window: WindowLength | None = _WINDOW
    trees: Annotated[int, Field(ge=4, le=128)] = Field(
        default=24, description="trees of each series; memory and time grow with them."
    )


class KmeansParameters(ApiModel):
    """Distance to the nearest of the ordinary kinds of windows of each series."""

    window: WindowLength | None = _WINDOW
    clusters: Annotated[int, Field(ge=1, le=32)] | None = Field(
        default=None,
        description="clusters of each series. Unset, there are more of them the longer the "
        "history is, up to 8.",
    )
    trim: Annotated[float, Field(ge=0, le=0.5)] = Field(
        default=0.02,
        description="trim is the share of the history's windows, the farthest from every "
        "centre, that moves no centre.",
    )


class RandomForestParameters(ApiModel):
    """One random forest for all series of a bank, grown from labelled anomalies."""

    window: WindowLength | None = _LABELLED_WINDOW
    trees: Annotated[int, Field(ge=4, le=512)] = Field(
        default=64, description="trees of the forest; time grows with them."
    )
    depth: Annotated[int, Field(ge=1, le=16)] = Field(
        default=8, description="depth is the most questions that a tree asks."
    )
    least_leaf: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=5, description="leastLeaf is the fewest labelled windows that an answer rests on."
    )


class XgboostParameters(ApiModel):
    """Boosted trees for all series of a bank, grown from labelled anomalies."""

    window: WindowLength | None = _LABELLED_WINDOW
    rounds: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=80, description="rounds of boosting, one tree each; time grows with them."
    )
    depth: Annotated[int, Field(ge=1, le=10)] = Field(
        default=4, description="depth is the most questions that a tree asks."
    )
    learning_rate: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.1, description="learningRate is how much of each tree is believed."
    )


class HelmParameters(ApiModel):
    """A hierarchical extreme learning machine for all series, taught by labelled anomalies."""

    window: WindowLength | None = _LABELLED_WINDOW
    layers: Annotated[tuple[Annotated[int, Field(ge=2, le=512)], ...], Field(max_length=4)] = (
        Field(
            default=(32, 32),
            description="layers of autoencoders that refine the features, with the units of each.",
        )
    )
    hidden: Annotated[int, Field(ge=2, le=2048)] = Field(
        default=256, description="hidden is the number of random units that the answer rests on."
    )
    ridge: Annotated[float, Field(gt=0, le=1e9)] = Field(
        default=1.0, description="ridge is the strength of the penalty on the read-out."
    )


_MEMBERS = (
    "difference",
    "autoregressive",
    "seasonal",
    "subspace_pca",
    "level",
    "lstm",
    "tcn",
    "isolation_forest",
    "kmeans",
    "adaptive_threshold",
)


class EnsembleParameters(ApiModel):
    """Families that vote on each sample; those that are on by default cost little."""

    rules = (
        Rule(
            message="at least one member must vote: difference, autoregressive, level, …",
            cel=" || ".join(f"self.{to_camel(name)}" for name in _MEMBERS),
            holds=lambda ensemble: any(getattr(ensemble, name) for name in _MEMBERS),
        ),
    )

    difference: bool = Field(
        default=True, description="difference lets each sample be held against the one before."
    )
    autoregressive: bool = Field(
        default=True, description="autoregressive lets a linear forecast vote, and its sums."
    )
    seasonal: bool = Field(
        default=True, description="seasonal lets the distance from the usual at this hour vote."
    )
    subspace_pca: bool = Field(
        default=True, description="subspacePca lets the shape of the latest samples vote."
    )
    level: bool = Field(
        default=True, description="level lets steps against the latest hours vote."
    )
    lstm: bool = Field(default=False, description="lstm lets a recurrent network vote.")
    tcn: bool = Field(default=False, description="tcn lets a convolutional network vote.")
    isolation_forest: bool = Field(
        default=False, description="isolationForest lets a forest on window features vote."
    )
    kmeans: bool = Field(
        default=False, description="kmeans lets distances between window features vote."
    )
    adaptive_threshold: bool = Field(
        default=False, description="adaptiveThreshold lets the distribution of the level vote."
    )
    weights: Annotated[dict[str, Annotated[float, Field(ge=0, le=100)]], Field(max_length=16)] = (
        Field(
            default={},
            description="weights of the votes by member, like {seasonal: 2}; 1 for the others.",
        )
    )

    @property
    def has_networks(self) -> bool:
        """Whether a member takes long to fit."""
        return self.lstm or self.tcn


_FAMILIES = tuple(name for name in BUILT_IN if name != AlgorithmType.AUTO)
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


class Algorithm(ApiModel):
    """The family that learns, and its parameters."""

    rules = (type_matches_block, external_needs_its_type)

    type: AlgorithmName = Field(
        default=AlgorithmType.AUTO.value,
        description=f"type of the family that learns: {', '.join(BUILT_IN)}, or the name of one "
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
    tcn: TcnParameters | None = Field(
        default=None, description="tcn holds the parameters of type tcn."
    )
    adaptive_threshold: AdaptiveThresholdParameters | None = Field(
        default=None,
        description="adaptiveThreshold holds the parameters of type adaptiveThreshold.",
    )
    subspace_pca: SubspacePcaParameters | None = Field(
        default=None, description="subspacePca holds the parameters of type subspacePca."
    )
    isolation_forest: IsolationForestParameters | None = Field(
        default=None, description="isolationForest holds the parameters of type isolationForest."
    )
    kmeans: KmeansParameters | None = Field(
        default=None, description="kmeans holds the parameters of type kmeans."
    )
    ensemble: EnsembleParameters | None = Field(
        default=None, description="ensemble holds the parameters of type ensemble."
    )
    random_forest: RandomForestParameters | None = Field(
        default=None, description="randomForest holds the parameters of type randomForest."
    )
    xgboost: XgboostParameters | None = Field(
        default=None, description="xgboost holds the parameters of type xgboost."
    )
    helm: HelmParameters | None = Field(
        default=None, description="helm holds the parameters of type helm."
    )
    external: ExternalParameters | None = Field(
        default=None,
        description="external holds the parameters of a family of another package, in the form "
        "that it asks for. The trainer checks them.",
    )
