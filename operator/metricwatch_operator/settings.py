"""The operator's settings, from environment variables, checked once before anything starts."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from metricwatch import __version__
from metricwatch.resources import Resources, Source
from metricwatch_operator.planning.config import Config, Placement

PREFIX = "METRICWATCH_"


class InvalidSettings(ValueError):
    """A setting is missing or cannot be used; the message names the variable."""


def _read_json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"is no JSON: {error}") from None


def _split(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


Words = Annotated[tuple[str, ...], BeforeValidator(_split)]
Image = Annotated[str, Field(min_length=1)]


class Settings(BaseModel):
    """Settings of the operator; a field `log_level` is the variable `METRICWATCH_LOG_LEVEL`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trainer_image: Image = Field(description="image of trainer Jobs")
    detector_image: Image = Field(description="image of detector Deployments")
    namespaces: Words = Field(
        default=(), description="namespaces to watch, separated by commas; empty: all of them"
    )
    pod_namespace: str = Field(default="default", description="where the Lease is")
    pod_name: str = Field(default_factory=socket.gethostname, description="this replica")
    lease_name: str = Field(default="metricwatch-operator", description="name of the Lease")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=8080, description="of /metrics, /healthz and /readyz"
    )
    workers: Annotated[int, Field(ge=1, le=256)] = Field(
        default=16, description="how many models are reconciled at the same time"
    )
    log_level: str = Field(default="info", description="debug, info, warning or error")
    database_secret: str = Field(
        default="",
        description="a Secret with the key url that exists in each namespace; empty: the operator "
        "makes one beside each model",
    )
    default_source: Annotated[Source, BeforeValidator(_read_json)] = Field(
        default_factory=Source, description="JSON: what a model's source leaves unset"
    )
    allowed_source_hosts: Words = Field(
        default=(),
        description="hosts that sources may have, like *.monitoring.svc, separated by commas; "
        "empty: all of them",
    )
    trainer_resources: Annotated[Resources, BeforeValidator(_read_json)] = Field(
        default_factory=Resources, description="JSON: requests and limits of trainer pods"
    )
    detector_resources: Annotated[Resources, BeforeValidator(_read_json)] = Field(
        default_factory=Resources, description="JSON: requests and limits of detector pods"
    )
    node_selector: Annotated[dict[str, str], BeforeValidator(_read_json)] = Field(
        default_factory=dict, description="JSON: node selector of trainer and detector pods"
    )
    tolerations: Annotated[tuple[dict[str, Any], ...], BeforeValidator(_read_json)] = Field(
        default=(), description="JSON: tolerations of trainer and detector pods"
    )
    priority_class_name: str = Field(default="", description="of trainer and detector pods")
    image_pull_policy: Annotated[str, Field(pattern="^(Always|IfNotPresent|Never)$")] = Field(
        default="IfNotPresent", description="of trainer and detector images"
    )
    image_pull_secrets: Words = Field(default=(), description="names, separated by commas")
    score_retention_days: Annotated[int, Field(ge=1, le=3650)] = Field(
        default=14, description="how long detectors keep scores"
    )
    resync_seconds: Annotated[float, Field(ge=1, le=3600)] = Field(
        default=15.0,
        description="how often the database is asked what changed without any event, and a model "
        "whose versions are on their way is looked at",
    )
    settle_seconds: Annotated[float, Field(ge=0, le=300)] = Field(
        default=3.0, description="how long to wait for more watches before a version is trained"
    )
    watches_settle_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        default=60.0,
        description="how long to wait for more watches when they are added to a model that serves",
    )
    concurrent_trainings: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=4, description="how many training runs of all models may be under way at once"
    )

    def config(self) -> Config:
        """What plans depend on."""
        default = Config(trainer_image=self.trainer_image, detector_image=self.detector_image)
        return Config(
            trainer_image=self.trainer_image,
            detector_image=self.detector_image,
            database_secret=self.database_secret,
            default_source=self.default_source,
            allowed_source_hosts=self.allowed_source_hosts,
            trainer_resources=_over(self.trainer_resources, default.trainer_resources),
            detector_resources=_over(self.detector_resources, default.detector_resources),
            placement=Placement(
                node_selector=self.node_selector,
                tolerations=self.tolerations,
                priority_class_name=self.priority_class_name,
                image_pull_policy=self.image_pull_policy,
                image_pull_secrets=self.image_pull_secrets,
            ),
            log_level=self.log_level,
            score_retention_days=self.score_retention_days,
            settle_seconds=self.settle_seconds,
            watches_settle_seconds=self.watches_settle_seconds,
            concurrent_trainings=self.concurrent_trainings,
            resync_seconds=self.resync_seconds,
            code_version=__version__,
        )


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings that an environment describes; empty variables count as unset.

    Raises:
        InvalidSettings: With one line for each variable that is wrong.
    """
    given = {
        name: environment[PREFIX + name.upper()]
        for name in Settings.model_fields
        if environment.get(PREFIX + name.upper())
    }
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        problems = error.errors()
        lines = [f"{PREFIX}{str(one['loc'][0]).upper()}: {one['msg']}" for one in problems]
        raise InvalidSettings("\n".join(lines)) from None


def _over(given: Resources, default: Mapping[str, Any]) -> Mapping[str, Any]:
    manifest = given.to_manifest()
    return {kind: {**default[kind], **manifest.get(kind, {})} for kind in ("requests", "limits")}
