"""The trainer as its own process, against real PostgreSQL and VictoriaMetrics."""

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.integration.metrics_servers import VictoriaMetrics
from tests.integration.postgres_fixture import Postgres
from tests.integration.store_rows import add_watch, make_anomaly

from metricwatch.artifact import unpack
from metricwatch.assignments import TrainingRequest
from metricwatch.resources.anomalymodel import VersionState
from metricwatch.store.anomalies import write_anomalies
from metricwatch.store.artifacts import read_artifacts
from metricwatch.store.metrics import register_series
from metricwatch.store.models import create_version, read_version, set_state, upsert_model
from metricwatch.store.pool import Database
from metricwatch.store.rows import AnomalyState, Version
from metricwatch.verdict import ExitCode, Outcome, Verdict, parse_verdict

SIMULATION = {"type": "simulation"}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a trainer process ended."""

    code: int
    verdict: Verdict
    lines: list[dict[str, Any]]
    output: str


def make_request(
    *queries: str,
    source: dict[str, Any] = SIMULATION,
    algorithm: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    interval: int = 300,
) -> dict[str, Any]:
    return {
        "algorithm": algorithm or {"type": "seasonal"},
        "training": {"window": "4d", "minSamples": 100} | (training or {}),
        "watches": [
            {
                "uid": f"watch-{number}",
                "namespace": "shop",
                "name": f"requests-{number}",
                "queries": [{"name": "", "expr": query}],
                "source": source,
                "intervalSeconds": interval,
                "maxSeries": 100,
            }
            for number, query in enumerate(queries, 1)
        ],
    }


class Trainer:
    """Adds versions of one model and trains them in processes of their own."""

    def __init__(self, database: Database, url: str, folder: Path) -> None:
        self.database = database
        self.folder = folder
        self.environment = {
            **os.environ,
            "METRICWATCH_DATABASE_URL": url,
            "METRICWATCH_MODEL_UID": "model-1",
            "METRICWATCH_VERSION": "1",
            "METRICWATCH_TERMINATION_LOG": str(folder / "termination-log"),
        }
        self.model_id = 0

    async def add(self, request: dict[str, Any], *, version: int = 1) -> None:
        row = TrainingRequest.from_row(request)
        async with self.database.acquire() as connection:
            self.model_id = await upsert_model(
                connection, uid="model-1", namespace="shop", name="checkout", generation=version
            )
            await create_version(
                connection,
                model_id=self.model_id,
                version=version,
                request=request,
                request_hash=row.fingerprint(),
            )

    async def start(self, **environment: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "metricwatch_trainer",
            env=self.environment | environment,
            stderr=asyncio.subprocess.PIPE,
        )

    async def wait(self, process: asyncio.subprocess.Process) -> Ended:
        _, errors = await process.communicate()
        output = errors.decode()
        verdict = parse_verdict((self.folder / "termination-log").read_text())
        assert verdict is not None, output
        assert process.returncode is not None
        lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        return Ended(code=process.returncode, verdict=verdict, lines=lines, output=output)

    async def train(self, request: dict[str, Any], **environment: str) -> Ended:
        await self.add(request)
        return await self.wait(await self.start(**environment))

    async def version(self) -> Version:
        async with self.database.acquire() as connection:
            return await read_version(connection, model_uid="model-1", version=1)

    async def chunks(self) -> list[Any]:
        version = await self.version()
        async with self.database.acquire() as connection:
            return [
                unpack(one.content, checksum=one.sha256.hex())
                async for one in read_artifacts(connection, version_id=version.id)
            ]


@pytest.fixture
async def trainer(database: Database, database_url: str, tmp_path: Path) -> Trainer:
    return Trainer(database, database_url, tmp_path)


async def test_a_seasonal_version_is_trained_and_stored(trainer: Trainer) -> None:
    ended = await trainer.train(make_request("simulation(series=4, seed=1)"))
    assert ended.code == ExitCode.TRAINED, ended.output
    assert ended.verdict.outcome is Outcome.SUCCESSFUL
    assert (ended.verdict.series, ended.verdict.version) == (4, 1)
    version = await trainer.version()
    assert version.trained_at is not None
    assert version.state is VersionState.TRAINING
    assert version.window_start is not None
    assert version.window_end is not None
    assert version.window_end - version.window_start == 4 * 86400 - 300
    assert version.data_hash is not None
    assert len(version.data_hash) == 32
    (chunk,) = await trainer.chunks()
    assert (chunk.family, chunk.series, chunk.interval) == ("seasonal", 4, 300)
    assert chunk.watch_uid == "watch-1"


async def test_the_report_says_for_each_series_what_was_learned(trainer: Trainer) -> None:
    ended = await trainer.train(make_request("simulation(series=3)", algorithm={"type": "auto"}))
    assert ended.code == ExitCode.TRAINED, ended.output
    report = (await trainer.version()).report
    assert report is not None
    assert report["requested"] == "auto"
    # One family for all is the version's; several are counted, each with its gain.
    assert sum(report["families"].values()) == report["trained"] == 3
    assert {row["family"] for row in report["series"]} == set(report["families"])
    # 15 % of the window are held back, and measured on.
    assert [row["samples"] for row in report["series"]] == [1152 - 173] * 3
    # The simulation has 3 % noise, and a daily rhythm that persistence follows at no cost.
    assert all(0 < row["rmse"] < 0.1 * 200 for row in report["series"])
    assert report["watches"][0]["found"] == 3
    assert report["seconds"]["total"] > 0


async def test_networks_are_trained_with_progress_in_the_log(trainer: Trainer) -> None:
    request = make_request(
        "simulation(series=2)",
        algorithm={"type": "lstm", "lstm": {"hidden": 8, "epochs": 3}},
    )
    ended = await trainer.train(request)
    assert ended.code == ExitCode.TRAINED, ended.output
    (chunk,) = await trainer.chunks()
    assert (chunk.family, chunk.series) == ("lstm", 2)
    told = [line for line in ended.lines if line["message"] == "fitting"]
    assert told[-1]["series"] == told[-1]["of"] == 2
    assert {"epoch", "epochs", "loss", "seconds_left"} <= told[-1].keys()


async def test_the_same_seed_and_history_give_the_same_artifact(trainer: Trainer) -> None:
    # An interval of a day keeps the window of both runs the same, unless midnight passes.
    request = make_request(
        "simulation(series=2)",
        algorithm={"type": "autoregressive"},
        training={"window": "2000d"},
        interval=86400,
    )
    contents = []
    for _ in range(2):
        ended = await trainer.train(request)
        assert ended.code == ExitCode.TRAINED, ended.output
        async with trainer.database.transaction() as connection:
            contents.append(await connection.fetchval("SELECT content FROM model_artifacts"))
            await connection.execute("UPDATE models SET trained_at = NULL")
    assert contents[0] == contents[1]


async def test_history_is_read_from_victoriametrics(
    trainer: Trainer, victoriametrics: VictoriaMetrics
) -> None:
    end = int(time.time()) // 300 * 300
    rng = np.random.default_rng(0)
    victoriametrics.import_text(
        f'trainer_shop{{pod="{pod}"}} {rng.normal(10 * pod, 1):.3f} {at * 1000}'
        for pod in (1, 2)
        for at in range(end - 2 * 86400, end + 1, 300)
    )
    victoriametrics.import_text(
        f'trainer_shop{{pod="3"}} {tick} {(end - 300 * tick) * 1000}' for tick in range(20)
    )
    request = make_request(
        "trainer_shop", source={"type": "victoriametrics", "url": victoriametrics.url}
    )
    ended = await trainer.train(request)
    assert ended.code == ExitCode.TRAINED, ended.output
    assert (ended.verdict.series, ended.verdict.left_out) == (2, 1)
    report = (await trainer.version()).report
    assert report is not None
    (left_out,) = [row for row in report["series"] if "leftOut" in row]
    assert left_out["labels"]["pod"] == "3"
    assert left_out["leftOut"]["reason"] == "TooFewSamples"


async def test_too_little_history_is_no_reason_to_try_again_soon(trainer: Trainer) -> None:
    ended = await trainer.train(
        make_request("simulation(series=2)", training={"minSamples": 100_000})
    )
    assert ended.code == ExitCode.DATA
    assert (ended.verdict.outcome, ended.verdict.reason) == (Outcome.FAILED, "TooLittleHistory")
    assert "has 1152 samples, training.minSamples asks for 100000" in ended.verdict.message
    assert ended.verdict.retry_after_seconds is not None
    assert (await trainer.version()).trained_at is None


async def test_a_query_without_series_is_said_so(
    trainer: Trainer, victoriametrics: VictoriaMetrics
) -> None:
    source = {"type": "victoriametrics", "url": victoriametrics.url}
    ended = await trainer.train(make_request("nothing_of_this_name", source=source))
    assert (ended.code, ended.verdict.reason) == (ExitCode.DATA, "NoSeries")


async def test_a_bad_query_is_the_requests_fault(
    trainer: Trainer, victoriametrics: VictoriaMetrics
) -> None:
    source = {"type": "victoriametrics", "url": victoriametrics.url}
    ended = await trainer.train(make_request("rate(http_requests[5m", source=source))
    assert (ended.code, ended.verdict.reason) == (ExitCode.REQUEST, "QueryRefused")
    assert "requests-1" in ended.verdict.message


async def test_one_bad_query_does_not_keep_another_watch_from_its_version(
    trainer: Trainer,
) -> None:
    ended = await trainer.train(make_request("simulation(series=2)", "simulation(what)"))
    assert ended.code == ExitCode.TRAINED, ended.output
    assert "learned 2 series (seasonal); watch requests-2: " in ended.verdict.message
    report = (await trainer.version()).report
    assert report is not None
    assert report["watches"][1]["problem"]["reason"] == "QueryRefused"


async def test_a_family_that_is_not_installed_is_the_requests_fault(trainer: Trainer) -> None:
    algorithm = {"type": "example.com/absent", "external": {"level": 1}}
    ended = await trainer.train(make_request("simulation(series=1)", algorithm=algorithm))
    assert (ended.code, ended.verdict.reason) == (ExitCode.REQUEST, "UnknownFamily")
    assert "install the package that brings example.com/absent" in ended.verdict.message


async def test_a_source_that_is_down_may_come_back(trainer: Trainer) -> None:
    source = {"type": "prometheus", "url": "http://127.0.0.1:9"}
    ended = await trainer.train(make_request("up", source=source))
    assert (ended.code, ended.verdict.reason) == (ExitCode.AWAY, "SourceUnavailable")
    assert (await trainer.version()).trained_at is None


async def test_a_missing_secret_may_still_be_made(trainer: Trainer, tmp_path: Path) -> None:
    source = {
        "type": "prometheus",
        "url": "http://127.0.0.1:9",
        "authDirectory": str(tmp_path / "absent"),
        "authSecret": "vm-credentials",
    }
    ended = await trainer.train(make_request("up", source=source))
    assert (ended.code, ended.verdict.reason) == (ExitCode.AWAY, "SecretMissing")
    assert "vm-credentials" in ended.verdict.message


async def test_a_database_that_is_down_may_come_back(trainer: Trainer, postgres: Postgres) -> None:
    await trainer.add(make_request("simulation(series=1)"))
    postgres.stop()
    ended = await trainer.wait(await trainer.start())
    assert (ended.code, ended.verdict.outcome) == (ExitCode.AWAY, Outcome.ERROR)
    assert "secret" not in ended.output


async def test_being_stopped_leaves_the_row_as_it_was(trainer: Trainer) -> None:
    await trainer.add(
        make_request(
            "simulation(series=60)",
            algorithm={"type": "lstm", "lstm": {"epochs": 1000, "patience": 1000}},
        )
    )
    process = await trainer.start()
    assert process.stderr is not None
    async for line in process.stderr:
        if b'"fitting"' in line:
            break
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(5):
        ended = await trainer.wait(process)
    assert (ended.code, ended.verdict.reason) == (ExitCode.STOPPED, "Stopped")
    version = await trainer.version()
    assert (version.trained_at, version.report, version.data_hash) == (None, None, None)
    assert await trainer.chunks() == []


async def test_a_version_that_was_trained_already_is_left_alone(trainer: Trainer) -> None:
    request = make_request("simulation(series=2)")
    assert (await trainer.train(request)).code == ExitCode.TRAINED
    before = await trainer.version()
    ended = await trainer.wait(await trainer.start())
    assert (ended.code, ended.verdict.reason) == (ExitCode.TRAINED, "AlreadyTrained")
    assert await trainer.version() == before


async def test_a_version_that_was_given_up_is_not_trained(trainer: Trainer) -> None:
    await trainer.add(make_request("simulation(series=2)"))
    async with trainer.database.acquire() as connection:
        await set_state(
            connection, model_id=trainer.model_id, version=1, state=VersionState.FAILED
        )
    ended = await trainer.wait(await trainer.start())
    assert (ended.code, ended.verdict.reason) == (ExitCode.REQUEST, "VersionSuperseded")


async def test_a_pod_learns_its_slice_only(trainer: Trainer) -> None:
    ended = await trainer.train(
        make_request("simulation(series=20)"), JOB_COMPLETION_INDEX="1", METRICWATCH_SHARDS="2"
    )
    assert ended.code == ExitCode.TRAINED, ended.output
    assert 0 < ended.verdict.series < 20


async def test_a_declared_outage_teaches_nothing(
    trainer: Trainer, victoriametrics: VictoriaMetrics
) -> None:
    end = int(time.time()) // 300 * 300
    outage = range(end - 86400, end - 43200)
    victoriametrics.import_text(
        f"trainer_outage {1000 if at in outage else 10 + at // 300 % 3} {at * 1000}"
        for at in range(end - 2 * 86400, end + 1, 300)
    )
    training = {
        "window": "2d",
        "exclude": [
            {"from": _rfc3339(outage.start), "to": _rfc3339(outage.stop), "reason": "outage"}
        ],
    }
    request = make_request(
        "trainer_outage",
        source={"type": "victoriametrics", "url": victoriametrics.url},
        training=training,
    )
    ended = await trainer.train(request)
    assert ended.code == ExitCode.TRAINED, ended.output
    (chunk,) = await trainer.chunks()
    expected = chunk.bank.step(end + 300, np.array([np.nan])).expected
    assert expected == pytest.approx(11.0, abs=1.0)
    assert chunk.scoring.typical()[0] < 5


async def test_recorded_anomalies_are_left_out_of_the_history(
    trainer: Trainer, database: Database
) -> None:
    await trainer.add(make_request("simulation(series=2)"))
    end = int(time.time()) // 300 * 300
    labels = (("__name__", "simulated_requests"), ("instance", "shop-00001"))
    async with database.acquire() as connection:
        watch = await add_watch(connection, trainer.model_id)
        metric = (await register_series(connection, watch_id=watch, labels=[labels]))[labels]
        anomaly = make_anomaly(
            metric,
            started_at=end - 2 * 86400,
            ended_at=end - 2 * 86400 + 43200,
            last_anomalous_at=end - 2 * 86400 + 43200,
            state=AnomalyState.RESOLVED,
        )
        await write_anomalies(connection, watch_id=watch, version=1, anomalies=[anomaly])
    ended = await trainer.wait(await trainer.start())
    assert ended.code == ExitCode.TRAINED, ended.output
    report = (await trainer.version()).report
    assert report is not None
    samples = {row["labels"]["instance"]: row["samples"] for row in report["series"]}
    learned = 1152 - 173
    assert samples["shop-00000"] == learned
    assert learned - 147 <= samples["shop-00001"] <= learned - 143


def _rfc3339(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
