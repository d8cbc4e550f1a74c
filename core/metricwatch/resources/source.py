"""Where samples come from, and how a watch's source overrides its model's."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from metricwatch.resources.formats import ObjectName, ServerUrl
from metricwatch.resources.schema import ApiModel, Rule

_CREDENTIAL_HEADERS = ("authorization", "proxy-authorization", "cookie")


class SourceType(StrEnum):
    """What kind of server answers the queries."""

    PROMETHEUS = "prometheus"
    VICTORIAMETRICS = "victoriametrics"
    SIMULATION = "simulation"


class SecretName(ApiModel):
    """A Secret in the resource's namespace."""

    name: ObjectName = Field(description="name of the Secret, in the same namespace.")


class SecretKey(ApiModel):
    """One key of a Secret in the resource's namespace."""

    name: ObjectName = Field(description="name of the Secret, in the same namespace.")
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = Field(
        description="key in the Secret whose value is used."
    )


class Source(ApiModel):
    """A metrics server; what is unset comes from the model, then from the operator."""

    rules = (
        Rule(
            message="tenant needs type victoriametrics",
            cel="!has(self.tenant) || self.tenant == '' || !has(self.type) "
            "|| self.type == 'victoriametrics'",
            holds=lambda source: (
                not source.tenant or source.type in {None, SourceType.VICTORIAMETRICS}
            ),
        ),
    )

    url: ServerUrl | None = Field(
        default=None,
        description="url is the address of the server, like "
        "http://victoriametrics.monitoring:8428, without /api/v1 and without credentials. A "
        "source that sets its own url takes nothing from the one it overrides, so credentials "
        "never follow to another address.",
    )
    type: SourceType | None = Field(
        default=None,
        description="type says what kind of server it is: prometheus (the default), "
        "victoriametrics, or simulation (series computed in the process, for trying out).",
    )
    tenant: (
        Annotated[str, Field(pattern=r"^([0-9]{1,10}(:[0-9]{1,10})?)?$", max_length=21)] | None
    ) = Field(
        default=None,
        description="tenant is the accountID or accountID:projectID of a VictoriaMetrics "
        "cluster. Empty for a single node.",
    )
    auth_ref: SecretName | None = Field(
        default=None,
        description="authRef names a Secret with username and password, or token, and optionally "
        "ca.crt, tls.crt and tls.key. TLS certificates are always verified.",
    )
    headers: (
        Annotated[
            dict[str, Annotated[str, Field(max_length=1024, pattern=r"^[^\r\n\x00]*$")]],
            Field(max_length=16),
            Rule(
                message="header names are letters, digits and '-'; "
                "credentials belong into authRef",
                cel="self.all(name, name.matches('^[A-Za-z0-9-]{1,128}$') && "
                f"!(name.lowerAscii() in {list(_CREDENTIAL_HEADERS)}))",
                holds=lambda headers: all(_is_plain_header(name) for name in headers),
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="headers are sent with every request. They are stored as written: "
        "credentials belong into authRef.",
    )

    def over(self, base: "Source") -> "Source":
        """This source with what it leaves unset taken from `base`.

        A source with its own `url` takes nothing from `base`.
        """
        if self.url is not None:
            return self
        return base.model_copy(
            update={name: value for name, value in self if value is not None},
        )


def _is_plain_header(name: str) -> bool:
    is_word = 1 <= len(name) <= 128 and name.isascii() and name.replace("-", "a").isalnum()
    return is_word and name.lower() not in _CREDENTIAL_HEADERS
