"""Dashboards, rules and runbooks against what really runs.

A detector with an incident and an operator with a model in trouble are scraped by a Prometheus and
a VictoriaMetrics; every query that we hand out must find something there.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from tests.chart_rendering import write_rules
from tests.integration.detector_fixture import world
from tests.integration.detector_world import (
    Feed,
    World,
    artifact_of,
    chunk_of,
    eventually,
    feeding,
    settings_of,
)
from tests.integration.free_ports import free_port
from tests.integration.grafana import Board
from tests.integration.metrics_servers import MetricsServer, Prometheus, VictoriaMetrics
from tests.integration.operator_fixture import (
    SYSTEM,
    Stage,
    TrainerEnd,
    operator_plane,
    stage,
    wait_for,
)

from metricwatch_dev.dashboards.command import DASHBOARDS, DIRECTORY
from metricwatch_dev.paths import REPOSITORY

__all__ = ["operator_plane", "stage", "world"]

RUNBOOKS = sorted((REPOSITORY / "docs" / "runbooks").glob("Metricwatch*.md"))


@dataclass(frozen=True, slots=True)
class Scene:
    """What runs, and the servers that scrape it."""

    stage: Stage
    world: World
    servers: tuple[MetricsServer, ...]

    @property
    def prometheus(self) -> MetricsServer:
        """The one that evaluates the chart's rules."""
        return self.servers[0]


async def test_what_is_handed_out_finds_what_it_asks_for(
    stage: Stage, world: World, victoriametrics: VictoriaMetrics, tmp_path: Path
) -> None:
    await asyncio.to_thread(_bring_models_about, stage)
    async with running(stage, world, victoriametrics, tmp_path) as scene:
        await asyncio.to_thread(every_rule_is_evaluated_and_alerts_fire, scene)
        await asyncio.to_thread(every_query_of_the_dashboards_gives_series, scene)
        await asyncio.to_thread(queries_of_runbooks_are_understood, scene)
        await statements_of_runbooks_are_understood(scene)
        await asyncio.to_thread(commands_of_runbooks_work, scene)


def _bring_models_about(stage: Stage) -> None:
    """A model that serves, and one whose training fails."""
    stage.operator().start()
    stage.add_model()
    stage.add_watch()
    stage.wait_for_serving(1)
    stage.kubelet.trainer = TrainerEnd(code=10, reason="NotEnoughData", message="too short")
    stage.add_model("broken")
    stage.add_watch("errors", model="broken")
    stage.namespace.wait_for_condition(
        "AnomalyModel", "broken", "Trained", "False", reason="NotEnoughData"
    )


@asynccontextmanager
async def running(
    stage: Stage, world: World, samples: VictoriaMetrics, directory: Path
) -> AsyncIterator[Scene]:
    """An incident of a whole system, and a watch without a source beside it."""
    pods = ["a", "b", "c", "d"]
    async with feeding(Feed(samples, "monitored", pods)) as feed:
        await world.set_watch(settings_of(feed))
        nowhere = {"type": "prometheus", "url": f"http://127.0.0.1:{free_port()}"}
        await world.set_watch(settings_of(feed, source=nowhere), uid="watch-2")
        await world.add_version(1, [artifact_of(chunk_of(feed, pods))])
        detector = world.start()

        async def scores() -> bool:
            with suppress(httpx.TransportError):
                name = "metricwatch_value"
                return await detector.sample(name, watch="name-of-watch-1") is not None
            return False

        await eventually(scores, what="scores")
        servers = _scraping(directory, detector=detector.port, operator=stage.operators[0].port)
        try:
            for server in servers:
                await asyncio.to_thread(server.start)
            feed.raised |= {"a", "b", "c"}
            yield Scene(stage, world, servers)
        finally:
            for server in servers:
                await asyncio.to_thread(server.stop)


def _scraping(directory: Path, *, detector: int, operator: int) -> tuple[MetricsServer, ...]:
    """A Prometheus with the chart's rules and a VictoriaMetrics, with the labels of the chart."""
    targets = {"metricwatch-detector": detector, "metricwatch-operator": operator}
    jobs: list[dict[str, Any]] = [
        {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        for job, port in targets.items()
    ]
    jobs[0] |= {
        "honor_labels": True,
        "relabel_configs": [
            {"target_label": "detector", "replacement": "checkout-detector-v1-0"},
            {"target_label": "instance", "replacement": "metricwatch-detector"},
        ],
    }
    common = {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}
    (directory / "scrape.yml").write_text(yaml.safe_dump(common))
    evaluated = {"rule_files": [str(write_rules(directory))]}
    timing = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}}
    return (
        Prometheus(
            directory / "prometheus", configuration=yaml.safe_dump(common | evaluated | timing)
        ),
        VictoriaMetrics(directory / "scraping", f"-promscrape.config={directory / 'scrape.yml'}"),
    )


