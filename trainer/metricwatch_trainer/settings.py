"""What a trainer pod is told by its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from metricwatch.store.location import DatabaseLocation
from metricwatch.store.rows import WHOLE, Slice


class SettingsError(Exception):
    """The environment lacks what a trainer needs, or holds what it cannot use."""


class Phase(StrEnum):
    """What a pod is for."""

    # Look for parameters, together with other pods, before any learns with them.
    SEARCH = "search"
    # Learn a slice of the series.
    TRAIN = "train"


@dataclass(frozen=True, slots=True)
class Settings:
    """One training run.

    Attributes:
        database: where rows are.
        model_uid: Kubernetes uid of the model.
        version: number of the version to train.
        shard: slice of the series that is this pod's, or its number among those that search.
        shards: number of slices, or of pods that search.
        phase: what this pod is for.
    """

    database: DatabaseLocation
    model_uid: str
    version: int
    shard: int
    shards: int
    phase: Phase = Phase.TRAIN

    @property
    def part(self) -> Slice:
        """Its slice of the series; who searches looks at all."""
        if self.phase is Phase.SEARCH:
            return WHOLE
        return Slice(shards=self.shards, shard=self.shard)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Returns the settings in `environment`.

        Raises:
            SettingsError: a variable is missing or makes no sense; the message names it.
            StoreMisconfigured: the environment names no database.
        """
        uid = environment.get("METRICWATCH_MODEL_UID", "")
        if not uid:
            raise SettingsError("METRICWATCH_MODEL_UID is not set: which model is to be trained?")
        shard = environment.get("METRICWATCH_SHARD") or environment.get("JOB_COMPLETION_INDEX")
        settings = cls(
            database=DatabaseLocation.from_environment(environment),
            model_uid=uid,
            version=_whole("METRICWATCH_VERSION", environment.get("METRICWATCH_VERSION")),
            shard=_whole("METRICWATCH_SHARD", shard or "0"),
            shards=_whole("METRICWATCH_SHARDS", environment.get("METRICWATCH_SHARDS") or "1"),
            phase=_phase(environment.get("METRICWATCH_PHASE") or Phase.TRAIN),
        )
        if not settings.shard < settings.shards:
            raise SettingsError(f"there is no shard {settings.shard} of {settings.shards}")
        return settings


def _phase(text: str) -> Phase:
    try:
        return Phase(text)
    except ValueError as error:
        known = " or ".join(Phase)
        raise SettingsError(f"METRICWATCH_PHASE is {text!r}, expected {known}") from error


def _whole(name: str, text: str | None) -> int:
    if text is None or not text.isdecimal():
        raise SettingsError(f"{name} is {text!r}, expected a whole number")
    return int(text)
