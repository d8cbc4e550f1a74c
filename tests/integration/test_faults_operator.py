"""The operator killed in every phase of a model's life, and frozen while it leads."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from tests.integration.invariants import leaked_sessions, wrong_objects, wrong_rows
from tests.integration.live_fixture import asking, held_by
from tests.integration.operator_fixture import (
    SYSTEM,
    WAIT_SECONDS,
    OperatorProcess,
    Stage,
    operator_plane,
    stage,
    wait_for,
)

from metricwatch.store.pool import Database
from metricwatch_operator.errors import Fenced
from metricwatch_operator.planning.actions import Assign
from metricwatch_operator.records import Records

__all__ = ["operator_plane", "stage"]

FROZEN_SECONDS = 20.0
TABLES = ("models_info", "models", "model_artifacts", "watches", "metrics", "decisions")
Look = Callable[[], Awaitable[Any]]


@dataclass(slots=True)
class Mortal:
    """An operator that is killed as soon as something is seen, and started again in its pod."""

    stage: Stage
    operator: OperatorProcess
    connection: asyncpg.Connection

    async def sees(self, what: str, look: Look) -> None:
        """Waits until something is there, and knows it at once."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not await look():
            assert time.monotonic() < deadline, f"{what}: {self.stage.describe()}"
            await asyncio.sleep(0.005)

    async def dies_when(self, what: str, look: Look) -> None:
        """Kills it at once when it has come there; what it leaves behind is consistent."""
        await self.sees(what, look)
        self.operator.stop(signal.SIGKILL)
        assert await wrong_rows(self.connection) == [], what
        self.operator.start()

    def row(self, condition: str) -> Look:
        """Whether there is a version of which something is true."""
        return lambda: self.connection.fetch(f"SELECT 1 FROM models WHERE {condition}")

    def table(self, name: str, *, empty: bool = False) -> Look:
        """Whether a table has a row."""

        async def look() -> bool:
            return bool(await self.connection.fetch(f"SELECT 1 FROM {name}")) != empty

        return look

    def objects(self, kind: str, *names: str) -> Look:
        """Whether these are the objects of a kind."""

        async def look() -> bool:
            return self.stage.namespace.names(kind) == list(names)

        return look

    async def has_finalizer(self) -> bool:
        """Whether the model waits for the operator when it is deleted."""
        model = self.stage.namespace.get("AnomalyModel", "checkout")
        return bool(model["metadata"].get("finalizers"))

    def change(self, **spec: Any) -> None:
        """Merges into the spec of the model."""
        self.stage.namespace.merge("AnomalyModel", "checkout", {"spec": spec})

    async def is_at_rest(self) -> None:
        """Waits until objects and rows agree."""
        deadline = time.monotonic() + WAIT_SECONDS
        while found := await wrong_objects(self.connection, held_by(self.stage)):
            assert time.monotonic() < deadline, f"{found}: {self.stage.describe()}"
            await asyncio.sleep(0.2)


async def _is_born(mortal: Mortal) -> None:
    mortal.stage.add_model(versionHistoryLimit=1, rollout={"rollbackWindow": "0s"})
    mortal.stage.add_watch()
    await mortal.dies_when("the finalizer is set", mortal.has_finalizer)
    await mortal.dies_when("the model has its row", mortal.table("models_info"))
    await mortal.dies_when("a version is to be trained", mortal.row("state = 'Training'"))
    job, detector = "checkout-train-v1", "checkout-detector-v1-0"
    await mortal.dies_when("its Job is there", mortal.objects("Job", job))
    await mortal.dies_when("it is trained", mortal.row("trained_at IS NOT NULL"))
    await mortal.dies_when("its detector is there", mortal.objects("Deployment", detector))
    await mortal.dies_when("it serves", mortal.row("state = 'Serving'"))
    mortal.stage.namespace.wait_for_condition("AnomalyModel", "checkout", "Ready", "True")


async def _rests(mortal: Mortal) -> None:
    mortal.change(suspend=True)
    await mortal.dies_when("nothing runs any more", mortal.objects("Deployment"))
    mortal.stage.namespace.wait_for_condition(
        "AnomalyModel", "checkout", "Ready", "False", reason="Suspended"
    )
    mortal.change(suspend=False)
    detector = "checkout-detector-v1-0"
    await mortal.dies_when("it runs again", mortal.objects("Deployment", detector))
    mortal.stage.namespace.wait_for_condition("AnomalyModel", "checkout", "Ready", "True")


async def _grows(mortal: Mortal) -> None:
    mortal.change(training={"window": "7d"})
    await mortal.dies_when("a second is to be trained", mortal.row("version = 2"))
    await mortal.dies_when("it took over", mortal.row("version = 2 AND state = 'Serving'"))
    detector = "checkout-detector-v2-0"
    await mortal.dies_when("only it runs", mortal.objects("Deployment", detector))
    for version, window in ((3, "8d"), (4, "9d")):
        mortal.change(training={"window": window})
        mortal.stage.wait_for_serving(version)
    await mortal.dies_when(
        "the first is pruned",
        lambda: mortal.connection.fetch(
            "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM models WHERE version = 1)"
        ),
    )
    await mortal.is_at_rest()


