"""The two programs that evaluate the chart's alert rules, asked when an alert fires.

Promtool says what Prometheus does with them. The release of VictoriaMetrics that tests run with
has no such tester, so vmalert evaluates what a server holds, over the time of the test.
"""

import itertools
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import httpx
import yaml
from tests.integration.metrics_servers import VictoriaMetrics

from metricwatch_dev.paths import cache_directory

INTERVAL = 15
# A day apart, no test reads another one's samples on the server that they share.
DAYS = itertools.count(1)
DAY = 86_400
BEGIN = 1_704_067_200


def program(name: str) -> str:
    path = cache_directory() / "services" / "bin" / name
    assert path.exists(), "run `python -m metricwatch_dev binaries --only services`"
    return str(path)


class RuleTester(Protocol):
    """One of the two, given the chart's rules."""

    def check(
        self, alert: str, series: Mapping[str, str], expected: Mapping[str, list[dict[str, str]]]
    ) -> None:
        """Fails unless `alert` fires, after each time of `expected`, with exactly these labels."""


def rules_in(path: Path) -> dict[str, Any]:
    """Returns the rules of a file by the names of their alerts."""
    groups = yaml.safe_load(path.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


@dataclass(frozen=True)
class Promtool:
    """Prometheus's own tester of rules."""

    rules: Path
    directory: Path

    def check(
        self, alert: str, series: Mapping[str, str], expected: Mapping[str, list[dict[str, str]]]
    ) -> None:
        severity = rules_in(self.rules)[alert]["labels"]["severity"]
        tests = [
            {
                "eval_time": time,
                "alertname": alert,
                "exp_alerts": [{"exp_labels": {"severity": severity, **one}} for one in labels],
            }
            for time, labels in expected.items()
        ]
        self.run(series, tests)

    def run(self, series: Mapping[str, str], tests: list[dict[str, Any]]) -> None:
        """Fails unless promtool is content with what it finds in these series."""
        inputs = [{"series": name, "values": values} for name, values in series.items()]
        test = {"interval": f"{INTERVAL}s", "input_series": inputs, "alert_rule_test": tests}
        content = {
            "rule_files": [str(self.rules)],
            "evaluation_interval": f"{INTERVAL}s",
            "tests": [test],
        }
        path = self.directory / "test.yaml"
        path.write_text(yaml.safe_dump(content))
        done = subprocess.run(
            [program("promtool"), "test", "rules", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True)
class Vmalert:
    """VictoriaMetrics's evaluator, which replays a time and stores when alerts fired."""

    rules: Path
    directory: Path
    server: VictoriaMetrics

    def check(
        self, alert: str, series: Mapping[str, str], expected: Mapping[str, list[dict[str, str]]]
    ) -> None:
        begin = BEGIN + next(DAYS) * DAY
        self.server.import_text(
            # Promtool's time begins at 0, and so do the times that values tell.
            f"{name} {value + begin * ('_timestamp_' in name)} {begin + tick * INTERVAL}000"
            for name, notation in series.items()
            for tick, value in samples(notation)
        )
        rule = rules_in(self.rules)[alert]
        ends = {time: begin + seconds(time) for time in expected}
        self._replay(rule, begin, max(ends.values()))
        severity = rule["labels"]["severity"]
        fired = {time: self._fired(alert, end) for time, end in ends.items()}
        wanted = {
            time: ordered([{"severity": severity, **one} for one in labels])
            for time, labels in expected.items()
        }
        assert fired == wanted, f"{fired}, not {wanted}"

    def _replay(self, rule: dict[str, Any], begin: int, end: int) -> None:
        path = self.directory / "one.rules.yaml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [rule]}]}))
        first, last = (datetime.fromtimestamp(at, UTC) for at in (begin, end))
        command = [
            program("vmalert"),
            *(f"-rule={path}", f"-evaluationInterval={INTERVAL}s"),
            f"-datasource.queryStep={INTERVAL}s",
            *(f"-datasource.url={self.server.url}", f"-remoteWrite.url={self.server.url}"),
            f"-replay.timeFrom={first:%FT%TZ}",
            f"-replay.timeTo={last + timedelta(seconds=INTERVAL):%FT%TZ}",
            *("-replay.rulesDelay=1ms", "-replay.disableProgressBar"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def _fired(self, alert: str, at: int) -> list[dict[str, str]]:
        """Returns the labels of what fired at that very second."""
        with httpx.Client(base_url=self.server.url, timeout=60) as client:
            client.get("/internal/force_flush").raise_for_status()
            wanted = f'ALERTS{{alertname="{alert}",alertstate="firing"}}'
            query = {"match[]": wanted, "start": str(at), "end": str(at)}
            lines = client.get("/api/v1/export", params=query).raise_for_status().text.splitlines()
        its_own = {"__name__", "alertname", "alertstate", "alertgroup"}
        found = [json.loads(line)["metric"] for line in lines]
        return ordered([{k: v for k, v in one.items() if k not in its_own} for one in found])


def ordered(labels: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(labels, key=lambda one: sorted(one.items()))


def seconds(text: str) -> int:
    """Returns a duration of promtool's in seconds.

    >>> [seconds(text) for text in ("1m15s", "4m", "30s")]
    [75, 240, 30]
    """
    minutes, _, rest = text.partition("m") if "m" in text else ("0", "", text)
    return int(minutes) * 60 + int(rest.removesuffix("s") or 0)


def samples(notation: str) -> Iterator[tuple[int, float]]:
    """Yields the number of the interval and the value, for each that promtool's notation has.

    What comes after `stale` is missing, as it is on a server that is not told.

    >>> list(samples("1x2 _x1 5+10x1 stale 7"))
    [(0, 1.0), (1, 1.0), (2, 1.0), (4, 5.0), (5, 15.0), (7, 7.0)]
    """
    tick = 0
    for word in notation.split():
        start, repeated, times = word.partition("x")
        count = int(times) + 1 if repeated else 1
        first, _, step = start.partition("+")
        if start == "_":
            # Unlike a value, it is not there once more than it says.
            count = int(times) if repeated else 1
        elif start != "stale":
            yield from ((tick + i, float(first) + i * float(step or 0)) for i in range(count))
        tick += count
