"""Scores of every sample of every running version (`prediction_errors`).

Written by COPY in PostgreSQL's binary format, which numpy lays out without a Python loop, into a
temporary table, and from there with ON CONFLICT DO NOTHING: writing a tick again, by a replica or
after a restart, changes nothing. A day without a partition gets one on the way, so no sample is
ever lost.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import asyncpg
import numpy as np
from numpy.typing import ArrayLike, NDArray

from metricwatch.store.connection import Connection
from metricwatch.store.partitions import DAY_SECONDS, create_partitions

_NUMBERS = ("value", "expected", "lower", "upper", "rarity", "score")
_COLUMNS = ("metric_id", "ts", *_NUMBERS, "anomalous")

# One tuple of the binary COPY format: the number of fields, then each with its length in front,
# all big-endian and without padding (PostgreSQL documentation, COPY, "Binary Format").
_TUPLE = np.dtype(
    [
        ("fields", ">i2"),
        *(
            (f"{name}{part}", form)
            for name in _COLUMNS
            for part, form in (
                ("_bytes", ">i4"),
                ("", {"metric_id": ">i8", "ts": ">i8", "anomalous": "i1"}.get(name, ">f8")),
            )
        ),
    ]
)
_HEADER = b"PGCOPY\n\xff\r\n\0" + b"\0" * 8
_TRAILER = b"\xff\xff"

_STAGING = """
CREATE TEMPORARY TABLE IF NOT EXISTS scores_staging (
    metric_id bigint, ts timestamptz, value float8, expected float8, lower float8, upper float8,
    rarity float8, score float8, anomalous boolean
) ON COMMIT DELETE ROWS;
-- Within a longer transaction the rows of the call before are still here.
DELETE FROM scores_staging
"""
# NaN in an array is "none", and in a table that is NULL. Real cannot hold every double.
_INSERT = """
INSERT INTO prediction_errors
    (metric_id, version, ts, value, expected, lower, upper, rarity, score, anomalous)
SELECT metric_id, $1, ts, nullif(value, 'NaN'), nullif(expected, 'NaN'),
    nullif(lower, 'NaN'), nullif(upper, 'NaN'), nullif(rarity, 'NaN')::real,
    nullif(score, 'NaN')::real, anomalous
FROM scores_staging
ON CONFLICT DO NOTHING
"""
_LARGEST_REAL = 3e38
_POSTGRES_EPOCH = 946_684_800
"""2000-01-01 UTC: a binary timestamptz is microseconds from then."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Scored samples as columns of one length N, in any order.

    Attributes:
        metric_id: int64[N], as `register_series` gave it.
        ts: int64[N], unix seconds of the tick; a single number stands for all.
        value, expected, lower, upper: float64[N] in the series' unit; NaN where there is none.
        rarity, score: float64[N], stored in single precision; NaN where there is none.
        anomalous: bool[N].
    """

    metric_id: ArrayLike
    ts: ArrayLike
    value: ArrayLike
    expected: ArrayLike
    lower: ArrayLike
    upper: ArrayLike
    rarity: ArrayLike
    score: ArrayLike
    anomalous: ArrayLike

    @property
    def days(self) -> set[int]:
        """Days that a partition is needed for, counted from 1970-01-01 UTC."""
        return {int(day) for day in np.unique(np.asarray(self.ts, np.int64) // DAY_SECONDS)}

    def encode(self) -> bytes:
        """The samples in PostgreSQL's binary COPY format.

        Raises:
            ValueError: the columns are not of one length.
        """
        count = len(np.atleast_1d(np.asarray(self.metric_id)))
        tuples = np.empty(count, _TUPLE)
        tuples["fields"] = len(_COLUMNS)
        for name in _COLUMNS:
            tuples[f"{name}_bytes"] = _TUPLE[name].itemsize
            tuples[name] = getattr(self, name)
        tuples["ts"] = (np.asarray(self.ts, np.int64) - _POSTGRES_EPOCH) * 1_000_000
        for name in ("rarity", "score"):
            np.clip(tuples[name], -_LARGEST_REAL, _LARGEST_REAL, out=tuples[name])
        return b"".join((_HEADER, tuples.tobytes(), _TRAILER))


async def write_scores(connection: Connection, *, version: int, scores: Scores) -> int:
    """Store scores of one version; return how many rows are new.

    Runs in a transaction of its own, or as a savepoint of the caller's.
    """
    content = scores.encode()
    try:
        return await _write(connection, content, version=version)
    except asyncpg.CheckViolationError:
        # "no partition of relation found for row": the day is new, or further off than expected.
        await create_partitions(connection, days=scores.days)
    return await _write(connection, content, version=version)


async def _write(connection: Connection, content: bytes, *, version: int) -> int:
    async with connection.transaction():
        await connection.execute(_STAGING)
        await connection.copy_to_table(
            "scores_staging", source=io.BytesIO(content), columns=_COLUMNS, format="binary"
        )
        tag = await connection.execute(_INSERT, version)
    return int(tag.rsplit(" ", 1)[1])


@dataclass(frozen=True, slots=True)
class StoredScores:
    """What is stored of one series and version, by time; NaN where a row has NULL.

    Attributes:
        ts: int64[N], unix seconds.
        value, expected, lower, upper, rarity, score: float64[N].
        anomalous: bool[N].
    """

    ts: NDArray[np.int64]
    value: NDArray[np.float64]
    expected: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    rarity: NDArray[np.float64]
    score: NDArray[np.float64]
    anomalous: NDArray[np.bool_]


async def read_scores(
    connection: Connection, *, metric_id: int, version: int, start: int, end: int
) -> StoredScores:
    """The scores of one series and version from `start` to `end`, both included."""
    rows = await connection.fetch(
        """
        SELECT extract(epoch FROM ts)::bigint AS ts, value, expected, lower, upper, rarity, score,
            anomalous
        FROM prediction_errors
        WHERE metric_id = $1 AND version = $2 AND ts BETWEEN to_timestamp($3) AND to_timestamp($4)
        ORDER BY ts
        """,
        metric_id,
        version,
        start,
        end,
    )
    numbers = {name: np.array([row[name] for row in rows], np.float64) for name in _NUMBERS}
    return StoredScores(
        ts=np.array([row["ts"] for row in rows], np.int64),
        anomalous=np.array([row["anomalous"] for row in rows], np.bool_),
        **numbers,
    )
