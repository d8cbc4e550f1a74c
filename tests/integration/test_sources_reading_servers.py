"""Reading from real servers: history in pieces, live samples, and what a server refuses."""

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.integration.metrics_servers import (
    MetricsServer,
    Prometheus,
    VictoriaMetrics,
    exposition,
)

from metricwatch.series import Grid, Labels
from metricwatch.sources import (
    Source,
    SourceConfig,
    SourceError,
    SourceMalformed,
    SourceRefused,
    SourceTooLarge,
    SourceUnavailable,
    open_source,
)

START = 1_700_000_040
PODS = [f"shop-{n}" for n in range(5)]
LONG = Grid(start=START, step=15, count=13_000)


def wave(pod: int, grid: Grid) -> NDArray[np.float64]:
    """What pod number `pod` measured: every seventh hour it was down."""
    ticks = grid.timestamps()
    values = np.round(100 * (pod + 1) + 50 * np.sin(2 * np.pi * ticks / 86_400), 6)
    values[(ticks // 3600 + pod) % 7 == 0] = np.nan
    return values


def assert_measured(read: NDArray[np.float64], measured: NDArray[np.float64]) -> None:
    """Every sample is there; servers repeat the last one for at most two ticks into a gap."""
    there = ~np.isnan(measured)
    np.testing.assert_array_equal(read[there], measured[there])
    recent = there | np.roll(there, 1) | np.roll(there, 2)
    assert np.isnan(read[2:][~recent[2:]]).all()
    assert not recent.all()


def history(grid: Grid) -> list[str]:
    lines: list[str] = []
    for number, pod in enumerate(PODS):
        pairs = zip(grid.timestamps().tolist(), wave(number, grid).tolist(), strict=True)
        lines += exposition("load", {"pod": pod}, [(t, v) for t, v in pairs if v == v])
    return lines


@pytest.fixture(scope="module")
def filled_victoriametrics(victoriametrics: VictoriaMetrics) -> VictoriaMetrics:
    victoriametrics.import_text(history(LONG))
    return victoriametrics


@pytest.fixture(scope="module")
def filled_prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    server = Prometheus(
        tmp_path_factory.mktemp("filled"),
        "--query.lookback-delta=15s",
        "--query.max-samples=10000",
        history=history(LONG),
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["filled_victoriametrics", "filled_prometheus"])
def server(request: pytest.FixtureRequest) -> MetricsServer:
    found: MetricsServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def source(server: MetricsServer) -> AsyncIterator[Source]:
    opened = open_source(SourceConfig(url=server.url), retry_seconds=0)
    yield opened
    await opened.close()


def labels(pod: str) -> Labels:
    return (("__name__", "load"), ("pod", pod))


async def test_a_long_history_arrives_whole_although_no_server_gives_it_at_once(
    source: Source,
) -> None:
    told: list[tuple[int, int]] = []
    panel = await source.query_range("load", LONG, progress=lambda *now: told.append(now))
    assert panel.labels == tuple(labels(pod) for pod in PODS)
    for number, row in enumerate(panel.values):
        assert_measured(row, wave(number, LONG))
    assert len(told) > 1
    assert told[-1] == (LONG.count, LONG.count)


def in_one_query(url: str, form: dict[str, str]) -> list[dict[str, Any]]:
    answer = httpx.post(f"{url}/api/v1/query_range", data=form, timeout=60)
    answer.raise_for_status()
    series: list[dict[str, Any]] = answer.json()["data"]["result"]
    return series


async def test_pieces_give_what_one_query_gives(
    filled_victoriametrics: VictoriaMetrics,
) -> None:
    grid = Grid(start=START, step=300, count=640)
    expr = "sum by (pod) (avg_over_time(load[30m]))"
    form = {"query": expr, "start": f"{grid.start}", "end": f"{grid.end}", "step": "300s"}
    one = in_one_query(filled_victoriametrics.url, {**form, "nocache": "1"})
    source = open_source(SourceConfig(url=filled_victoriametrics.url))
    panel = await source.query_range(expr, grid)
    await source.close()
    assert [dict(found)["pod"] for found in panel.labels] == [s["metric"]["pod"] for s in one]
    for row, series in zip(panel.values, one, strict=True):
        expected = np.full(grid.count, np.nan)
        for t, value in series["values"]:
            expected[grid.index_of(t)] = float(value)
        np.testing.assert_array_equal(row, expected)


async def test_a_live_sample_is_what_history_says_at_the_same_tick(source: Source) -> None:
    grid = LONG.part(100, 60)
    panel = await source.query_range("load * 2", grid)
    for t in (grid.start, grid.end):
        sample = await source.query("load * 2", at=t, step=15)
        there = ~np.isnan(panel.values[:, grid.index_of(t)])
        assert sample.labels == panel.select(there).labels
        np.testing.assert_array_equal(sample.values, panel.values[there, grid.index_of(t)])


async def test_no_more_series_than_asked_for_and_the_others_are_counted(source: Source) -> None:
    grid = LONG.part(0, 600)
    panel = await source.query_range("load", grid, max_series=2)
    assert (panel.labels, panel.left_out) == (tuple(labels(pod) for pod in PODS[:2]), 3)
    at = START + 2 * 3600
    everything = await source.query("load", at=at, step=60)
    sample = await source.query("load", at=at, step=60, max_series=2)
    assert sample.labels == everything.labels[:2]
    assert sample.left_out == len(everything.labels) - 2


async def test_the_labels_of_a_live_query_stay_the_same_object(source: Source) -> None:
    at = START + 2 * 3600
    first = await source.query("load", at=at, step=60)
    assert (await source.query("load", at=at + 60, step=60)).labels is first.labels


async def test_a_query_without_series_gives_none(source: Source) -> None:
    assert (await source.query_range("absent_metric", LONG.part(0, 3))).values.shape == (0, 3)
    assert (await source.query("absent_metric", at=START, step=60)).labels == ()
    assert (await source.query_range("load", Grid(START, 60, 0))).values.shape == (0, 0)


async def test_a_number_without_series_is_one_series_without_labels(source: Source) -> None:
    sample = await source.query("3", at=START, step=60)
    assert (sample.labels, sample.values.tolist()) == (((),), [3.0])
    panel = await source.query_range("3", LONG.part(0, 3))
    assert (panel.labels, panel.values.tolist()) == (((),), [[3.0, 3.0, 3.0]])


@pytest.mark.parametrize(
    ("expr", "words"),
    [("sum(load", "sum"), ("load[5m]", "rate"), ("nonsense(load)", "nonsense")],
)
async def test_a_bad_query_is_refused_in_the_words_of_the_server(
    source: Source, server: MetricsServer, expr: str, words: str
) -> None:
    with pytest.raises(SourceRefused) as caught:
        await source.query(expr, at=START, step=60)
    assert words in str(caught.value) or "parse error" in str(caught.value)
    assert not caught.value.retryable


async def test_a_url_without_a_prometheus_api_is_told_apart_from_a_bad_query(
    server: MetricsServer,
) -> None:
    source = open_source(SourceConfig(url=f"{server.url}/elsewhere"), retry_seconds=0)
    with pytest.raises(SourceMalformed):
        await source.query("load", at=START, step=60)
    await source.close()


async def test_pieces_shrink_until_they_fit_what_this_process_may_hold(
    server: MetricsServer,
) -> None:
    grid = LONG.part(0, 1_500)
    source = open_source(SourceConfig(url=server.url, max_response_bytes=20_000))
    panel = await source.query_range("load", grid)
    assert_measured(panel.values[0], wave(0, grid))
    await source.close()


async def test_an_answer_that_fits_in_no_piece_is_refused_with_what_to_do(
    server: MetricsServer,
) -> None:
    source = open_source(SourceConfig(url=server.url, max_response_bytes=1_024))
    wide = " or ".join(f'label_replace(load, "copy", "{n}", "", "")' for n in range(8))
    for asking in (
        source.query(wide, at=START + 2 * 3600, step=60),
        source.query_range(wide, LONG.part(120, 4)),
    ):
        with pytest.raises(SourceTooLarge, match="aggregate"):
            await asking
    await source.close()


async def test_a_limit_of_the_server_itself_is_not_a_bad_query(
    filled_prometheus: Prometheus,
) -> None:
    source = open_source(SourceConfig(url=filled_prometheus.url))
    with pytest.raises(SourceTooLarge, match="too many samples"):
        await source.query("sum(count_over_time(load[54h]))", at=LONG.end, step=60)
    await source.close()


async def test_a_query_that_takes_too_long_is_given_up_by_the_server(
    filled_prometheus: Prometheus,
) -> None:
    source = open_source(SourceConfig(url=filled_prometheus.url, timeout_seconds=0.001))
    with pytest.raises(SourceUnavailable, match=r"too long: .*(timed out|deadline)"):
        await source.query("sum(quantile_over_time(0.9, load[48h]))", at=LONG.end, step=60)
    await source.close()


async def test_a_sample_is_seen_as_soon_as_it_is_stored(victoriametrics: VictoriaMetrics) -> None:
    now = int(time.time())
    older = [(now - age, 1.0) for age in range(300, 0, -15)]
    victoriametrics.import_text(exposition("fresh", {}, [*older, (now, 2.0)]))
    source = open_source(SourceConfig(url=victoriametrics.url))
    assert (await source.query("fresh", at=now, step=15)).values.tolist() == [2.0]
    panel = await source.query_range("fresh", Grid(now - 60, 15, 5))
    assert panel.values.tolist() == [[1.0, 1.0, 1.0, 1.0, 2.0]]
    await source.close()


async def test_a_series_that_ended_is_gone_after_about_an_interval(
    victoriametrics: VictoriaMetrics,
) -> None:
    grid = Grid(START, 60, 30)
    victoriametrics.import_text(exposition("ended", {}, [(t, 1.0) for t in grid.timestamps()]))
    source = open_source(SourceConfig(url=victoriametrics.url))
    assert (await source.query("ended", at=grid.end + 150, step=60)).labels == ()
    panel = await source.query_range("ended", Grid(grid.end, 60, 4))
    assert np.isnan(panel.values[0]).tolist() == [False, False, True, True]
    await source.close()


async def test_a_scraped_sample_is_fresh(prometheus: Prometheus) -> None:
    source = open_source(SourceConfig(url=prometheus.url))
    age, deadline = np.inf, time.monotonic() + 60
    while age > 5 and time.monotonic() < deadline:
        now = int(time.time())
        sample = await source.query("timestamp(up)", at=now, step=15)
        age = now - sample.values.max(initial=-np.inf)
    assert 0 <= age <= 5
    await source.close()


async def test_a_server_that_is_down_is_unavailable_and_works_when_it_is_back(
    tmp_path: Path,
) -> None:
    server = VictoriaMetrics(tmp_path / "vm")
    source = open_source(SourceConfig(url=server.url), retry_seconds=0.5)
    with pytest.raises(SourceUnavailable, match="cannot be reached") as caught:
        await source.query("1", at=START, step=60)
    assert caught.value.retryable
    try:
        for _ in range(2):
            server.start()
            assert (await source.query("1", at=START, step=60)).values.tolist() == [1.0]
            server.stop()
            with pytest.raises(SourceError):
                await source.query("1", at=START, step=60)
    finally:
        server.stop()
        await source.close()
