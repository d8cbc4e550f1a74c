from collections.abc import AsyncIterator, Mapping, Sequence
from time import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.integration.store_rows import NOW, World, add_model, add_watch, make_labels, make_world

from metricwatch.store.comparison import FEWEST_SERIES, read_comparison
from metricwatch.store.connection import Connection
from metricwatch.store.metrics import register_series
from metricwatch.store.partitions import DAY_SECONDS
from metricwatch.store.pool import Database
from metricwatch.store.rows import Comparison
from metricwatch.store.scores import Scores, write_scores

Verdicts = Mapping[int, bool]
"""Whether a sample is anomalous, by time."""


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    async with database.acquire() as acquired:
        yield acquired


async def write(connection: Connection, metric: int, version: int, verdicts: Verdicts) -> None:
    times = sorted(verdicts)
    scores = Scores(
        [metric] * len(times), times, 1, 1, 1, 1, 1, 1, [verdicts[time] for time in times]
    )
    await write_scores(connection, version=version, scores=scores)


def ticks(verdicts: Sequence[int], *, start: int = NOW) -> Verdicts:
    """Samples a minute apart; 1 is an anomalous one."""
    return {start + 60 * number: bool(one) for number, one in enumerate(verdicts)}


async def compare(
    connection: Connection, world: World, *, since: int = NOW, most_rows: int = 10**9
) -> Comparison:
    return await read_comparison(
        connection,
        model_id=world.model_id,
        version=2,
        against=1,
        since=since,
        most_rows=most_rows,
    )


async def test_two_versions_are_compared_over_the_samples_that_both_scored(
    connection: Connection,
) -> None:
    world = await make_world(connection)
    a, b, _ = world.metrics
    await write(connection, a, 1, ticks([0, 1, 0, 1]))
    await write(connection, a, 2, ticks([0, 1, 1, 0, 1]))
    await write(connection, b, 1, ticks([0, 0]))
    await write(connection, b, 3, ticks([1, 1]))
    assert await compare(connection, world) == Comparison(
        version=2,
        against=1,
        since=NOW,
        until=NOW + 180,
        series=1,
        common=4,
        samples=5,
        samples_against=6,
        anomalous=2,
        anomalous_against=2,
        both=1,
        stormy=0,
    )


async def test_what_was_scored_before_does_not_count(connection: Connection) -> None:
    world = await make_world(connection)
    before = ticks([1, 1, 1, 0], start=NOW - 180)
    for version in (1, 2):
        await write(connection, world.metrics[0], version, before)
    found = await compare(connection, world)
    assert (found.common, found.samples, found.anomalous, found.until) == (1, 1, 0, NOW)


async def test_a_comparison_goes_over_midnight(connection: Connection) -> None:
    world = await make_world(connection)
    midnight = (NOW // DAY_SECONDS + 1) * DAY_SECONDS
    for version in (1, 2):
        samples = ticks([0] * 6, start=midnight - 180)
        await write(connection, world.metrics[0], version, samples)
    assert (await compare(connection, world)).common == 6


@pytest.mark.parametrize(
    ("version", "against", "stormy"),
    [
        ([1, 1, 1, 0], [0, 0, 0, 0], 1),
        ([1, 1, 0, 0], [0, 0, 0, 0], 0),
        ([1, 1, 1, 0], [1, 1, 1, 0], 0),
        ([1, 1, 1, 0], [1, 1, 0, 0], 1),
        ([0, 0, 0, 0], [1, 1, 1, 1], 0),
        # What only one of them scored is no storm: there is nothing to compare with.
        ([0, 0, 1, 1, 1], [0, 0], 0),
    ],
)
async def test_a_storm_is_what_the_other_version_does_not_see(
    connection: Connection, version: list[int], against: list[int], stormy: int
) -> None:
    world = await make_world(connection)
    await write(connection, world.metrics[0], 2, ticks(version))
    await write(connection, world.metrics[0], 1, ticks(against))
    assert (await compare(connection, world)).stormy == stormy


async def test_without_scores_there_is_nothing_to_compare(connection: Connection) -> None:
    world = await make_world(connection)
    nothing = await compare(connection, world)
    assert (nothing.series, nothing.common, nothing.samples, nothing.until) == (0, 0, 0, None)
    await write(connection, world.metrics[0], 1, ticks([1, 0]))
    one = await compare(connection, world)
    assert (one.samples, one.samples_against, one.series, one.until) == (0, 2, 0, None)


async def test_scores_of_other_models_do_not_count(connection: Connection) -> None:
    world = await make_world(connection)
    other = await add_model(connection, "model-2")
    watch = await add_watch(connection, other, "watch-2", model_uid="model-2")
    (metric,) = (
        await register_series(connection, watch_id=watch, labels=make_labels("x"))
    ).values()
    for version in (1, 2):
        await write(connection, metric, version, ticks([1, 1]))
    assert (await compare(connection, world)).samples == 0


async def test_of_very_many_series_always_the_same_part_is_compared(
    connection: Connection,
) -> None:
    pods = 4 * FEWEST_SERIES
    world = await make_world(connection, pods=pods)
    now = int(time())
    for version in (1, 2):
        scores = Scores(world.metrics, now, 1, 1, 1, 1, 1, 1, anomalous=False)
        await write_scores(connection, version=version, scores=scores)
    since = now - 600
    whole = await compare(connection, world, since=since)
    assert whole.series == pods
    # Ten minutes at one a minute: eleven ticks of two versions for each series.
    part = await compare(connection, world, since=since, most_rows=23 * 100)
    assert 80 <= part.series <= 105
    assert part == await compare(connection, world, since=since, most_rows=23 * 100)
    fewest = await compare(connection, world, since=since, most_rows=1)
    assert fewest.series == FEWEST_SERIES


def expected(scored: dict[tuple[int, int], dict[int, bool]]) -> dict[str, int]:
    """The same by hand, one series at a time."""
    counts = dict.fromkeys(
        ("series", "common", "samples", "samples_against", "anomalous", "anomalous_against"), 0
    ) | {"both": 0, "stormy": 0}
    for metric in {metric for metric, _ in scored}:
        mine, theirs = scored.get((metric, 2), {}), scored.get((metric, 1), {})
        common = mine.keys() & theirs.keys()
        loud = sum(mine[one] for one in common)
        loud_against = sum(theirs[one] for one in common)
        counts["series"] += bool(common)
        counts["common"] += len(common)
        counts["samples"] += len(mine)
        counts["samples_against"] += len(theirs)
        counts["anomalous"] += loud
        counts["anomalous_against"] += loud_against
        counts["both"] += sum(mine[one] and theirs[one] for one in common)
        counts["stormy"] += 2 * loud > len(common) >= 2 * loud_against
    return counts


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(
        st.tuples(st.integers(0, 2), st.integers(1, 2)),
        st.dictionaries(st.integers(0, 8), st.booleans(), min_size=1),
    )
)
async def test_a_comparison_counts_what_was_scored(
    connection: Connection, drawn: dict[tuple[int, int], dict[int, bool]]
) -> None:
    await connection.execute("DELETE FROM models_info")
    await connection.execute("DELETE FROM prediction_errors")
    world = await make_world(connection)
    scored = {
        (world.metrics[number], version): {NOW + 60 * tick: bad for tick, bad in ticks_.items()}
        for (number, version), ticks_ in drawn.items()
    }
    for (metric, version), verdicts in scored.items():
        await write(connection, metric, version, verdicts)
    found = await compare(connection, world)
    counts = expected(scored)
    assert {name: getattr(found, name) for name in counts} == counts
