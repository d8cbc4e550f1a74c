"""What the operator asks of detectors and trainers, as rows hold it: JSON with camelCase names.

The operator writes these, the other two only read them; both sides use the types here, so a row is
validated once, where it is read. What has no influence on what is learned stays out of the
fingerprint of a training request: changing a schedule, a Secret or a detection policy trains
nothing.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from metricwatch.resources.algorithm import Algorithm
from metricwatch.resources.detection import Detection
from metricwatch.resources.training import Scope, Training, Tuning
from metricwatch.sources.config import SourceConfig

# What may differ between two requests that teach the same thing.
_TRAINING_WITHOUT_INFLUENCE = (
    "schedule",
    "timeZone",
    "timeout",
    "parallelism",
    "resources",
    "retrainOnDrift",
)
_SOURCE_WITHOUT_INFLUENCE = ("authDirectory", "authSecret", "timeoutSeconds", "maxResponseBytes")
_WATCH_WITHOUT_INFLUENCE = ("namespace", "name", "delaySeconds")
_TUNING_WITHOUT_INFLUENCE = ("enabled", "timeout", "parallelism")


class _Row(BaseModel):
    """JSON of a row. Unknown fields are ignored: who wrote it may be newer than who reads it."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )

    @classmethod
    def from_row(cls, value: Any) -> Self:
        """From the JSON of a row.

        Raises:
            pydantic.ValidationError: it is not of this type.
        """
        # A row may be of a newer release, also deep inside: what is unknown here is left out.
        return cls.model_validate(value, extra="ignore")

    def to_row(self) -> dict[str, Any]:
        """The JSON for a row, complete with defaults, so that a row means the same for ever."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class WatchQuery(_Row):
    """One query of a watch.

    Attributes:
        name: becomes the label `query`; empty when the watch has a single nameless query.
    """

    name: str = ""
    expr: Annotated[str, Field(min_length=1)]


class WatchedData(_Row):
    """Which samples a watch is about: the part of it that training and detection share.

    Attributes:
        group_by: labels of a system: series that agree on them belong together. Empty, with scope
            multivariate: all series of the watch are one system.
    """

    queries: Annotated[tuple[WatchQuery, ...], Field(min_length=1)]
    source: SourceConfig
    interval_seconds: Annotated[int, Field(ge=1)]
    delay_seconds: Annotated[int, Field(ge=0)] = 0
    max_series: Annotated[int, Field(ge=1)] = 1000
    group_by: tuple[str, ...] = ()


class WatchSettings(WatchedData):
    """A watch as a detector needs it (`watches.settings`)."""

    system: str
    detection: Detection = Detection()
    suspend: bool = False


class TrainingWatch(WatchedData):
    """A watch as a trainer needs it."""

    uid: Annotated[str, Field(min_length=1)]
    namespace: str
    name: str


class TrainingRequest(_Row):
    """What one version is to be trained on (`models.request`)."""

    algorithm: Algorithm = Algorithm()
    scope: Scope = Scope.PER_SERIES
    training: Training = Training()
    tuning: Tuning = Tuning()
    watches: Annotated[tuple[TrainingWatch, ...], Field(min_length=1)]

    def fingerprint(self) -> str:
        """Equal for two requests that teach the same thing; the order of the watches is no matter.

        SHA-256 in hexadecimal over canonical JSON (`models.request_hash`).
        """
        return self._fingerprint

    def __copy__(self) -> Self:
        """A copy, which `model_copy` may make another request of: it works out its own hash."""
        copied = super().__copy__()
        copied.__dict__.pop("_fingerprint", None)
        return copied

    @cached_property
    def _fingerprint(self) -> str:
        """Worked out once: a plan asks of each version whether it was trained for this."""
        row = self.to_row()
        _forget(row["training"], _TRAINING_WITHOUT_INFLUENCE)
        _forget(row["tuning"], _TUNING_WITHOUT_INFLUENCE)
        if not self.tuning.enabled:
            # As if there were none: an upgrade that brings the field trains nothing anew.
            _forget(row, ("tuning",))
        for watch in row["watches"]:
            _forget(watch, _WATCH_WITHOUT_INFLUENCE)
            _forget(watch["source"], _SOURCE_WITHOUT_INFLUENCE)
            if not watch["groupBy"]:
                _forget(watch, ("groupBy",))
        row["watches"].sort(key=lambda watch: str(watch["uid"]))
        canonical = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def _forget(value: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        value.pop(name, None)
