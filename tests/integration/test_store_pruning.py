import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from tests.integration.store_rows import NOW, add_model, add_version, make_artifact, make_world

from metricwatch.store.artifacts import read_artifacts
from metricwatch.store.connection import Connection
from metricwatch.store.errors import RowMissing, TransitionRefused
from metricwatch.store.health import read_health, record_health
from metricwatch.store.partitions import DAY_SECONDS
from metricwatch.store.pool import Database
from metricwatch.store.pruning import BATCH_SERIES, prune_versions
from metricwatch.store.retention import delete_model
from metricwatch.store.rows import WHOLE, HealthState, TakeOver, WatchHealth
from metricwatch.store.scores import Scores, write_scores
from metricwatch.store.serving import set_serving
from metricwatch.store.studies import forget_studies
from metricwatch_trainer.tuning_storage import close_storage, open_storage, study_name


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    async with database.acquire() as acquired:
        yield acquired


async def add_versions(connection: Connection, model_id: int, *states: str) -> None:
    """Versions 1, 2, … in these states."""
    for version, state in enumerate(states, 1):
        row_id = await add_version(connection, model_id, version)
        if state == "Serving":
            await connection.execute("UPDATE models_info SET serving_version = $1", version)
        await connection.execute("UPDATE models SET state = $2 WHERE id = $1", row_id, state)


async def versions_of(connection: Connection) -> list[int]:
    rows = await connection.fetch("SELECT version FROM models ORDER BY version")
    return [row["version"] for row in rows]


async def scored_versions(connection: Connection) -> dict[int, int]:
    rows = await connection.fetch(
        "SELECT version, count(*) AS rows FROM prediction_errors GROUP BY version"
    )
    return {row["version"]: row["rows"] for row in rows}


def make_scores(metrics: tuple[int, ...], *, days: int = 1) -> Scores:
    times = NOW + DAY_SECONDS * np.arange(days)
    return Scores(
        np.repeat(metrics, days), np.tile(times, len(metrics)), 1, 1, 1, 1, 1, 1, anomalous=False
    )


async def test_pruning_keeps_the_newest_that_are_over_and_what_is_in_use(
    database: Database, connection: Connection
) -> None:
    model_id = await add_model(connection)
    await add_versions(
        connection, model_id, "Retired", "Serving", "Failed", "Rejected", "Training", "Failed"
    )
    prune = {"database": database, "model_uid": "model-1"}
    assert await prune_versions(**prune, keep=1) == (1, 3)
    assert await prune_versions(**prune, keep=1) == ()
    assert await prune_versions(**prune, keep=0) == (4,)
    assert await versions_of(connection) == [2, 5, 6]
    assert await connection.fetchval("SELECT count(*) FROM model_artifacts") == 3


async def test_what_is_protected_stays_and_counts_for_nothing(
    database: Database, connection: Connection
) -> None:
    model_id = await add_model(connection)
    await add_versions(connection, model_id, *["Retired"] * 5, "Serving")
    pruned = await prune_versions(database, model_uid="model-1", keep=2, protect=(1, 5))
    assert pruned == (2,)
    assert await versions_of(connection) == [1, 3, 4, 5, 6]


async def test_what_a_serving_version_may_be_rolled_back_to_stays(
    database: Database, connection: Connection
) -> None:
    model_id = await add_model(connection)
    for version in (1, 2, 3):
        await add_version(connection, model_id, version, serving=True)
    assert await prune_versions(database, model_uid="model-1", keep=0) == (1,)
    await set_serving(connection, model_id=model_id, version=2, how=TakeOver.ROLLED_BACK)
    assert await versions_of(connection) == [2, 3]


async def test_the_scores_of_a_removed_version_go_with_it(
    database: Database, connection: Connection
) -> None:
    pods = BATCH_SERIES + 5
    world = await make_world(connection, pods=pods)
    for version in (2, 3):
        await add_version(connection, world.model_id, version, serving=True)
    await connection.execute("UPDATE models SET replaced = NULL")
    other = await add_model(connection, "model-2")
    strange = (world.metrics[-1] + 1000,)
    for version in (1, 2, 3):
        await write_scores(connection, version=version, scores=make_scores(world.metrics, days=3))
        await write_scores(connection, version=version, scores=make_scores(strange))
    assert await prune_versions(database, model_uid="model-1", keep=1) == (1,)
    # Of another model with the same numbers nothing is touched.
    assert await scored_versions(connection) == {1: 1, 2: 3 * pods + 1, 3: 3 * pods + 1}
    assert other != world.model_id


async def test_what_detectors_said_of_a_removed_version_goes_with_it(
    database: Database, connection: Connection
) -> None:
    world = await make_world(connection)
    await add_version(connection, world.model_id, 2, serving=True)
    await connection.execute("UPDATE models SET replaced = NULL")
    for version in (1, 2):
        health = WatchHealth(
            watch_id=world.watch_id, version=version, part=WHOLE, state=HealthState.SCORING
        )
        await record_health(connection, health)
    await prune_versions(database, model_uid="model-1", keep=0)
    (left,) = await read_health(connection, watch_id=world.watch_id)
    assert left.version == 2


