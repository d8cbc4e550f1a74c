"""What a detector is told by its environment; names as in `docs/interfaces.md`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from metricwatch.store.errors import StoreMisconfigured
from metricwatch.store.location import DatabaseLocation


class SettingsError(ValueError):
    """A variable is missing or wrong; the message names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One model version, one shard of its series."""

    database: DatabaseLocation
    model_uid: str
    version: int
    shard: int = 0
    shards: int = 1
    port: int = 8080
    log_level: str = "info"
    score_retention_days: int = 14

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Reads and checks the variables.

        Raises:
            SettingsError: says which variable and what it must be.
        """
        shards = _number(environment, "METRICWATCH_SHARDS", default=1, least=1)
        return cls(
            database=_location(environment),
            model_uid=_required(environment, "METRICWATCH_MODEL_UID"),
            version=_number(environment, "METRICWATCH_VERSION", least=1),
            shard=_number(environment, "METRICWATCH_SHARD", default=0, most=shards - 1),
            shards=shards,
            port=_number(environment, "METRICWATCH_PORT", default=8080, most=65535),
            log_level=environment.get("METRICWATCH_LOG_LEVEL") or "info",
            score_retention_days=_number(
                environment, "METRICWATCH_SCORE_RETENTION_DAYS", default=14, least=1
            ),
        )


def _location(environment: Mapping[str, str]) -> DatabaseLocation:
    try:
        return DatabaseLocation.from_environment(environment)
    except StoreMisconfigured as error:
        raise SettingsError(str(error)) from error


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise SettingsError(f"{name} is not set")
    return value


def _number(
    environment: Mapping[str, str],
    name: str,
    *,
    default: int | None = None,
    least: int = 0,
    most: int | None = None,
) -> int:
    text = environment.get(name) or (str(default) if default is not None else "")
    limits = f"a whole number from {least}" + (f" to {most}" if most is not None else "")
    if not text:
        raise SettingsError(f"{name} is not set; it must be {limits}")
    if not text.isascii() or not text.isdigit():
        raise SettingsError(f"{name} is {text!r}; it must be {limits}")
    value = int(text)
    if value < least or (most is not None and value > most):
        raise SettingsError(f"{name} is {value}; it must be {limits}")
    return value
