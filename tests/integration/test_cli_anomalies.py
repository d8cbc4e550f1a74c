"""`metricwatch anomalies` over a real database: what is said is kept, shown, and taken back."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.integration.store_rows import World, add_model, add_version, make_anomaly, make_world

from metricwatch.store.anomalies import list_anomalies, write_anomalies
from metricwatch.store.connection import Connection
from metricwatch.store.errors import RowMissing
from metricwatch.store.feedback import LONGEST_REASON, judge_anomalies, reopen_anomalies
from metricwatch.store.overview import read_model_overview
from metricwatch.store.pool import Database
from metricwatch.store.pruning import prune_versions
from metricwatch.store.rows import AnomalyState, Feedback, StoredAnomaly
from metricwatch.store.stamps import read_stamps
from metricwatch.store.watches import remove_watches
from metricwatch_cli.main import main

Printed = pytest.CaptureFixture[str]
NOW = int(time.time())


class Command:
    """`metricwatch anomalies`, beside the event loop of the test."""

    def __init__(self, url: str, printed: Printed) -> None:
        self._url, self._printed = url, printed

    async def run(self, name: str, *arguments: str | int) -> tuple[int, str]:
        given = ["anomalies", name, "checkout", *map(str, arguments), "--database-url", self._url]
        status = await asyncio.to_thread(main, given)
        said = self._printed.readouterr()
        return status, said.out + said.err

    async def listed(self, *arguments: str | int) -> list[dict[str, Any]]:
        status, said = await self.run("list", *arguments, "--output", "json")
        assert status == 0, said
        return list(json.loads(said))


@pytest.fixture
def command(database_url: str, capsys: Printed) -> Command:
    return Command(database_url, capsys)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    async with database.acquire() as acquired:
        yield acquired


@pytest.fixture
async def world(connection: Connection) -> World:
    """A model with two anomalies of an hour ago, and one that is going on."""
    made = await make_world(connection)
    over = {"state": AnomalyState.RESOLVED, "ended_at": NOW - 3000, "started_at": NOW - 3600}
    anomalies = [
        make_anomaly(made.metrics[0], **over),
        make_anomaly(made.metrics[1], **over, peak_expected=math.nan),
        make_anomaly(made.metrics[2], started_at=NOW - 60, severity="critical"),
    ]
    await write_anomalies(connection, watch_id=made.watch_id, version=1, anomalies=anomalies)
    return made


async def stored(connection: Connection) -> list[StoredAnomaly]:
    """By series, so the last one is going on."""
    found = await list_anomalies(connection, model_uid="model-1")
    return sorted(found, key=lambda one: one.labels)


async def test_anomalies_are_listed_newest_first(command: Command, world: World) -> None:
    status, said = await command.run("list")
    assert status == 0
    head, *rows = said.splitlines()
    assert head.split() == [
        "ID", "STARTED", "ENDED", "STATE", "SEVERITY", "WATCH", "SERIES", "FEEDBACK"
    ]  # fmt: skip
    assert len(rows) == len(world.metrics)
    assert "critical" in rows[0]
    assert "__name__=up, pod=pod-2" in rows[0]


async def test_a_list_is_narrowed(command: Command, world: World) -> None:
    assert len(await command.listed()) == len(world.metrics)
    (going_on,) = await command.listed("--open")
    assert (going_on["state"], "endedAt" in going_on) == ("open", False)
    assert len(await command.listed("--since", "10m")) == 1
    assert len(await command.listed("--watch", "name-of-watch-1", "--limit", 2)) == 2
    status, said = await command.run("list", "--watch", "other")
    assert (status, "there are: name-of-watch-1" in said) == (2, True)
    status, said = await command.run("list", "--since", "soon")
    assert (status, "--since" in said) == (2, True)


async def test_what_people_say_is_kept_with_who_and_why(
    command: Command, connection: Connection, world: World
) -> None:
    first, second, _ = (one.id for one in await stored(connection))
    reason = ("--reason", "the nightly backup", "--by", "ada")
    assert await command.run("dismiss", first, *reason) == (
        0,
        f"anomaly {first} dismissed by ada\n",
    )
    assert (await command.run("confirm", second, "--reason", "INC-204", "--by", "ben"))[0] == 0
    told = {one["id"]: one.get("feedback") for one in await command.listed()}
    assert told[first] is not None
    assert told[second] is not None
    assert (told[first]["is"], told[first]["by"]) == ("dismissed", "ada")
    assert told[first]["reason"] == "the nightly backup"
    assert told[second]["is"] == "confirmed"
    assert [one["id"] for one in await command.listed("--unjudged", "--limit", 1)] == [
        (await stored(connection))[2].id
    ]
    assert "dismissed by ada: the nightly backup" in (await command.run("list"))[1]


async def test_what_was_said_may_be_said_anew_and_taken_back(
    command: Command, connection: Connection, world: World
) -> None:
    number = (await stored(connection))[0].id
    await command.run("dismiss", number, "--reason", "backup")
    await command.run("confirm", number, "--reason", "no backup at all")
    assert (await stored(connection))[0].is_confirmed
    assert (await command.run("reopen", number))[0] == 0
    assert (await stored(connection))[0].remark is None


async def test_an_unknown_anomaly_or_no_reason_records_nothing(
    command: Command, connection: Connection, world: World
) -> None:
    number = (await stored(connection))[0].id
    status, said = await command.run("dismiss", number, 999, "--reason", "backup")
    assert (status, "there is no anomaly 999 of this model" in said) == (2, True)
    status, said = await command.run("dismiss", number, "--reason", "  ")
    assert (status, "--reason" in said) == (2, True)
    assert (await command.run("reopen", 999))[0] == 2
    assert all(one.remark is None for one in await stored(connection))


async def test_an_anomaly_of_another_model_is_none_of_this_one(
    connection: Connection, world: World
) -> None:
    other = await add_model(connection, "model-2")
    number = (await stored(connection))[0].id
    with pytest.raises(RowMissing, match=str(number)):
        await judge_anomalies(
            connection,
            model_id=other,
            ids=[number],
            feedback=Feedback.DISMISSED,
            reason="backup",
            by="ada",
        )
    with pytest.raises(RowMissing, match=str(number)):
        await reopen_anomalies(connection, model_id=other, ids=[number])


async def test_feedback_outlives_a_next_tick_its_version_and_its_watch(
    database: Database, connection: Connection, world: World
) -> None:
    last = (await stored(connection))[2]
    await judge_anomalies(
        connection,
        model_id=world.model_id,
        ids=[last.id],
        feedback=Feedback.DISMISSED,
        reason="r" * 2000,
        by="ada",
    )
    goes_on = make_anomaly(world.metrics[2], started_at=NOW - 60, samples=9)
    await write_anomalies(connection, watch_id=world.watch_id, version=2, anomalies=[goes_on])
    for version in (2, 3):
        await add_version(connection, world.model_id, version, serving=True)
    await prune_versions(database, model_uid="model-1", keep=0, protect=())
    await remove_watches(connection, model_id=world.model_id, keep=())
    (again,) = [one for one in await stored(connection) if one.id == last.id]
    assert again.anomaly.samples == 9
    assert again.is_dismissed
    assert again.remark is not None
    assert len(again.remark.reason) == LONGEST_REASON


async def test_a_dismissed_anomaly_is_no_open_one_to_a_status(
    database: Database, connection: Connection, world: World
) -> None:
    before = await read_stamps(database)
    overview = await read_model_overview(database, "model-1")
    assert overview is not None
    assert overview.watches[0].open_anomalies == {"critical": 1}
    last = (await stored(connection))[2]
    await judge_anomalies(
        connection,
        model_id=world.model_id,
        ids=[last.id],
        feedback=Feedback.DISMISSED,
        reason="backup",
        by="ada",
    )
    overview = await read_model_overview(database, "model-1")
    assert overview is not None
    assert overview.watches[0].open_anomalies == {}
    assert await read_stamps(database) != before
