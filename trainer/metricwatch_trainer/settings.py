"""What a trainer pod is told by its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from metricwatch.store.location import DatabaseLocation
from metricwatch.store.rows import Slice


class SettingsError(Exception):
    """The environment lacks what a trainer needs, or holds what it cannot use."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One training run.

    Attributes:
        database: where rows are.
        model_uid: Kubernetes uid of the model.
        version: number of the version to train.
        shard: slice of the series that is this pod's.
        shards: number of slices.
    """

    database: DatabaseLocation
    model_uid: str
    version: int
    shard: int
    shards: int

    @property
    def part(self) -> Slice:
        """Its slice of the series."""
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
        )
        if not settings.shard < settings.shards:
            raise SettingsError(f"there is no shard {settings.shard} of {settings.shards}")
        return settings


def _whole(name: str, text: str | None) -> int:
    if text is None or not text.isdecimal():
        raise SettingsError(f"{name} is {text!r}, expected a whole number")
    return int(text)
