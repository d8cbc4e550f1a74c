"""Looking at what Metricwatch says, in each of the places where it says it."""

from dataclasses import dataclass
from typing import Any

from metricwatch_dev.demo.installing import RELEASE, SERVICES, SHOP, SYSTEM
from metricwatch_dev.demo.kubectl import Kubectl, Manifest, Service
from metricwatch_dev.demo.waiting import condition_words

PROMETHEUS = Service(SERVICES, "prometheus", 9090)
SIMULATOR = Service(SERVICES, "simulator", 8080)
ALERT = "MetricwatchAnomalyOpen"
ANOMALIES = """
SELECT watch_name AS watch, coalesce(labels->>'pod', labels->>'series') AS series,
       kind, state, severity,
       to_char(started_at, 'HH24:MI:SS') AS started, to_char(ended_at, 'HH24:MI:SS') AS ended,
       round(peak_value::numeric, 3) AS peak, round(peak_expected::numeric, 3) AS expected,
       round(peak_score::numeric, 1) AS score
FROM anomaly_points WHERE started_at >= to_timestamp({since})
ORDER BY 6, 1, 2 LIMIT 12
"""


@dataclass(frozen=True, slots=True)
class Watching:
    """The model and watches of the demo, through a cluster's API server."""

    kubectl: Kubectl

    def models_ready(self) -> tuple[bool, str]:
        """Return whether every model is Ready, and the words of the first that is not."""
        return self._all_ready("anomalymodels.metricwatch.io")

    def watches_ready(self) -> tuple[bool, str]:
        """Return whether every watch is Ready, and the words of the first that is not."""
        return self._all_ready("metricwatches.metricwatch.io")

    def backfilled(self) -> tuple[bool, str]:
        """Return whether the simulator has brought all history, and has gone live."""
        state = self.kubectl.call(SIMULATOR)
        series = len(state["series"])
        return state["backfilled"], f"{series} series" if state["backfilled"] else ""

    def open_anomalies(self) -> dict[str, int]:
        """Return how many anomalies each watch's status says are open."""
        return {
            item["metadata"]["name"]: int(item.get("status", {}).get("openAnomalies", 0))
            for item in self._items("metricwatches.metricwatch.io")
        }

    def firing(self) -> list[Manifest]:
        """Return the firing alerts of anomalies."""
        answer = self.kubectl.call(PROMETHEUS, "/api/v1/alerts")
        return [
            alert
            for alert in answer["data"]["alerts"]
            if alert["state"] == "firing" and alert["labels"]["alertname"] == ALERT
        ]

    def detectors_scraped(self) -> tuple[bool, str]:
        """Return whether Prometheus has scraped a detector that exports series."""
        answer = self.kubectl.call(
            PROMETHEUS, "/api/v1/query?query=count(metricwatch_anomaly_score)"
        )
        result = answer["data"]["result"]
        return bool(result), f"{result[0]['value'][1]} series" if result else ""

    def anomaly_open_and_alert_firing(self) -> tuple[bool, str]:
        """Return whether both say so, and what they say."""
        opened, alerts = sum(self.open_anomalies().values()), len(self.firing())
        return bool(opened and alerts), _count(opened, alerts)

    def all_resolved(self) -> tuple[bool, str]:
        """Return whether neither says so any more."""
        opened, alerts = sum(self.open_anomalies().values()), len(self.firing())
        return not opened and not alerts, _count(opened, alerts)

    def table(self) -> str:
        """Return what `kubectl get am,mw` shows."""
        return self.kubectl.run("get", "am,mw", "--namespace", SHOP)

    def anomalies(self, *, since: int) -> str:
        """Return the anomalies that PostgreSQL holds, as psql shows them."""
        psql = ("psql", "-h", "/tmp", "-U", "metricwatch", "-d", "metricwatch", "-P", "footer=off")
        pod = f"statefulset/{RELEASE}-postgresql"
        query = " ".join(ANOMALIES.format(since=since).split())
        return self.kubectl.run("exec", "--namespace", SYSTEM, pod, "--", *psql, "-c", query)

    def _all_ready(self, kind: str) -> tuple[bool, str]:
        items = self._items(kind)
        unready = [words for true, words in map(condition_words, items) if not true]
        ready = bool(items) and not unready
        return ready, "" if ready else (unready or ["none there yet"])[0]

    def _items(self, kind: str) -> list[Any]:
        items: list[Any] = self.kubectl.get(kind, "--namespace", SHOP)["items"]
        return items


def alert_lines(alerts: list[Manifest]) -> str:
    """Return one line an alert: when it began to fire, and the labels of the series.

    >>> alert_lines([{"activeAt": "2026-11-21T10:00:00.5Z", "annotations": {"summary": "it is"},
    ...               "labels": {"alertname": "A", "severity": "warning", "pod": "shop-1"}}])
    'A  since 10:00:00  it is  {pod="shop-1"}'
    """
    hidden = {"alertname", "severity", "job", "instance", "watch", "watch_namespace", "model"}
    lines = []
    for alert in sorted(alerts, key=lambda item: sorted(item["labels"].items())):
        labels = alert["labels"]
        own = ", ".join(f'{k}="{v}"' for k, v in sorted(labels.items()) if k not in hidden)
        since = alert["activeAt"].partition("T")[2][:8]
        summary = alert["annotations"]["summary"]
        lines.append(f"{labels['alertname']}  since {since}  {summary}  {{{own}}}")
    return "\n".join(lines)


def _count(opened: int, alerts: int) -> str:
    return f"{opened} open anomalies, {alerts} firing alerts"
