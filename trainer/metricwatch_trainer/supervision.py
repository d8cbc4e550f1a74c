"""The process around a training run: signals, verdict, exit code.

SIGTERM ends it at once. A fit cannot be interrupted in the middle of an array operation, so nobody
waits for its thread: nothing that it could still do would be kept.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import structlog

from metricwatch.store.clock import read_time
from metricwatch.store.pool import Database
from metricwatch.verdict import UNFINISHED, ExitCode, Outcome, Verdict
from metricwatch_trainer.refusal import Refusal, refusal_of
from metricwatch_trainer.settings import Settings
from metricwatch_trainer.training_run import TrainingRun

TERMINATION_LOG_VARIABLE = "METRICWATCH_TERMINATION_LOG"
_TERMINATION_LOG = "/dev/termination-log"


async def supervise(environment: Mapping[str, str]) -> ExitCode:
    """Runs one training run, leaves its verdict in the termination message, returns its code.

    When it was asked to stop it returns while the thread that learns may still be at work: the
    caller is to end the process without waiting.
    """
    log: Any = structlog.get_logger("metricwatch_trainer")
    stopping, at = Event(), _Whereabouts(environment)
    run = asyncio.ensure_future(_run(environment, stopping, at))
    loop = asyncio.get_running_loop()

    def stop() -> None:
        stopping.set()
        run.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    began = time.monotonic()
    try:
        code, verdict = ExitCode.TRAINED, await run
    except asyncio.CancelledError:
        if not stopping.is_set():
            raise
        code, verdict = ExitCode.STOPPED, _stopped()
    except Exception as error:  # noqa: BLE001 - here every failure becomes a verdict
        code, verdict = _failed(error, log, at.text)
    seconds = round(time.monotonic() - began, 3)
    version = environment.get("METRICWATCH_VERSION", "")
    verdict = verdict.model_copy(
        update={"seconds": seconds, "version": int(version) if version.isdecimal() else 0}
    )
    _leave(verdict, environment, log)
    log.info(
        "training run ended",
        outcome=verdict.outcome,
        reason=verdict.reason,
        why=verdict.message,
        exit_code=int(code),
        seconds=seconds,
    )
    return code


@dataclass(slots=True)
class _Whereabouts:
    """What a run is at. Who is killed says nothing more, so it is left in the termination message.

    Attributes:
        environment: of the process.
        text: what it is at, empty before anything was read.
    """

    environment: Mapping[str, str]
    text: str = ""

    def tell(self, text: str) -> None:
        """Takes note of what the run is at now."""
        self.text = text
        verdict = Verdict(outcome=Outcome.INCONCLUSIVE, reason=UNFINISHED, message=text, version=0)
        # Outside Kubernetes there may be no place for it: that is said at the end.
        with suppress(OSError):
            _termination_log(self.environment).write_bytes(verdict.encode())


async def _run(environment: Mapping[str, str], stopping: Event, at: _Whereabouts) -> Verdict:
    settings = Settings.from_environment(environment)
    database = Database(
        settings.database, application_name=f"metricwatch-trainer-v{settings.version}"
    )
    async with database:
        async with database.acquire() as connection:
            # Not ours: a window that ends minutes ahead of the samples would learn from nothing.
            now = await read_time(connection)
        run = TrainingRun(
            settings=settings,
            database=database,
            now=now,
            should_stop=stopping.is_set,
            tell=at.tell,
        )
        return await run.run()


def _failed(error: Exception, log: Any, at: str) -> tuple[ExitCode, Verdict]:
    refusal = refusal_of(error)
    if refusal is None:
        log.error("training run failed", exc_info=error)
        where = f" ({at})" if at else ""
        why = f"{type(error).__name__}: {error}{where}"
        refusal = Refusal(ExitCode.BUG, "InternalError", why)
    verdict = Verdict(
        outcome=refusal.outcome,
        reason=refusal.reason,
        message=f"{refusal}",
        version=0,
        retry_after_seconds=refusal.retry_after_seconds,
    )
    return refusal.code, verdict


def _stopped() -> Verdict:
    return Verdict(
        outcome=Outcome.INCONCLUSIVE,
        reason="Stopped",
        message="asked to stop; nothing was stored",
        version=0,
    )


def _leave(verdict: Verdict, environment: Mapping[str, str], log: Any) -> None:
    """Writes the termination message; outside Kubernetes there may be no place for it."""
    path = _termination_log(environment)
    try:
        path.write_bytes(verdict.encode())
    except OSError as error:
        log.warning("no termination message", path=str(path), why=error.strerror)


def _termination_log(environment: Mapping[str, str]) -> Path:
    return Path(environment.get(TERMINATION_LOG_VARIABLE) or _TERMINATION_LOG)
