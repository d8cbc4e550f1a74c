"""Two versions that score the same series at the same time, compared by what they scored."""

from __future__ import annotations

from metricwatch.store.connection import Connection
from metricwatch.store.rows import Comparison

MOST_ROWS = 200_000
"""Scores that one comparison looks at, give or take one series."""
FEWEST_SERIES = 50

# Many series over a long time are more than anybody should read every few seconds, so the series
# are sampled when the rows expected of them are too many: by their hash, which takes of each watch
# its share and always the same ones. Each series is then one probe of the primary key for each
# version and day.
_COMPARE = """
WITH costs AS (
    SELECT m.id,
        row_number() OVER by_hash AS number,
        sum(2 * (1 + extract(epoch FROM now() - to_timestamp($4))
            / greatest((w.settings ->> 'intervalSeconds')::float8, 1))) OVER by_hash AS rows
    FROM metrics m JOIN watches w ON w.id = m.watch_id
    WHERE m.model_id = $1
    WINDOW by_hash AS (ORDER BY m.series_id & 4294967295, m.id ROWS UNBOUNDED PRECEDING)
), each_series AS (
    SELECT s.*
    FROM (SELECT id FROM costs WHERE rows <= $5 OR number <= $6) chosen
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE b.ts = a.ts) AS common,
            count(a.ts) AS samples,
            count(b.ts) AS samples_against,
            count(*) FILTER (WHERE b.ts = a.ts AND a.anomalous) AS anomalous,
            count(*) FILTER (WHERE b.ts = a.ts AND b.anomalous) AS anomalous_against,
            count(*) FILTER (WHERE a.anomalous AND b.anomalous) AS "both",
            max(a.ts) FILTER (WHERE b.ts = a.ts) AS until
        FROM (SELECT ts, anomalous FROM prediction_errors
            WHERE metric_id = chosen.id AND version = $2 AND ts >= to_timestamp($4)) a
        FULL JOIN (SELECT ts, anomalous FROM prediction_errors
            WHERE metric_id = chosen.id AND version = $3 AND ts >= to_timestamp($4)) b
            ON b.ts = a.ts
    ) s
)
SELECT extract(epoch FROM max(until))::bigint AS until,
    count(*) FILTER (WHERE common > 0) AS series,
    count(*) FILTER (WHERE 2 * anomalous > common AND 2 * anomalous_against <= common) AS stormy,
    coalesce(sum(common), 0)::bigint AS common,
    coalesce(sum(samples), 0)::bigint AS samples,
    coalesce(sum(samples_against), 0)::bigint AS samples_against,
    coalesce(sum(anomalous), 0)::bigint AS anomalous,
    coalesce(sum(anomalous_against), 0)::bigint AS anomalous_against,
    coalesce(sum("both"), 0)::bigint AS "both"
FROM each_series
"""


async def read_comparison(
    connection: Connection,
    *,
    model_id: int,
    version: int,
    against: int,
    since: int,
    most_rows: int = MOST_ROWS,
) -> Comparison:
    """Compare what two versions scored from `since` on (unix seconds).

    Of a model with so many series that more than `most_rows` scores are to be expected, a fixed
    part of the series is looked at, and the counts are of that part.
    """
    row = await connection.fetchrow(
        _COMPARE, model_id, version, against, since, most_rows, FEWEST_SERIES
    )
    if row is None:
        raise AssertionError("an aggregate over everything has one row")
    return Comparison(version=version, against=against, since=since, **dict(row))
