"""Chunks, assembly, retries and errors: the decisions of a reader."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from metricwatch.series import Grid, Labels
from metricwatch.sources import (
    SourceConfig,
    SourceError,
    SourceMalformed,
    SourceRefused,
    SourceTooLarge,
    SourceUnauthorized,
    SourceUnavailable,
)
from metricwatch.sources.answers import error_of
from metricwatch.sources.assembly import PanelBuilder
from metricwatch.sources.chunks import POINTS_PER_QUERY, POINTS_PER_SERIES, ChunkPlan
from metricwatch.sources.errors import QueryTimeout, quote
from metricwatch.sources.retry import RetryPolicy, parse_retry_after

NOW = datetime(2026, 11, 3, 10, tzinfo=UTC)


@given(
    count=st.integers(0, 100_000),
    series=st.lists(st.integers(0, 30_000), min_size=1, max_size=30),
    refused=st.sets(st.integers(0, 20)),
)
def test_chunks_cover_a_grid_once_and_stay_within_the_limits(
    count: int, series: list[int], refused: set[int]
) -> None:
    plan = ChunkPlan(grid=Grid(start=0, step=60, count=count))
    expected_start, asked, known = 0, 0, 10_000
    while (chunk := plan.next_chunk()) is not None and asked < 200:
        assert chunk.start == expected_start
        assert 1 <= chunk.count <= POINTS_PER_SERIES
        assert chunk.count == 1 or chunk.count * known <= POINTS_PER_QUERY
        smaller = plan.smaller(chunk) if asked in refused else None
        asked += 1
        if smaller is not None:
            plan = smaller
            continue
        found = series[asked % len(series)]
        known = found if plan.done == 0 else max(known, found)
        plan = plan.after(chunk, series=found)
        expected_start = chunk.end + 60
    assert asked == 200 or expected_start == count * 60


def test_a_piece_of_one_tick_cannot_become_smaller() -> None:
    plan = ChunkPlan(grid=Grid(start=0, step=60, count=9), most=1)
    chunk = plan.next_chunk()
    assert chunk is not None
    assert plan.smaller(chunk) is None


def labels(name: int) -> Labels:
    return (("pod", f"{name:02d}"),)


@given(
    pieces=st.lists(st.sets(st.integers(0, 12)), min_size=1, max_size=6),
    limit=st.one_of(st.none(), st.integers(0, 14)),
)
def test_pieces_give_the_panel_that_one_answer_would_give(
    pieces: list[set[int]], limit: int | None
) -> None:
    grid = Grid(start=0, step=60, count=2 * len(pieces))
    builder = PanelBuilder(grid, max_series=limit)
    whole = {name: np.full(grid.count, np.nan) for piece in pieces for name in piece}
    for number, piece in enumerate(pieces):
        names = sorted(piece)
        values = np.array([[100.0 * name + number, name] for name in names]).reshape(-1, 2)
        builder.add(grid.part(2 * number, 2), [labels(name) for name in names], values)
        for name, pair in zip(names, values, strict=True):
            whole[name][2 * number : 2 * number + 2] = pair
    panel = builder.panel()
    kept = sorted(whole)[:limit]
    assert panel.labels == tuple(labels(name) for name in kept)
    assert panel.left_out == len(whole) - len(kept)
    expected = np.array([whole[name] for name in kept]).reshape(len(kept), grid.count)
    np.testing.assert_array_equal(panel.values, expected)


@given(
    attempt=st.integers(1, 10_000),
    elapsed=st.floats(0, 1e6),
    jitter=st.floats(0, 1, exclude_max=True),
    retry_after=st.one_of(st.none(), st.floats(0, 1e6)),
)
def test_a_retry_never_starts_after_the_budget_nor_before_the_server_allows(
    attempt: int, elapsed: float, jitter: float, retry_after: float | None
) -> None:
    policy = RetryPolicy(budget_seconds=60)
    wait = policy.delay(attempt, elapsed=elapsed, jitter=jitter, retry_after=retry_after)
    if wait is None:
        assert elapsed + max(policy.longest_seconds, retry_after or 0) > 60
    else:
        assert elapsed + wait <= 60
        assert (retry_after or 0) <= wait <= max(policy.longest_seconds, retry_after or 0)


def test_delays_double_up_to_the_longest() -> None:
    policy = RetryPolicy(budget_seconds=1e6, first_seconds=1, longest_seconds=8)
    assert [policy.delay(n, elapsed=0, jitter=0.5) for n in range(1, 7)] == [0.5, 1, 2, 4, 4, 4]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("5", 5.0),
        (" 7 ", 7.0),
        ("Tue, 03 Nov 2026 10:02:00 GMT", 120.0),
        ("Tue, 03 Nov 2026 10:02:00 -0000", 120.0),
        ("Tue, 03 Nov 2026 09:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("9" * 400, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(
    header: str | None, seconds: float | None
) -> None:
    assert parse_retry_after(header, now=NOW) == seconds


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, '{"error":"1:5: parse error: unclosed"}', SourceRefused, "unclosed"),
        (422, '{"error":"unexpected token"}', SourceRefused, "unexpected token"),
        (422, '{"error":"... too many samples into memory"}', SourceTooLarge, "too many samples"),
        (400, '{"error":"exceeded maximum resolution of 11,000"}', SourceTooLarge, "11,000"),
        (422, '{"error":"... -search.maxUniqueTimeseries"}', SourceTooLarge, "-search.max"),
        (503, '{"errorType":"timeout","error":"query timed out"}', QueryTimeout, "timed out"),
        (400, 'unsupported path requested: "/api"', SourceMalformed, "no Prometheus API"),
        (401, "Unauthorized", SourceUnauthorized, "Secret vm-credentials"),
        (403, "<html>no</html>", SourceUnauthorized, "no reason given"),
        (429, "slow down", SourceUnavailable, "slow down"),
        (500, "", SourceUnavailable, "HTTP 500"),
        (502, "<html>bad gateway</html>", SourceUnavailable, "says nothing more"),
        (301, "", SourceMalformed, "redirects"),
        (404, "404 page not found", SourceMalformed, "/api/v1"),
        (204, "", SourceMalformed, "HTTP 204"),
    ],
)
def test_each_answer_is_the_error_that_says_what_to_do(
    status: int, body: str, kind: type[SourceError], words: str
) -> None:
    error = error_of(status, {}, body.encode(), address="http://vm:8428", secret="vm-credentials")
    assert type(error) is kind
    assert words in str(error)
    assert "http://vm:8428" in str(error)


def test_an_unauthorized_request_without_a_secret_says_where_to_name_one() -> None:
    error = error_of(401, {}, b"", address="http://vm", secret=None)
    assert "authRef" in str(error)


def test_the_server_says_when_to_come_back() -> None:
    error = error_of(429, {"retry-after": "17"}, b"", address="http://vm", secret=None)
    assert isinstance(error, SourceUnavailable)
    assert error.retry_after == 17


def test_a_long_story_of_a_server_is_cut() -> None:
    error = error_of(400, {}, b"x" * 50_000, address="http://vm", secret=None)
    assert len(str(error)) < 400
    assert quote("a\n b\t c") == "a b c"


def test_every_reason_is_one_word_for_a_condition() -> None:
    kinds: list[type[SourceError]] = [SourceError, *SourceError.__subclasses__()]
    assert all(kind.reason.isalpha() and kind.reason[0].isupper() for kind in kinds)
    assert not SourceRefused("").retryable
    assert SourceUnavailable("").retryable


def test_a_configuration_survives_its_row() -> None:
    config = SourceConfig(url="https://vm:8427/prefix", authSecret="a", auth_directory="/s/a")
    row = config.model_dump_json(by_alias=True)
    assert '"authDirectory":"/s/a"' in row
    assert SourceConfig.model_validate_json(row) == config


def test_a_row_of_a_newer_operator_is_read() -> None:
    assert SourceConfig.model_validate({"url": "http://a", "novelty": 1}).url == "http://a"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "needs a url"),
        ({"url": "ftp://vm"}, "pattern"),
        ({"url": "http://user:secret@vm"}, "pattern"),
        ({"url": "http://vm:99999"}, "url of the source is wrong"),
        ({"url": "http://vm", "type": "graphite"}, "prometheus"),
        ({"url": "http://vm", "tenant": "7"}, "tenants"),
        ({"url": "http://vm", "type": "victoriametrics", "tenant": "a/b"}, "pattern"),
        ({"url": "http://vm", "timeoutSeconds": 0}, "greater than 0"),
    ],
)
def test_a_configuration_that_cannot_work_says_why(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        SourceConfig.model_validate(fields)


def test_a_simulation_needs_no_address() -> None:
    assert SourceConfig.model_validate({"type": "simulation"}).url == ""
