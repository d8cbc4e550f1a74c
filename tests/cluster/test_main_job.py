"""The main job on recorded data of real services: learn, detect, alert, resolve, change, delete.

The tests of this module follow one another: each starts where the one before it ended, as a user's
day does. Two models learn from the same recordings: `profiles` (seasonal) and `networks` (LSTM).
"""

import re
import time

import pytest
from tests.cluster.conftest import LEAD, ROW_SECONDS
from tests.cluster.stack import Stack, anomaly_model, metric_watch

from metricwatch_dev.demo.installing import SERVICES, SHOP
from metricwatch_dev.demo.waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

# A recorded day of 1,440 rows takes two hours at a row every 5 s.
PROFILES = {
    "algorithm": {"type": "seasonal", "seasonal": {"periods": ["2h"]}},
    "training": {"window": "10h"},
    # The version before runs on so long: nobody waits ten minutes here.
    "rollout": {"rollbackWindow": "30s"},
}
NETWORKS = {
    "algorithm": {"type": "lstm", "lstm": {"hidden": 16, "epochs": 6}},
    "training": {"window": "9h"},
}
# A week of the recording passes in 14 hours, and so does its budget of false alarms.
LIVE = {
    "interval": f"{ROW_SECONDS}s",
    "delay": "2s",
    "detection": {"falseAlarmsPerWeek": 50, "cooldown": "15s"},
}


@pytest.fixture(scope="module")
def learned(stack: Stack) -> Stack:
    stack.apply(
        anomaly_model("profiles", PROFILES),
        metric_watch("kpi", "profiles", 'replay{series=~"kpi-.*"}', LIVE),
        metric_watch("traffic", "profiles", 'replay{series="network"}', LIVE),
        anomaly_model("networks", NETWORKS),
        metric_watch("requests", "networks", 'replay{series="requests"}', LIVE),
    )
    for model in ("profiles", "networks"):
        stack.wait_for_condition("anomalymodel", model, "Ready", seconds=LEAD * ROW_SECONDS)
    for watch in ("kpi", "traffic", "requests"):
        stack.wait_for_condition("metricwatch", watch, "Ready", seconds=60)
    return stack


def test_what_was_learned_is_on_the_status(learned: Stack) -> None:
    status = learned.read("anomalymodel", "networks")["status"]
    assert (status["servingVersion"], status["series"], status["watches"]) == (1, 1, 1)
    assert status["versions"][0]["state"] == "Serving"
    assert status["versions"][0]["algorithm"] == "lstm"
    assert status["observedGeneration"] == 1
    watch = learned.read("metricwatch", "kpi")["status"]
    assert (watch["modelVersion"], watch["series"]) == (1, 2)


def test_prometheus_evaluates_every_rule_of_the_chart(learned: Stack) -> None:
    rules = learned.rules()
    config = learned.kubectl.get("configmap", "metricwatch-rules", "--namespace", SERVICES)
    assert rules.keys() == set(re.findall(r"alert: (\w+)", "".join(config["data"].values())))
    assert {health for health, _ in rules.values()} == {"ok"}
    # What the scrape configuration calls the operator is what the rules call it.
    assert rules["MetricwatchOperatorDown"][1] == "inactive"


@pytest.mark.parametrize(
    ("watch", "series"), [("kpi", "kpi-b"), ("traffic", "network"), ("requests", "requests")]
)
def test_a_recorded_incident_opens_an_anomaly_everywhere(
    learned: Stack, watch: str, series: str
) -> None:
    def look() -> tuple[bool, str]:
        found = [a for a in learned.anomalies(watch) if a["labels"]["series"] == series]
        # What was anomalous at once would be a false alarm, or old news.
        return bool(found), f"{len(found)} anomalies of {series}"

    wait_until(f"an anomaly of {series}", look, seconds=LEAD * ROW_SECONDS + 60)
    wait_until(
        "a firing alert",
        lambda: (
            bool(learned.alerts(alertname="MetricwatchAnomalyOpen", watch=watch, series=series)),
            "",
        ),
        seconds=60,
    )
    anomaly = next(a for a in learned.anomalies(watch) if a["labels"]["series"] == series)
    assert anomaly["peak_score"] > 1
    assert anomaly["explanation"] != {}

    def on_status() -> tuple[bool, str]:
        last = learned.read("metricwatch", watch)["status"].get("lastAnomalyTime")
        return last is not None, f"lastAnomalyTime {last}"

    wait_until("the anomaly on the watch's status", on_status, seconds=30)


@pytest.mark.parametrize("watch", ["kpi", "traffic", "requests"])
def test_the_end_of_the_incident_resolves_anomaly_and_alert(learned: Stack, watch: str) -> None:
    def look() -> tuple[bool, str]:
        states = [a["state"] for a in learned.anomalies(watch)]
        alerts = learned.alerts(alertname="MetricwatchAnomalyOpen", watch=watch)
        opened = learned.read("metricwatch", watch)["status"]["openAnomalies"]
        over = set(states) == {"resolved"} and not alerts and opened == 0
        return over, f"{states}, {len(alerts)} alerts, {opened} open on the status"

    wait_until(f"the end of {watch}'s anomalies", look, seconds=420)


