"""The simulator as a process against a real VictoriaMetrics: history, live, incident, restart."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metricwatch_dev.paths import REPOSITORY, cache_directory

LATENCY = "shop_http_latency_p95_seconds"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def call(url: str, *, method: str = "GET", body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read() or b"null")


def post_in_chunks(port: int, path: str, body: Any) -> Any:
    """POST as the API server's proxy does: without saying beforehand how much will come."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    text = json.dumps(body).encode()
    connection.request("POST", path, body=iter([text[:5], text[5:]]), encode_chunked=True)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def eventually(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 180
    while True:
        try:
            if found := look():
                return found
        except urllib.error.HTTPError:
            raise
        except OSError:
            pass
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.2)


class Server:
    """VictoriaMetrics on a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                str(cache_directory() / "services" / "bin" / "victoria-metrics"),
                f"-storageDataPath={self.directory}",
                f"-httpListenAddr=127.0.0.1:{self.port}",
                "-retentionPeriod=100y",
                "-search.latencyOffset=0s",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(lambda: urllib.request.urlopen(self.url + "/health").close() or True)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(120)

    def query(self, expression: str) -> list[float]:
        form = urllib.parse.urlencode({"query": expression, "nocache": 1})
        result = call(f"{self.url}/api/v1/query?{form}")["data"]["result"]
        return [float(item["value"][1]) for item in result]


class Simulation:
    """The simulator's process, as its pod runs it."""

    def __init__(self, server: Server, *arguments: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "metricwatch_dev.simulator"),
                *("--url", server.url, "--port", str(self.port), *arguments),
            ],
            env=os.environ | {"PYTHONPATH": str(REPOSITORY / "dev")},
            stdout=subprocess.DEVNULL,
        )

    def state(self) -> Any:
        return call(self.url)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "metrics")
    yield server
    server.stop()


@pytest.fixture
def simulate(server: Server) -> Iterator[Callable[..., Simulation]]:
    started: list[Simulation] = []

    def start(*arguments: str) -> Simulation:
        started.append(Simulation(server, *arguments))
        return started[-1]

    yield start
    for simulation in started:
        if simulation.process.poll() is None:
            simulation.stop()


def test_history_is_complete_and_goes_on_live_without_a_seam(
    server: Server, simulate: Callable[..., Simulation]
) -> None:
    simulation = simulate("--backfill-days", "2", "--interval", "1", "--pods", "1")
    eventually(lambda: simulation.state()["backfilled"])
    began = simulation.state()["pushedUntil"]
    eventually(lambda: simulation.state()["pushedUntil"] >= began + 3)
    count = f"count_over_time({LATENCY}[1h] offset 5m)"
    assert eventually(lambda: server.query(count) == [3600.0])
    # One sample a second right across the moment at which history ended.
    seam = f"count_over_time({LATENCY}[20s] @ {began + 3})"
    assert eventually(lambda: server.query(seam) == [20.0])
    assert eventually(lambda: server.query(f"count_over_time({LATENCY}[3d]) >= 172800"))
    assert simulation.stop() == 0


def test_an_incident_shows_in_the_samples_from_then_on_and_ends(
    server: Server, simulate: Callable[..., Simulation]
) -> None:
    simulation = simulate("--backfill-days", "0.01", "--interval", "1", "--pods", "2")
    eventually(lambda: simulation.state()["backfilled"])
    body = {"kind": "latency", "magnitude": 10, "where": {"pod": "shop-1"}}
    since = post_in_chunks(simulation.port, "/incident", body)["since"]
    eventually(lambda: len(server.query(f"{LATENCY} > 0.5")) == 1)
    assert server.query(f"max_over_time({LATENCY}[1m] @ {since - 1}) > 0.5") == []
    call(simulation.url + "/incident", method="DELETE")
    eventually(lambda: server.query(f"{LATENCY} > 0.5") == [])
    assert simulation.state()["incident"] is None


def test_an_incident_that_cannot_be_is_answered_with_why(
    simulate: Callable[..., Simulation],
) -> None:
    simulation = simulate("--backfill-days", "0.01")
    eventually(simulation.state)
    with pytest.raises(urllib.error.HTTPError) as refused:
        call(simulation.url + "/incident", method="POST", body={"kind": "flood"})
    with refused.value as answer:
        assert answer.code == 400
        assert "kind must be one of" in json.loads(answer.read())["error"]


def test_a_restarted_simulator_fills_the_gap_and_repeats_nothing(
    server: Server, simulate: Callable[..., Simulation]
) -> None:
    first = simulate("--backfill-days", "0.1", "--interval", "1", "--pods", "1")
    eventually(lambda: first.state()["backfilled"])
    first.stop()
    # A sample shows a second after it came; a pod takes longer than that to restart.
    time.sleep(3)
    (stopped,) = map(int, server.query(f"tlast_over_time({LATENCY}[1h])"))
    second = simulate("--backfill-days", "0.1", "--interval", "1", "--pods", "1")
    eventually(lambda: second.state()["pushedUntil"] > stopped + 5)
    counted = f"count_over_time({LATENCY}[60s] @ {stopped + 5})"
    assert eventually(lambda: server.query(counted) == [60.0])


def test_samples_of_a_time_without_a_server_are_sent_later(
    server: Server, simulate: Callable[..., Simulation]
) -> None:
    simulation = simulate("--backfill-days", "0.01", "--interval", "1", "--pods", "1")
    eventually(lambda: simulation.state()["backfilled"])
    server.stop()
    stopped = simulation.state()["pushedUntil"]
    time.sleep(3)
    assert simulation.state()["pushedUntil"] <= stopped + 1
    server.start()
    eventually(lambda: simulation.state()["pushedUntil"] > stopped + 4)
    counted = f"count_over_time({LATENCY}[30s] @ {stopped + 4})"
    assert eventually(lambda: server.query(counted) == [30.0])


def test_a_file_is_replayed_up_to_now_and_then_live(
    server: Server, simulate: Callable[..., Simulation], tmp_path: Path
) -> None:
    path = tmp_path / "queue.csv"
    rows = [f"{1_700_000_000 + i * 300},{i}" for i in range(1000)]
    path.write_text("\n".join(["timestamp,value", *rows]))
    simulation = simulate("--csv", str(path), "--row-seconds", "1", "--history", "0.5")
    eventually(lambda: simulation.state()["backfilled"])
    eventually(lambda: server.query('replay{series="queue"} > 502'))
    assert eventually(lambda: server.query("min_over_time(replay[1h])") == [0.0])
