"""The trainer with families of other packages: searches that are kept, labels, what is refused."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from tests.integration.store_rows import add_watch, make_anomaly
from tests.integration.test_trainer_run import Trainer, make_request

from metricwatch.series import Labels
from metricwatch.store.anomalies import write_anomalies
from metricwatch.store.artifacts import read_artifacts
from metricwatch.store.metrics import register_series
from metricwatch.store.pool import Database
from metricwatch.store.rows import AnomalyState
from metricwatch.verdict import ExitCode
from metricwatch_dev.paths import REPOSITORY
from metricwatch_trainer.tuning_storage import SCHEMA, close_storage, forget_studies, open_storage

HOLT = "example.com/holt"
# Wants to see seven samples of the second series labelled, and their values.
LABELLED = """
from dataclasses import replace
import numpy as np
from metricwatch.algorithms.zscore import ZSCORE

def fit(values, grid, parameters=None, *, labels=None, **more):
    seen = labels.sum(axis=1).tolist()
    assert seen == [0, 7], seen
    assert not np.isnan(values[labels]).any()
    return ZSCORE.fit(values, grid, **more)

FAMILY = replace(
    ZSCORE, name="example.com/labelled", fit=fit, cheap=False, learns_from_labels=True
)
"""
SHOP_1: Labels = (("__name__", "simulated_requests"), ("instance", "shop-00001"))


@pytest.fixture
async def trainer(database: Database, database_url: str, tmp_path: Path) -> Trainer:
    """A trainer whose image has two packages with a family each."""
    site = tmp_path / "site"
    info = site / "families-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: families\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(
        "[metricwatch.families]\n"
        f"{HOLT} = metricwatch_holt:HOLT\nexample.com/labelled = labelled:FAMILY\n"
    )
    (site / "labelled.py").write_text(LABELLED)
    trainer = Trainer(database, database_url, tmp_path)
    paths = [str(site), str(REPOSITORY / "examples" / "family-holt")]
    inherited = os.environ.get("PYTHONPATH")
    trainer.environment["PYTHONPATH"] = os.pathsep.join(paths + [inherited] * bool(inherited))
    return trainer


def make_search(*, trials: int = 6, timeout: str = "2m", **request: Any) -> dict[str, Any]:
    tuning = {"enabled": True, "trials": trials, "timeout": timeout}
    # With the rates given a fit is one pass over the history; a search tries damping alone.
    algorithm = {"type": HOLT, "external": {"levelRate": 0.3, "trendRate": 0.05}}
    return make_request("simulation(series=2)", algorithm=algorithm, **request) | {
        "tuning": tuning
    }


async def families_of(trainer: Trainer) -> set[str]:
    version = await trainer.version()
    async with trainer.database.acquire() as connection:
        return {one.family async for one in read_artifacts(connection, version_id=version.id)}


async def tuning_of(trainer: Trainer) -> dict[str, Any]:
    report = (await trainer.version()).report
    assert report is not None
    tuning: dict[str, Any] = report["watches"][0]["tuning"]
    return tuning


async def test_a_family_of_another_package_is_trained_with_its_parameters(
    trainer: Trainer,
) -> None:
    algorithm = {"type": HOLT, "external": {"damping": 0.5}}
    ended = await trainer.train(make_request("simulation(series=2)", algorithm=algorithm))
    assert ended.code == ExitCode.TRAINED, ended.output
    assert await families_of(trainer) == {HOLT}
    report = (await trainer.version()).report
    assert report is not None
    assert report["families"] == {HOLT: 2}


async def test_parameters_it_cannot_use_are_the_requests_fault(trainer: Trainer) -> None:
    algorithm = {"type": HOLT, "external": {"dampin": 0.5}}
    ended = await trainer.train(make_request("simulation(series=2)", algorithm=algorithm))
    assert (ended.code, ended.verdict.reason) == (ExitCode.REQUEST, "InvalidParameters")
    assert "spec.algorithm.external.dampin" in ended.verdict.message


async def test_a_search_tells_what_it_tries_and_the_report_what_it_brought(
    trainer: Trainer,
) -> None:
    ended = await trainer.train(make_search())
    assert ended.code == ExitCode.TRAINED, ended.output
    told = [line for line in ended.lines if line["message"] == "tuning"]
    assert [line["trial"] for line in told] == [1, 2, 3, 4, 5, 6]
    tuning = await tuning_of(trainer)
    assert tuning["complete"] + tuning["pruned"] == 6
    assert (tuning["family"], tuning["failed"]) == (HOLT, 0)
    assert tuning["gain"] == pytest.approx(tuning["best"] - tuning["baseline"], abs=1e-3)
    assert ("parameters" in tuning) == tuning["isBetter"]


async def test_a_search_that_was_killed_goes_on_with_what_was_tried(trainer: Trainer) -> None:
    await trainer.add(make_search(trials=12))
    process = await trainer.start()
    assert process.stderr is not None
    seen = 0
    async for line in process.stderr:
        seen += b'"message":"tuning"' in line.replace(b": ", b":")
        if seen == 4:
            break
    process.kill()
    await process.wait()
    ended = await trainer.wait(await trainer.start())
    assert ended.code == ExitCode.TRAINED, ended.output
    tuning = await tuning_of(trainer)
    assert tuning["complete"] + tuning["pruned"] == 12
    tried_now = [line for line in ended.lines if line["message"] == "tuning"]
    assert len(tried_now) <= 8


async def test_a_search_ends_when_its_time_is_up(trainer: Trainer) -> None:
    began = time.monotonic()
    ended = await trainer.train(make_search(trials=10_000, timeout="8s"))
    assert ended.code == ExitCode.TRAINED, ended.output
    assert time.monotonic() - began < 60
    tuning = await tuning_of(trainer)
    assert 0 < tuning["complete"] + tuning["pruned"] < 10_000


async def test_studies_are_deleted_when_they_are_of_no_more_use(
    trainer: Trainer, database: Database, database_url: str
) -> None:
    assert (await trainer.train(make_search(trials=1))).code == ExitCode.TRAINED

    def leftover(*names: str, model_uid: str, but: int | None) -> list[str]:
        storage = open_storage(database_url)
        assert storage is not None
        for name in names:
            optuna.create_study(storage=storage, study_name=name)
        forget_studies(storage, model_uid=model_uid, but=but)
        left = sorted(study.study_name for study in storage.get_all_studies())
        close_storage(storage)
        return left

    assert await asyncio.to_thread(leftover, model_uid="model-2", but=None) == []
    names = ["model-1/1/w/0", "model-1/2/w/0", "model-1/21/w/0", "model-11/1/w/0"]
    left = await asyncio.to_thread(leftover, *names, model_uid="model-1", but=2)
    assert left == ["model-1/2/w/0", "model-11/1/w/0"]
    left = await asyncio.to_thread(leftover, model_uid="model-1", but=None)
    assert left == ["model-11/1/w/0"]
    async with database.acquire() as connection:
        others = await connection.fetchval(
            "SELECT count(*) FROM pg_tables WHERE tablename = 'studies' AND schemaname != $1",
            SCHEMA,
        )
    assert others == 0


async def test_a_user_that_may_make_no_schema_searches_in_memory(
    trainer: Trainer, database: Database, database_url: str
) -> None:
    async with database.acquire() as connection:
        await connection.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    address = database_url.partition("@")[2]
    assert await asyncio.to_thread(open_storage, f"postgresql://guest:guest@{address}") is None


async def test_recorded_anomalies_are_the_labels_of_a_family_that_wants_them(
    trainer: Trainer, database: Database
) -> None:
    await trainer.add(
        make_request("simulation(series=2)", algorithm={"type": "example.com/labelled"})
    )
    end = int(time.time()) // 300 * 300
    async with database.acquire() as connection:
        watch = await add_watch(connection, trainer.model_id)
        metric = (await register_series(connection, watch_id=watch, labels=[SHOP_1]))[SHOP_1]
        anomaly = make_anomaly(
            metric,
            started_at=end - 86400,
            ended_at=end - 86400 + 6 * 300,
            last_anomalous_at=end - 86400 + 5 * 300,
            state=AnomalyState.RESOLVED,
        )
        await write_anomalies(connection, watch_id=watch, version=1, anomalies=[anomaly])
    ended = await trainer.wait(await trainer.start())
    assert ended.code == ExitCode.TRAINED, ended.output
    report = (await trainer.version()).report
    assert report is not None
    # Labelled samples are shown to the family, not left out.
    assert [row["samples"] for row in report["series"]] == [1152, 1152]


async def test_without_any_label_it_is_said_what_to_do(trainer: Trainer) -> None:
    ended = await trainer.train(
        make_request("simulation(series=2)", algorithm={"type": "example.com/labelled"})
    )
    assert (ended.code, ended.verdict.reason) == (ExitCode.DATA, "NoLabels")
    assert "train with another algorithm first, such as auto" in ended.verdict.message
    assert ended.verdict.retry_after_seconds is None
