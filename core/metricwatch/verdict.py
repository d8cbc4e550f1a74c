"""What a training run tells the operator: its exit code and its termination message.

The only channel between a trainer pod and the operator. Kubernetes keeps at most 4096 bytes of a
termination message, so it carries a verdict and a sentence; everything else is a row.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

TERMINATION_MESSAGE_BYTES = 4096
UNFINISHED = "Unfinished"
"""The reason of a verdict that a run leaves on its way: who is killed leaves no other."""


class ExitCode(IntEnum):
    """How a training run ended, for the Job's pod failure policy."""

    TRAINED = 0
    DATA = 10
    """The data does not allow it; only other data or another request helps."""
    REQUEST = 11
    """The request is wrong; only another request helps."""
    AWAY = 20
    """Source, Secret or database could not be reached; trying again helps."""
    BUG = 70
    """Nothing the user did."""
    STOPPED = 143
    """Asked to stop by SIGTERM."""


class Outcome(StrEnum):
    """A verdict, with the distinction between a bad result and none (after Argo Rollouts)."""

    SUCCESSFUL = "Successful"
    FAILED = "Failed"
    ERROR = "Error"
    INCONCLUSIVE = "Inconclusive"


class Verdict(BaseModel):
    """The termination message of a training run."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )

    outcome: Outcome
    reason: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=64)]
    message: str
    version: int
    series: int = 0
    left_out: int = 0
    seconds: float = 0.0
    retry_after_seconds: float | None = None

    def encode(self) -> bytes:
        """Returns JSON that fits a termination message; a long sentence is cut, never the rest."""
        encoded = self.model_dump_json(by_alias=True).encode()
        sentence = self.message
        while len(encoded) > TERMINATION_MESSAGE_BYTES:
            sentence = sentence[: len(sentence) * 3 // 4]
            cut = self.model_copy(update={"message": f"{sentence}…"})
            encoded = cut.model_dump_json(by_alias=True).encode()
        return encoded


def parse_verdict(text: str) -> Verdict | None:
    """Returns the verdict in a termination message, or None when there is none to read.

    A pod that was killed leaves no message, and an image that is not ours may leave any.

    >>> parse_verdict("Killed") is None
    True
    """
    try:
        return Verdict.model_validate_json(text)
    except ValidationError:
        return None
