"""Detection policy: when a score becomes an anomaly. Changing it trains nothing."""

from enum import StrEnum
from itertools import pairwise
from typing import Annotated

from pydantic import Field

from metricwatch.durations import Duration
from metricwatch.resources.formats import Cron, PositiveDuration, TimeZone, Word
from metricwatch.resources.schema import ApiModel, Rule


class Direction(StrEnum):
    """On which side of the expected value a sample can be anomalous."""

    BOTH = "both"
    ABOVE = "above"
    BELOW = "below"


class MissingData(StrEnum):
    """What it means when no samples come."""

    IGNORE = "ignore"
    ANOMALY = "anomaly"


class MinDeviation(ApiModel):
    """A deviation that is too small to matter, however rare."""

    absolute: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="absolute deviation from the expected value, in the metric's unit.",
    )
    relative: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="relative deviation, as a share of the expected value."
    )


class Samples(ApiModel):
    """How many of the latest samples must be anomalous."""

    rules = (
        Rule(
            message="of so many samples no more can be anomalous: lower anomalous, or raise of",
            cel="self.anomalous <= self.of",
            holds=lambda samples: samples.anomalous <= samples.of,
        ),
    )

    anomalous: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1, description="anomalous is how many samples must be anomalous."
    )
    of: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1, description="of is among how many of the latest samples."
    )


class Maintenance(ApiModel):
    """A recurring time in which no anomaly opens."""

    schedule: Cron = Field(
        description="schedule of its beginnings, a cron line in timeZone, like '0 2 * * 0'."
    )
    time_zone: TimeZone = Field(
        default="UTC", description="timeZone of schedule, like Europe/Berlin."
    )
    duration: PositiveDuration = Field(description="duration of each occurrence.")


class Severity(ApiModel):
    """A name for scores from a limit on."""

    at_least: Annotated[float, Field(ge=1, le=1e6)] = Field(
        description="atLeast is the peak score from which the name applies; 1 is the threshold."
    )
    name: Word = Field(description="name of the severity, like warning.")


_SEVERITY_RULES = (
    Rule(
        message="severity must be listed by rising atLeast",
        cel="self.map(s, s.atLeast).isSorted() "
        "&& self.all(s, self.exists_one(other, other.atLeast == s.atLeast))",
        holds=lambda levels: all(low.at_least < high.at_least for low, high in pairwise(levels)),
    ),
    Rule(
        message="severity names must be unique",
        cel="self.all(s, self.exists_one(other, other.name == s.name))",
        holds=lambda levels: len({level.name for level in levels}) == len(levels),
    ),
)


class Detection(ApiModel):
    """When a score becomes an anomaly."""

    false_alarms_per_week: Annotated[float, Field(gt=0, le=10_000)] = Field(
        default=0.5,
        description="falseAlarmsPerWeek is the sensitivity: the budget of false alarms of a "
        "series. More finds more.",
    )
    direction: Direction = Field(
        default=Direction.BOTH,
        description="direction in which a deviation counts: both, above or below.",
    )
    min_deviation: MinDeviation = Field(
        default=MinDeviation(),
        description="minDeviation from the expected value; a smaller one never counts.",
    )
    min_duration: Duration = Field(
        default="0s",
        validate_default=True,
        description="minDuration that a series must be anomalous before an anomaly opens.",
    )
    samples: Samples = Field(
        default=Samples(),
        description="samples that must be anomalous, like 3 of 5, before an anomaly opens.",
    )
    collective_after: PositiveDuration = Field(
        default="10m",
        validate_default=True,
        description="collectiveAfter is how long a point anomaly lasts before it is collective.",
    )
    cooldown: Duration = Field(
        default="5m",
        validate_default=True,
        description="cooldown without anomalous samples before an anomaly is resolved.",
    )
    missing: MissingData = Field(
        default=MissingData.IGNORE,
        description="missing says what no data means: ignore (nothing) or anomaly.",
    )
    missing_after: PositiveDuration = Field(
        default="5m",
        validate_default=True,
        description="missingAfter is how long samples stay away before they are missing.",
    )
    maintenance: Annotated[tuple[Maintenance, ...], Field(max_length=32)] = Field(
        default=(), description="maintenance lists recurring times in which no anomaly opens."
    )
    severity: Annotated[
        tuple[Severity, ...], Field(min_length=1, max_length=8), *_SEVERITY_RULES
    ] = Field(
        default=(Severity(at_least=1, name="warning"), Severity(at_least=3, name="critical")),
        description="severity gives names to scores, by rising atLeast.",
    )
