"""Why a training run ends without a version, and what the operator makes of it.

What helps decides the exit code: other data, another request, or trying again. Everything that is
none of these is a bug.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from metricwatch.resources.conditions import Reason
from metricwatch.sources import SourceError, SourceUnavailable
from metricwatch.store.errors import RowMissing, StoreError, TransitionRefused
from metricwatch.verdict import ExitCode, Outcome
from metricwatch_trainer.report import explain_nothing_learned
from metricwatch_trainer.settings import SettingsError

_AGAIN_SECONDS = 900.0


class Refusal(Exception):
    """The run cannot succeed, for a reason that is known.

    Attributes:
        code: exit code.
        reason: one CamelCase word for a condition.
        retry_after_seconds: when other data may be there.
    """

    def __init__(
        self,
        code: ExitCode,
        reason: str,
        message: str,
        *,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds

    @property
    def outcome(self) -> Outcome:
        """A bad result, or none at all."""
        return Outcome.ERROR if self.code in (ExitCode.AWAY, ExitCode.BUG) else Outcome.FAILED


def refusal_of(error: Exception) -> Refusal | None:
    """Returns the refusal that an error amounts to, None for a bug."""
    match error:
        case Refusal():
            return error
        case SourceError():
            return _of_source(error)
        case RowMissing() | TransitionRefused():
            return Refusal(ExitCode.REQUEST, "VersionSuperseded", f"{error}")
        case StoreError() if error.retryable:
            return Refusal(ExitCode.AWAY, error.reason, f"{error}")
        case SettingsError():
            return Refusal(ExitCode.BUG, "SettingsInvalid", f"{error}")
        case _:
            return None


def invalid_request(error: ValidationError) -> Refusal:
    """Returns the refusal of a request that this release cannot read."""
    problems = "; ".join(
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
    )
    return Refusal(
        ExitCode.REQUEST, "RequestInvalid", f"the training request cannot be read: {problems}"
    )


def _of_source(error: SourceError) -> Refusal:
    wait = error.retry_after if isinstance(error, SourceUnavailable) else None
    code = ExitCode.AWAY if error.retryable else ExitCode.REQUEST
    return Refusal(code, error.reason, f"{error}", retry_after_seconds=wait)


def nothing_learned(report: Mapping[str, Any]) -> Refusal:
    """Returns why there is no version: wrong queries alone, no labels, or too little data.

    Args:
        report: of the run, all its pods together.
    """
    message = explain_nothing_learned(report)
    watches = report["watches"]
    problems = [one["problem"] for one in watches if one.get("problem") is not None]
    if len(problems) == len(watches):
        reason = problems[0]["reason"]
        code = ExitCode.DATA if reason == Reason.NO_LABELS else ExitCode.REQUEST
        return Refusal(code, reason, message)
    return Refusal(
        ExitCode.DATA,
        "TooLittleHistory" if any(one["found"] for one in watches) else "NoSeries",
        message,
        retry_after_seconds=_AGAIN_SECONDS,
    )