def test_another_policy_counts_at_once_and_trains_nothing(learned: Stack) -> None:
    jobs = learned.children("networks")["Job"]
    before = int(time.time())
    # Whatever is far from what is expected is now too close to be worth a word, and the reverse.
    learned.patch("metricwatch", "requests", {"detection": {"falseAlarmsPerWeek": 10000}})

    def look() -> tuple[bool, str]:
        found = learned.anomalies("requests", since=before)
        return bool(found), f"{len(found)} anomalies since the change"

    wait_until("an anomaly under the sensitive policy", look, seconds=240)
    learned.patch("metricwatch", "requests", {"detection": {"falseAlarmsPerWeek": 50}})
    learned.wait_for_condition("metricwatch", "requests", "Ready", seconds=60)
    assert learned.children("networks")["Job"] == jobs
    assert learned.read("anomalymodel", "networks")["status"]["servingVersion"] == 1


def test_another_window_brings_version_2_without_a_missed_interval(learned: Stack) -> None:
    began = int(time.time())
    learned.patch("anomalymodel", "profiles", {"training": {"window": "9h"}})
    learned.wait_for_version("profiles", 2, seconds=240)
    # Until the old version is gone and the new one has scored for a while by itself.
    wait_until(
        "the end of version 1's detector",
        lambda: (
            {"profiles-detector-v2-0"} == learned.children("profiles").get("Deployment"),
            str(learned.children("profiles").get("Deployment")),
        ),
        seconds=120,
    )
    until = int(time.time()) + 4 * ROW_SECONDS
    wait_until("more scores", lambda: (time.time() > until + 10, ""), seconds=60)
    rows = learned.rows(
        "SELECT m.labels->>'series' AS series, extract(epoch FROM p.ts)::bigint AS ts, "
        "array_agg(p.version ORDER BY p.version) AS versions FROM prediction_errors p "
        "JOIN metrics m ON m.id = p.metric_id JOIN watches w ON w.id = m.watch_id "
        f"WHERE w.name = 'kpi' AND p.ts BETWEEN to_timestamp({began}) AND to_timestamp({until}) "
        "GROUP BY 1, 2 ORDER BY 1, 2"
    )
    first = -(-began // ROW_SECONDS) * ROW_SECONDS
    ticks = list(range(first, until + 1, ROW_SECONDS))
    for series in ("kpi-a", "kpi-b"):
        assert [row["ts"] for row in rows if row["series"] == series] == ticks
    versions = {tuple(row["versions"]) for row in rows}
    assert {(1, 2), (2,)} <= versions, "both versions score side by side around the change"
    decided = learned.rows(
        "SELECT extract(epoch FROM min(decided_until))::bigint AS until FROM decisions d "
        "JOIN watches w ON w.id = d.watch_id WHERE w.name = 'kpi'"
    )
    assert decided[0]["until"] >= until
    events = learned.kubectl.get("events", "-n", SHOP)["items"]
    said = [e["message"] for e in events if e["involvedObject"]["name"] == "profiles"]
    assert any("training.window 10h → 9h" in message for message in said), said


def test_a_source_that_is_down_is_said_and_its_return_is_noticed(learned: Stack) -> None:
    reach = ("patch", "service", "victoriametrics", "-n", SERVICES, "--type=merge", "-p")
    learned.kubectl.run(*reach, '{"spec": {"selector": {"app": "nobody"}}}')
    try:
        # An open connection stays open for up to two minutes. Until then the source answers the
        # detector, but the simulator cannot reach it to write.
        learned.wait_for_reason(
            "metricwatch", "kpi", "DataAvailable", "SourceUnavailable", seconds=240
        )
    finally:
        learned.kubectl.run(*reach, '{"spec": {"selector": {"app": "victoriametrics"}}}')
    learned.wait_for_condition("metricwatch", "kpi", "DataAvailable", seconds=120)
    learned.wait_for_condition("metricwatch", "kpi", "Ready", seconds=60)


def test_deletion_leaves_nothing(learned: Stack) -> None:
    learned.delete("metricwatch", "kpi", "traffic", "requests")
    learned.delete("anomalymodel", "profiles", "networks")
    wait_until(
        "the end of the children",
        lambda: (
            not learned.children("profiles") and not learned.children("networks"),
            f"{learned.children('profiles')} {learned.children('networks')}",
        ),
        seconds=120,
    )
    for table in ("models_info", "watches", "models", "metrics", "anomaly_points"):
        assert learned.rows(f"SELECT 1 FROM {table}") == [], table
