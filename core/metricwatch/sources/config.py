"""Where to read: what a row holds about a source, and nothing secret."""

from __future__ import annotations

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from metricwatch.resources.source import SourceType

_URL = r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"


class SourceConfig(BaseModel):
    """One metrics server and how to reach it; credentials stay in files.

    Unknown fields are ignored: while the operator is newer than a running detector, the row it
    writes may say more than the detector can read.
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )

    type: SourceType = SourceType.PROMETHEUS
    url: Annotated[str, Field(pattern=rf"{_URL}|^$", max_length=2048)] = Field(
        default="", description="address without /api/v1 and without credentials"
    )
    tenant: Annotated[str, Field(pattern=r"^([0-9]{1,10}(:[0-9]{1,10})?)?$")] = Field(
        default="", description="accountID or accountID:projectID of a VictoriaMetrics cluster"
    )
    headers: dict[str, str] = Field(default_factory=dict, description="sent with every request")
    auth_directory: str | None = Field(
        default=None,
        description="where the Secret is mounted: username, password, token, ca.crt …",
    )
    auth_secret: str | None = Field(default=None, description="its name, for messages")
    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=30.0, description="how long the server may work on one query"
    )
    max_response_bytes: Annotated[int, Field(ge=1024)] = Field(
        default=128 * 1024 * 1024, description="an answer longer than this is not read further"
    )

    @model_validator(mode="after")
    def _has_an_address(self) -> Self:
        if self.type is not SourceType.SIMULATION and not self.url:
            raise ValueError(
                f"a source of type {self.type} needs a url, like http://prometheus.monitoring:9090"
            )
        try:
            urlsplit(self.url).port  # noqa: B018 - raises for a port above 65535
        except ValueError as error:
            raise ValueError(f"the url of the source is wrong: {error}") from error
        if self.tenant and self.type is not SourceType.VICTORIAMETRICS:
            raise ValueError("only a source of type victoriametrics has tenants")
        return self