async def _ends(mortal: Mortal) -> None:
    mortal.stage.namespace.delete("AnomalyModel", "checkout")
    await mortal.dies_when("its children go", mortal.objects("Deployment"))
    await mortal.dies_when("its rows are gone", mortal.table("models_info", empty=True))
    wait_for(lambda: not mortal.stage.namespace.all("AnomalyModel"), mortal.stage.describe)


async def test_an_operator_killed_in_every_phase_of_a_life_repeats_and_loses_nothing(
    stage: Stage,
) -> None:
    async with asking(stage) as connection:
        mortal = Mortal(stage, stage.operator().start(), connection)
        await _is_born(mortal)
        await _rests(mortal)
        await _grows(mortal)
        versions = await connection.fetch("SELECT version, state, attempt FROM models ORDER BY 1")
        assert [tuple(one) for one in versions] == [
            (2, "Retired", 1),
            (3, "Retired", 1),
            (4, "Serving", 1),
        ]
        assert stage.namespace.names("Job") == [f"checkout-train-v{one}" for one in (2, 3, 4)]
        await _ends(mortal)
        for table in TABLES:
            assert await connection.fetch(f"SELECT 1 FROM {table}") == [], table
        wait_for(lambda: not any(map(stage.namespace.all, ("Job", "Pod", "Secret"))))

        async def no_session_is_left() -> bool:
            return not await leaked_sessions(connection, most={"metricwatch-operator": 9})

        await mortal.sees("only sessions of the operator that lives", no_session_is_left)
    stage.namespace.wait_for_condition(
        "MetricWatch", "latency", "ModelResolved", "False", reason="ModelNotFound"
    )


def _writes_of(stage: Stage, credential: str) -> list[str]:
    """What the API server was asked to change by the holder of a token, oldest first."""
    found = []
    for line in (stage.plane.directory / "audit.log").read_text().splitlines():
        event = json.loads(line)
        used = event["user"].get("extra", {}).get("authentication.kubernetes.io/credential-id")
        if used == [f"JTI={credential}"]:
            found.append(f"{event['verb']} {event['requestURI'].partition('?')[0]}")
    return found


def _leads(operator: OperatorProcess) -> Callable[[], bool]:
    return lambda: operator.metric("metricwatch_leader") == 1.0 and operator.is_ready()


async def test_a_frozen_leader_is_replaced_and_writes_nothing_when_it_wakes_up(
    stage: Stage,
) -> None:
    first, one = stage.operator_with_own_token()
    second, two = stage.operator_with_own_token()
    first.start().wait_until_watching()
    second.start()
    stage.add_model()
    stage.add_watch()
    stage.wait_for_serving(1)
    wait_for(second.is_ready, second.tail)
    async with asking(stage) as connection:
        assert _writes_of(stage, one)
        assert _writes_of(stage, two) == [], "of two replicas one acts"
        life = Mortal(stage, first, connection)
        life.change(training={"window": "7d"})
        await life.sees("a new version", life.row("version = 2"))
        # In the middle of what follows from the new version: its Job, its status, its event.
        assert first.process is not None
        first.process.send_signal(signal.SIGSTOP)
        frozen_at = time.monotonic()
        wait_for(_leads(second), second.tail)
        stage.wait_for_serving(2)
        # It has something to react to when it wakes up.
        life.change(training={"window": "8d"})
        stage.wait_for_serving(3)
        await asyncio.sleep(max(FROZEN_SECONDS - (time.monotonic() - frozen_at), 0.0))
        before = _writes_of(stage, one)
        first.process.send_signal(signal.SIGCONT)
        assert first.process.wait(WAIT_SECONDS) == 1
        assert _writes_of(stage, one) == before
        path = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/metricwatch-operator"
        lease = stage.namespace.client.get(path).json()
        assert lease["spec"]["holderIdentity"] == second.environment["METRICWATCH_POD_NAME"]
        await life.is_at_rest()
        assert await wrong_rows(connection) == []
        assert len(await connection.fetch("SELECT 1 FROM models")) == 3


@pytest.mark.parametrize("asked", [1, 2])
async def test_what_a_leader_is_about_to_write_when_it_is_fenced_is_not_written(
    database: Database, asked: int
) -> None:
    answers = iter(range(1, 3))

    def fence() -> None:
        if next(answers) == asked:
            raise Fenced("another replica may lead", reason="NotLeading")

    records = Records(database, fence=fence)
    step = Assign("uid-1", "shop", "checkout", 1, (), keep=(), digest="")
    with pytest.raises(Fenced):
        await records.write(step)
    async with database.acquire() as connection:
        assert await connection.fetch("SELECT 1 FROM models_info") == []