def every_rule_is_evaluated_and_alerts_fire(scene: Scene) -> None:
    """Those that wait for nothing fire; the others are pending, or well."""
    fires = {"MetricwatchAnomalyOpen", "MetricwatchSystemAnomaly"}
    waits = {"MetricwatchNoServingVersion", "MetricwatchTrainingFailed"}
    wanted = dict.fromkeys(fires, "firing") | dict.fromkeys(waits, "pending")
    # A scrape may fail where the machine has much to do: it is pending for a moment then.
    wanted["MetricwatchOperatorDown"] = "inactive"

    def states() -> dict[str, tuple[str, str]]:
        return _rule_states(scene.prometheus.url)

    wait_for(
        lambda: (
            wanted.items() <= {name: state for name, (_, state) in states().items()}.items()
            and {health for health, _ in states().values()} == {"ok"}
        ),
        lambda: str(states()),
    )
    assert len(states()) == 15


def _rule_states(url: str) -> dict[str, tuple[str, str]]:
    """Health and state of each alert rule."""
    answer = httpx.get(f"{url}/api/v1/rules", trust_env=False).json()
    rules = [rule for group in answer["data"]["groups"] for rule in group["rules"]]
    return {rule["name"]: (rule["health"], rule["state"]) for rule in rules}


def every_query_of_the_dashboards_gives_series(scene: Scene) -> None:
    """From both servers, with All chosen and with every value chosen by itself."""
    for server in scene.servers:
        with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
            for name in DASHBOARDS:
                model = json.loads((DIRECTORY / name).read_text())
                for choose_all in (True, False):
                    where = f"{name} on {server.program}, all: {choose_all}"
                    _gives_series(scene, Board(model, client, choose_all=choose_all), where=where)


def _gives_series(scene: Scene, board: Board, *, where: str) -> None:
    waiting = dict(board.queries())

    def nothing_waits() -> bool:
        # An operator at rest reconciles nothing: there would be no time that one took.
        label = {"metadata": {"labels": {"look": str(time.monotonic_ns())}}}
        scene.stage.namespace.merge("AnomalyModel", "checkout", label)
        if not board.choose():
            return False
        for name, target in tuple(waiting.items()):
            if _has_samples(board.ask(target)):
                del waiting[name]
        return not waiting

    wait_for(nothing_waits, lambda: f"{where}: {board.chosen}: nothing for {sorted(waiting)}")


def _has_samples(series: list[dict[str, Any]]) -> bool:
    values = [
        float(value)
        for one in series
        for _, value in one.get("values") or [one.get("value", (0, "nan"))]
    ]
    return any(not math.isnan(value) for value in values)


def _blocks(page: Path) -> list[str]:
    """Blocks of code of a runbook, with the words in capitals put in."""
    blocks = re.findall(r"```\n(.*?)```", page.read_text(), re.S)
    return [block.strip() for block in blocks]


def queries_of_runbooks_are_understood(scene: Scene) -> None:
    asked = 0
    with httpx.Client(base_url=scene.prometheus.url, trust_env=False) as client:
        for page in RUNBOOKS:
            for block in _blocks(page):
                if block.startswith(("kubectl", "SELECT")):
                    continue
                for line in block.splitlines():
                    answer = client.get("/api/v1/query", params={"query": line})
                    assert answer.status_code == 200, f"{page.name}: {line}: {answer.text}"
                    asked += 1
    assert asked > 5


async def statements_of_runbooks_are_understood(scene: Scene) -> None:
    statements = [block for page in RUNBOOKS for block in _blocks(page) if "SELECT" in block]
    assert statements
    for statement in statements:
        rows = await scene.world.fetch(statement.replace("SYSTEM", "checkout").rstrip(";"))
        assert len(rows) == 3


def commands_of_runbooks_work(scene: Scene) -> None:
    """All but those that only a kubelet answers."""
    meant = {
        "OPERATOR_NAMESPACE": SYSTEM,
        "NAMESPACE": scene.stage.namespace.name,
        "MODEL": "checkout",
        "WATCH": "latency",
        "VERSION": "1",
        "DETECTOR": next(
            pod["metadata"]["name"]
            for pod in scene.stage.namespace.all("Pod")
            if pod["metadata"]["labels"]["app.kubernetes.io/component"] == "detector"
        ),
    }
    tried = 0
    for page in RUNBOOKS:
        lines = [line for block in _blocks(page) for line in block.splitlines()]
        inline = re.findall(r"`(kubectl [^`]+)`", page.read_text())
        for command in [line for line in lines if line.startswith("kubectl")] + inline:
            if re.search(r" (logs|top) ", command):
                continue
            for word, value in meant.items():
                command = re.sub(rf"\b{word}\b", value, command)
            _run(scene, command, page=page.name)
            tried += 1
    assert tried > 20


def _run(scene: Scene, command: str, *, page: str) -> None:
    kubectl = " ".join(scene.stage.plane.kubectl)
    done = subprocess.run(
        ["bash", "-c", command.replace("kubectl", kubectl, 1)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, f"{page}: {command}: {done.stderr}"
