"""The command line reads real servers as the trainer does."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.integration.metrics_servers import (
    MetricsServer,
    Prometheus,
    VictoriaMetrics,
    exposition,
)

from metricwatch.series import Grid
from metricwatch_cli.main import main

GRID = Grid(start=1_700_000_100, step=300, count=1000)
SPIKE = 800
PODS = ("a", "b", "c")


def history() -> list[str]:
    rng = np.random.default_rng(0)
    lines: list[str] = []
    for number, pod in enumerate(PODS):
        values = 50 + 5 * np.sin(np.arange(GRID.count) / 8) + rng.normal(0, 1, GRID.count)
        values[SPIKE] += 200 * (number == 0)
        samples = zip(GRID.timestamps().tolist(), values.tolist(), strict=True)
        lines += exposition("backtest_requests", {"pod": pod}, samples)
    return lines


@pytest.fixture(scope="module")
def filled_victoriametrics(victoriametrics: VictoriaMetrics) -> VictoriaMetrics:
    victoriametrics.import_text(history())
    return victoriametrics


@pytest.fixture(scope="module")
def filled_prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    server = Prometheus(tmp_path_factory.mktemp("backtested"), history=history())
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["filled_victoriametrics", "filled_prometheus"])
def server(request: pytest.FixtureRequest) -> MetricsServer:
    found: MetricsServer = request.getfixturevalue(request.param)
    return found


def ask(server: MetricsServer, out: Path, *more: str) -> list[str]:
    return [
        *("backtest", "--url", server.url, "--start", str(GRID.start), "--end", str(GRID.end)),
        *("--out", str(out), "--interval", "5m", "--jobs", "1", "--no-plots"),
        *("--algorithm", "seasonal", *more),
    ]


def report_of(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((out / "report.json").read_text())
    return loaded


def test_every_series_of_a_query_is_walked_through_and_the_spike_found(
    server: MetricsServer, tmp_path: Path
) -> None:
    assert main(ask(server, tmp_path / "out", "--query", "backtest_requests")) == 0
    report = report_of(tmp_path / "out")
    assert [series["series"] for series in report["series"]] == [
        f"backtest_requests,pod={pod}" for pod in PODS
    ]
    assert all(series["samples"] >= GRID.count // 2 for series in report["series"])
    anomalies = json.loads((tmp_path / "out" / "anomalies.json").read_text())
    at_the_spike = [one for one in anomalies if one["value"] is not None and one["value"] > 200]
    (found,) = at_the_spike
    assert found["column"] == 'backtest_requests{pod="a"}'
    assert server.url in report["data"]


def test_a_watch_says_what_to_ask(server: MetricsServer, tmp_path: Path) -> None:
    watch = tmp_path / "watch.yaml"
    watch.write_text(
        "apiVersion: metricwatch.io/v1alpha1\n"
        "kind: MetricWatch\n"
        "metadata: {name: shop}\n"
        "spec:\n"
        "  modelRef: {name: shop}\n"
        "  interval: 5m\n"
        "  maxSeries: 1\n"
        "  queries:\n"
        "    - {name: total, expr: sum(backtest_requests)}\n"
        "    - {name: single, expr: backtest_requests}\n"
    )
    assert main(ask(server, tmp_path / "out", "--watch", str(watch))) == 0
    (series,) = report_of(tmp_path / "out")["series"]
    assert "beyond the limit were left out" in series["notes"][0]


def test_a_model_of_a_query_scores_the_same_query_later(
    server: MetricsServer, tmp_path: Path
) -> None:
    middle = str(GRID.start + GRID.step * GRID.count // 2)
    where = ["--url", server.url, "--query", "backtest_requests", "--interval", "5m"]
    model, out = str(tmp_path / "model"), tmp_path / "out"
    past = ["--start", str(GRID.start), "--end", middle, "--jobs", "1", "--algorithm", "seasonal"]
    assert main(["train", "--out", model, *where, *past]) == 0
    later = ["--start", middle, "--end", str(GRID.end), "--jobs", "1", "--no-plots"]
    assert main(["evaluate", model, "--out", str(out), *where, *later]) == 0
    report = report_of(out)
    assert report["total"]["families"] == {"seasonal": len(PODS)}
    assert report["total"]["anomalies"] >= 1


@pytest.mark.parametrize(
    ("query", "said"),
    [("backtest_requests{", "parse"), ("backtest_nothing", "the query gives no series")],
)
def test_a_query_that_gives_nothing_ends_with_what_the_server_said(
    server: MetricsServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    query: str,
    said: str,
) -> None:
    assert main(ask(server, tmp_path / "out", "--query", query)) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
