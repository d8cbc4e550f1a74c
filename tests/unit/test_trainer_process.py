"""Settings, processors, progress and the meaning of failures."""

import asyncio
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import CapturingLogger

from metricwatch.algorithms import Progress
from metricwatch.sources import SecretMissing, SourceRefused, SourceUnavailable
from metricwatch.store.errors import (
    RowMissing,
    SchemaMismatch,
    StoreError,
    StoreMisconfigured,
    StoreUnavailable,
)
from metricwatch.store.rows import WHOLE, Slice
from metricwatch.verdict import UNFINISHED, ExitCode, Outcome, Verdict, parse_verdict
from metricwatch_trainer import supervision
from metricwatch_trainer.processors import usable_processors
from metricwatch_trainer.progress import ProgressLog
from metricwatch_trainer.refusal import refusal_of
from metricwatch_trainer.settings import Phase, Settings, SettingsError
from metricwatch_trainer.training_run import TrainingRun

ENVIRONMENT = {
    "METRICWATCH_DATABASE_URL": "postgresql://localhost/metrics",
    "METRICWATCH_MODEL_UID": "uid",
    "METRICWATCH_VERSION": "3",
}


def test_a_pod_of_an_indexed_job_takes_its_slice_from_the_index() -> None:
    settings = Settings.from_environment(
        ENVIRONMENT | {"JOB_COMPLETION_INDEX": "1", "METRICWATCH_SHARDS": "2"}
    )
    assert (settings.version, settings.shard, settings.shards) == (3, 1, 2)


def test_an_explicit_shard_wins_over_the_index() -> None:
    settings = Settings.from_environment(
        ENVIRONMENT
        | {"JOB_COMPLETION_INDEX": "1", "METRICWATCH_SHARD": "0", "METRICWATCH_SHARDS": "2"}
    )
    assert settings.shard == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"METRICWATCH_MODEL_UID": ""}, "METRICWATCH_MODEL_UID is not set"),
        ({"METRICWATCH_VERSION": "latest"}, "METRICWATCH_VERSION is 'latest'"),
        ({"METRICWATCH_SHARD": "2", "METRICWATCH_SHARDS": "2"}, "no shard 2 of 2"),
        ({"METRICWATCH_PHASE": "serch"}, "METRICWATCH_PHASE is 'serch', expected search or train"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named(change: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.from_environment(ENVIRONMENT | change)


def test_a_pod_that_searches_looks_at_all_series() -> None:
    slices = {"JOB_COMPLETION_INDEX": "1", "METRICWATCH_SHARDS": "2"}
    learner = Settings.from_environment(ENVIRONMENT | slices)
    searcher = Settings.from_environment(ENVIRONMENT | slices | {"METRICWATCH_PHASE": "search"})
    assert (learner.phase, learner.part) == (Phase.TRAIN, Slice(2, 1))
    assert (searcher.phase, searcher.part) == (Phase.SEARCH, WHOLE)


class NoDatabase(nullcontext[None]):
    """One that is open and holds nothing."""

    def acquire(self) -> nullcontext[None]:
        return nullcontext()


def test_a_bug_says_what_the_run_was_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    told: list[str | None] = []

    async def fail(self: TrainingRun) -> Verdict:
        self.tell("at 25 series of watch latency")
        left = parse_verdict(log.read_text())
        told.append(left.reason if left else None)
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(TrainingRun, "run", fail)

    async def midnight(connection: object) -> int:
        return 0

    monkeypatch.setattr(supervision, "Database", lambda *_, **__: NoDatabase())
    monkeypatch.setattr(supervision, "read_time", midnight)
    environment = ENVIRONMENT | {supervision.TERMINATION_LOG_VARIABLE: str(log)}
    code = asyncio.run(supervision.supervise(environment))
    verdict = parse_verdict(log.read_text())
    assert verdict is not None
    assert (code, told) == (ExitCode.BUG, [UNFINISHED])
    assert verdict.message == (
        "ZeroDivisionError: division by zero (at 25 series of watch latency)"
    )


def test_an_environment_without_a_database_is_refused() -> None:
    with pytest.raises(StoreMisconfigured):
        Settings.from_environment({"METRICWATCH_MODEL_UID": "uid", "METRICWATCH_VERSION": "1"})


def control_groups(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


def test_a_limit_of_half_a_processor_leaves_one(tmp_path: Path) -> None:
    groups = control_groups(tmp_path)
    (groups / "cpu.max").write_text("50000 100000\n")
    assert usable_processors(groups) == 1


def test_a_limit_of_old_control_groups_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("100000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_processors(tmp_path) == 1


@pytest.mark.parametrize("text", ["max 100000", "nonsense", ""])
def test_without_a_limit_all_processors_are_usable(tmp_path: Path, text: str) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert usable_processors(tmp_path) == usable_processors(tmp_path / "absent") >= 1


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (SourceRefused("parse error"), ExitCode.REQUEST, "QueryRefused"),
        (SourceUnavailable("refused"), ExitCode.AWAY, "SourceUnavailable"),
        (SecretMissing("no token"), ExitCode.AWAY, "SecretMissing"),
        (StoreUnavailable("refused"), ExitCode.AWAY, "StoreUnavailable"),
        (SchemaMismatch("older"), ExitCode.AWAY, "StoreSchemaMismatch"),
        (RowMissing("gone"), ExitCode.REQUEST, "VersionSuperseded"),
        (SettingsError("no uid"), ExitCode.BUG, "SettingsInvalid"),
    ],
)
def test_what_helps_decides_the_exit_code(error: Exception, code: ExitCode, reason: str) -> None:
    refusal = refusal_of(error)
    assert refusal is not None
    assert (refusal.code, refusal.reason) == (code, reason)
    assert (refusal.outcome is Outcome.FAILED) == (code in (ExitCode.DATA, ExitCode.REQUEST))


def test_a_server_that_names_a_time_is_asked_again_then() -> None:
    refusal = refusal_of(SourceUnavailable("busy", retry_after=30))
    assert refusal is not None
    assert refusal.retry_after_seconds == 30


@pytest.mark.parametrize("error", [KeyError("x"), StoreError("syntax error"), MemoryError()])
def test_everything_else_is_a_bug(error: Exception) -> None:
    assert refusal_of(error) is None


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def told() -> Any:
    logger = CapturingLogger()
    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        logger_factory=lambda *_: logger,
        cache_logger_on_first_use=False,
    )
    yield lambda: [json.loads(call.args[0]) for call in logger.calls]
    structlog.configure(**before)


def test_progress_is_written_at_most_every_two_seconds_but_always_at_the_end(told: Any) -> None:
    clock = Clock()
    tell = ProgressLog(clock=clock).fitting("latency", before=5, of=15)
    for second, series in ((0.0, 1), (1.0, 2), (2.5, 3), (2.6, 10)):
        clock.now = second
        tell(Progress(family="lstm", series=series, of=10, epoch=1, epochs=4, seconds_left=1.23))
    assert [line["series"] for line in told()] == [6, 8, 15]
    assert told()[0] == {
        "event": "fitting",
        "watch": "latency",
        "family": "lstm",
        "series": 6,
        "of": 15,
        "epoch": 1,
        "epochs": 4,
        "seconds_left": 1.2,
    }


def test_reading_is_told_in_ticks(told: Any) -> None:
    tell = ProgressLog(clock=Clock()).reading("latency")
    tell(10, 100)
    tell(20, 100)
    tell(100, 100)
    assert [line["ticks"] for line in told()] == [10, 100]
