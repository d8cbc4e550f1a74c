"""What tests of faults ask of the rows of a detector's world."""

from __future__ import annotations

import time

from tests.integration.detector_world import WATCH, Feed, World, eventually
from tests.integration.invariants import leaked_sessions, undecided, wrong_rows

# A detector keeps at most eight connections and listens on one more.
_SESSIONS = {"metricwatch-detector": 9, "tests": 4}


async def ticks_of(world: World, version: int, pod: str) -> list[int]:
    """The ticks of a pod that were scored by a version, in order."""
    rows = await world.fetch(
        """SELECT extract(epoch FROM ts)::bigint AS tick FROM prediction_errors p
        JOIN metrics m ON m.id = p.metric_id
        WHERE version = $1 AND m.labels ->> 'pod' = $2 ORDER BY ts""",
        version,
        pod,
    )
    return [row["tick"] for row in rows]


async def state_of(world: World, watch_uid: str = WATCH) -> tuple[str, str]:
    """State and message of the health of a watch; empty while there is none."""
    rows = await world.fetch(
        """SELECT state, message FROM watch_health h JOIN watches w ON w.id = h.watch_id
        WHERE w.uid = $1""",
        watch_uid,
    )
    return (rows[0]["state"], rows[0]["message"]) if rows else ("", "")


def missed(feed: Feed, ticks: list[int]) -> list[int]:
    """Ticks between the first and the last that are missing although their samples were there."""
    return sorted(set(range(ticks[0], ticks[-1])) - set(ticks) - feed.late)


async def catches_up(world: World, feed: Feed, *, pod: str = "a") -> None:
    """Waits until everything up to now is scored and decided; then nothing is wrong or missing."""
    until = int(time.time()) - 1

    async def decided() -> bool:
        async with world.database.acquire() as connection:
            return not await undecided(connection, until=until)

    async def nothing_leaks() -> bool:
        # A process that was killed is noticed in a moment, and a starved one takes its time.
        async with world.database.acquire() as connection:
            return not await leaked_sessions(connection, most=_SESSIONS)

    await eventually(decided, what="decisions up to now")
    async with world.database.acquire() as connection:
        assert await wrong_rows(connection) == []
    await eventually(nothing_leaks, what="no sessions too many, none stuck in a transaction")
    ticks = await ticks_of(world, 1, pod)
    holes = missed(feed, ticks)
    assert not holes, f"missed {holes} of {ticks[0]} to {ticks[-1]}, late {sorted(feed.late)}"
    assert max(ticks) >= until - len(feed.late)


async def single_anomaly(world: World, feed: Feed) -> tuple[int, int]:
    """Row id and start of the only anomaly there is; it has a sample for each of its ticks."""
    (stored,) = await world.anomalies()
    anomaly = stored.anomaly
    ticks = set(range(int(anomaly.started_at), int(anomaly.last_anomalous_at) + 1))
    assert len(ticks - feed.late) <= anomaly.samples <= len(ticks)
    return stored.id, int(anomaly.started_at)