async def test_a_call_ends_in_time_and_the_next_one_goes_on(
    database: Database, connection: Connection
) -> None:
    pods = 2 * BATCH_SERIES
    world = await make_world(connection, pods=pods)
    await add_version(connection, world.model_id, 2, serving=True)
    await connection.execute("UPDATE models SET replaced = NULL")
    await write_scores(connection, version=1, scores=make_scores(world.metrics, days=2))
    prune = {"database": database, "model_uid": "model-1", "keep": 0, "seconds": 0}
    left = []
    while not await prune_versions(**prune):
        assert await versions_of(connection) == [1, 2]
        left.append((await scored_versions(connection)).get(1, 0))
    assert left == [3 * BATCH_SERIES, 2 * BATCH_SERIES, BATCH_SERIES, 0]
    assert await versions_of(connection) == [2]


async def test_an_unknown_model_has_nothing_to_prune(database: Database) -> None:
    with pytest.raises(RowMissing):
        await prune_versions(database, model_uid="nobody", keep=0)


async def test_a_version_that_is_pruned_while_it_is_read_just_ends(
    database: Database, connection: Connection
) -> None:
    model_id = await add_model(connection)
    await add_versions(connection, model_id, "Retired", "Serving")
    row_id = await connection.fetchval("SELECT id FROM models WHERE version = 1")
    for chunk in (1, 2):
        more = make_artifact(chunk)
        await connection.execute(
            "INSERT INTO model_artifacts VALUES ($1, 0, $2, 'f', 'w', 3, $3, $4)",
            row_id,
            chunk,
            more.sha256,
            more.content,
        )
    read = []
    async for chunk in read_artifacts(connection, version_id=row_id):
        read.append(chunk.chunk)
        if len(read) == 1:
            assert await prune_versions(database, model_uid="model-1", keep=0) == (1,)
    assert read == [0]


async def test_pruning_and_pinning_at_once_end_in_one_of_both(database: Database) -> None:
    async with database.acquire() as connection:
        model_id = await add_model(connection)
        await add_versions(connection, model_id, "Retired", "Serving")

    async def pin() -> bool:
        try:
            async with database.transaction() as connection:
                return await set_serving(
                    connection, model_id=model_id, version=1, how=TakeOver.PINNED
                )
        except TransitionRefused:
            return False

    pruned, pinned = await asyncio.gather(
        prune_versions(database, model_uid="model-1", keep=0), pin()
    )
    assert (1 in pruned) is not pinned
    async with database.acquire() as connection:
        serving = await connection.fetchval("SELECT serving_version FROM models_info")
        assert serving == (1 if pinned else 2)
        assert serving in await versions_of(connection)


async def test_many_that_prune_at_once_delete_each_version_once(database: Database) -> None:
    async with database.acquire() as connection:
        model_id = await add_model(connection)
        await add_versions(connection, model_id, *["Failed"] * 4, "Serving")
    pruned = await asyncio.gather(
        *(prune_versions(database, model_uid="model-1", keep=1) for _ in range(3))
    )
    assert sorted(version for one in pruned for version in one) == [1, 2, 3]


class Studies:
    """Studies with a trial each, as a trainer leaves them."""

    def __init__(self, url: str) -> None:
        import optuna

        storage = open_storage(url)
        assert storage is not None
        self.storage = storage
        self._create = optuna.create_study

    def add(self, model_uid: str, version: int) -> None:
        name = study_name(model_uid=model_uid, version=version, watch_uid="w")
        study = self._create(study_name=name, storage=self.storage)
        study.set_user_attr("a", 1)

        def objective(trial: Any) -> float:
            trial.report(0.5, 1)
            trial.set_user_attr("b", 2)
            return float(trial.suggest_float("x", 0, 1))

        study.optimize(objective, n_trials=1)

    def names(self) -> list[str]:
        return sorted(study.study_name for study in self.storage.get_all_studies())


@pytest.fixture
def studies(database_url: str):
    made = Studies(database_url)
    yield made
    close_storage(made.storage)


async def test_the_trials_of_a_removed_version_go_with_it(
    database: Database, connection: Connection, studies: Studies
) -> None:
    model_id = await add_model(connection)
    await add_versions(connection, model_id, "Failed", "Failed", "Serving")
    for uid, version in (("model-1", 1), ("model-1", 2), ("model-1", 11), ("model-10", 1)):
        studies.add(uid, version)
    assert await prune_versions(database, model_uid="model-1", keep=1) == (1,)
    assert studies.names() == ["model-1/11/w", "model-1/2/w", "model-10/1/w"]
    left = await connection.fetchval("SELECT count(*) FROM metricwatch_optuna.trial_params")
    assert left == 3


async def test_a_deleted_model_leaves_no_trials(
    database: Database, connection: Connection, studies: Studies
) -> None:
    await add_model(connection)
    for uid in ("model-1", "model-2"):
        studies.add(uid, 1)
    await delete_model(database, uid="model-1")
    assert studies.names() == ["model-2/1/w"]


async def test_without_a_search_there_is_nothing_to_forget(connection: Connection) -> None:
    assert await forget_studies(connection, model_uid="model-1") == 0
