"""Where anomalies are announced: exactly one channel in each entry."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from metricwatch.resources.formats import ServerUrl, Word
from metricwatch.resources.schema import ApiModel, Rule
from metricwatch.resources.source import SecretKey, SecretName

_CHANNELS = ("telegram", "webhook", "alertmanager")


class Moment(StrEnum):
    """When an anomaly is announced."""

    START = "start"
    END = "end"


EndpointUrl = Annotated[
    str, Field(max_length=2048, pattern=r"^https?://[A-Za-z0-9._:\[\]-]+([/?][!-\"$-~]*)?$")
]


class Telegram(ApiModel):
    """A Telegram chat."""

    chat_id: Annotated[str, Field(max_length=64, pattern=r"^(-?[0-9]+|@[A-Za-z0-9_]+)$")] = Field(
        description='chatId of the chat, in quotes: "-100123" or "@channel".'
    )
    token_ref: SecretKey = Field(description="tokenRef names the Secret's key with the bot token.")


class Webhook(ApiModel):
    """An HTTP endpoint."""

    url: EndpointUrl = Field(description="url that each announcement is posted to as JSON.")
    auth_ref: SecretName | None = Field(
        default=None,
        description="authRef names a Secret with username and password, or token, and optionally "
        "ca.crt, tls.crt and tls.key.",
    )


class Alertmanager(ApiModel):
    """A Prometheus Alertmanager."""

    url: ServerUrl = Field(description="url of the Alertmanager, like http://alertmanager:9093.")
    auth_ref: SecretName | None = Field(
        default=None,
        description="authRef names a Secret with username and password, or token, and optionally "
        "ca.crt, tls.crt and tls.key.",
    )


class Notification(ApiModel):
    """One channel and what it is told."""

    rules = (
        Rule(
            message="set exactly one of telegram, webhook and alertmanager",
            cel="[" + ", ".join(f"has(self.{name})" for name in _CHANNELS) + "]"
            ".exists_one(is_set, is_set)",
            holds=lambda entry: sum(getattr(entry, name) is not None for name in _CHANNELS) == 1,
        ),
    )

    name: Word = Field(description="name of the entry, unique in the watch.")
    telegram: Telegram | None = Field(
        default=None, description="telegram announces in a Telegram chat."
    )
    webhook: Webhook | None = Field(default=None, description="webhook posts JSON to a URL.")
    alertmanager: Alertmanager | None = Field(
        default=None, description="alertmanager sends alerts to an Alertmanager."
    )
    # Not `on`: kubectl reads YAML 1.1, where an unquoted `on` is the boolean true.
    when: Annotated[tuple[Moment, ...], Field(min_length=1, max_length=2)] = Field(
        default=(Moment.START, Moment.END),
        description="when lists the moments that are announced: start, end.",
    )
    min_severity: Annotated[str, Field(max_length=63)] = Field(
        default="", description="minSeverity from which anomalies are announced; empty: all."
    )
    template: Annotated[str, Field(max_length=16384)] = Field(
        default="",
        description="template of the text (Jinja2, sandboxed); empty: the channel's own.",
    )
