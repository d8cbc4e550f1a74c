"""The version that serves, as far as it can be compared: what it learned from, and its chunks.

Reading is the only thing that happens here; a chunk that is broken is passed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

from metricwatch.artifact import ArtifactError, ModelChunk, unpack
from metricwatch.gate import GateMeasurement
from metricwatch.series import Labels
from metricwatch.store.artifacts import read_artifacts
from metricwatch.store.pool import Database
from metricwatch.store.rows import ModelOverview, Version
from metricwatch_trainer.gate.copies import copies_of


def serving_version(overview: ModelOverview | None) -> Version | None:
    """Returns the version that serves, None when there is none."""
    return overview.serving if overview else None


def seen_until(version: Version, uid: str, *, interval: int) -> int | None:
    """Returns the last moment that a version learned a watch from; None when it never did.

    A version whose series were all measured learned from what came before its own tail, and no
    more than calibrated itself on it. A watch that it took over has a window of its own.
    """
    report = version.report or {}
    trained = _trained(report, uid)
    if not trained or version.window_end is None:
        return None
    taken = next((one for one in _summaries(report, uid) if "from" in one), None)
    if taken is not None:
        return int(taken["end"])
    try:
        gate = GateMeasurement.from_report(report)
    except ValidationError:
        gate = None
    rows = [one for one in gate.watches if one.uid == uid] if gate else []
    if rows and sum(one.candidate.series for one in rows) >= trained:
        return max(one.start for one in rows) - interval
    return version.window_end


async def read_chunks(
    database: Database, *, version_id: int, uid: str, interval: int, labels: Collection[Labels]
) -> tuple[tuple[ModelChunk, ...], str]:
    """Returns what a version knows of some series of a watch, and why there is less; else "".

    Raises:
        StoreError: the database is away.
    """
    wanted, broken, other = set(labels), 0, 0
    parts: list[ModelChunk] = []
    async with database.acquire() as connection:
        async for artifact in read_artifacts(connection, version_id=version_id, watch_uid=uid):
            try:
                chunk = await asyncio.to_thread(
                    unpack, artifact.content, checksum=artifact.sha256.hex()
                )
            except ArtifactError:
                broken += 1
                continue
            if chunk.interval != interval:
                other += 1
                continue
            parts += copies_of([chunk], wanted)
    notes = []
    if broken:
        notes.append(f"{broken} chunks of the serving version cannot be read")
    if other:
        notes.append("the serving version learned from another interval")
    return tuple(parts), "; ".join(notes)


def _trained(report: Mapping[str, Any], uid: str) -> int:
    """Returns how many series of a watch are in a version, by its report."""
    return sum(one.get("trained", 0) for one in _summaries(report, uid))


def _summaries(report: Mapping[str, Any], uid: str) -> list[Mapping[str, Any]]:
    return [one for one in report.get("watches", ()) if one.get("uid") == uid]
