"""Mistakes that users make, and what the resources say about them."""

import pytest
from tests.cluster.stack import Stack, anomaly_model, metric_watch

from metricwatch_dev.demo.installing import SERVICES, SHOP

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

SIMULATED = {
    "source": {"type": "simulation"},
    "algorithm": {"type": "seasonal"},
    "training": {"window": "1d"},
}
QUICK = {"interval": "30s"}


def test_a_watch_of_an_unknown_model_says_so_and_is_picked_up_when_it_comes(stack: Stack) -> None:
    stack.apply(metric_watch("early", "later", "simulation(series=2, seed=1)", QUICK))
    found = stack.wait_for_condition(
        "metricwatch", "early", "ModelResolved", status="False", seconds=30
    )
    assert found["reason"] == "ModelNotFound"
    assert "later" in found["message"]
    stack.apply(anomaly_model("later", SIMULATED))
    stack.wait_for_condition("anomalymodel", "later", "Ready", seconds=240)
    stack.wait_for_condition("metricwatch", "early", "Ready", seconds=90)
    stack.delete("metricwatch", "early")
    stack.delete("anomalymodel", "later")


def test_a_bad_query_names_the_query_and_other_watches_go_on(stack: Stack) -> None:
    stack.apply(
        anomaly_model("typo", {"algorithm": {"type": "seasonal"}, "training": {"window": "5h"}}),
        metric_watch("good", "typo", 'replay{series="kpi-a"}', {"interval": "5s"}),
        metric_watch("broken", "typo", "sum(replay", {"interval": "5s"}),
    )
    found = stack.wait_for_condition(
        "metricwatch", "broken", "DataAvailable", status="False", seconds=240
    )
    assert found["reason"] == "QueryRefused"
    stack.wait_for_condition("metricwatch", "good", "Ready", seconds=240)
    stack.delete("metricwatch", "good", "broken")
    stack.delete("anomalymodel", "typo")


def test_a_missing_secret_is_named_and_its_arrival_is_noticed(stack: Stack) -> None:
    source = {"url": f"http://victoriametrics.{SERVICES}:8428", "authRef": {"name": "vm"}}
    stack.apply(
        anomaly_model(
            "locked",
            {
                "source": source,
                "algorithm": {"type": "seasonal"},
                "training": {"window": "5h"},
            },
        ),
        metric_watch("behind", "locked", 'replay{series="kpi-a"}', {"interval": "5s"}),
    )
    found = stack.wait_for_reason(
        "anomalymodel", "locked", "DataAvailable", "SecretMissing", seconds=180
    )
    assert "vm" in found["message"]
    stack.kubectl.run(
        "create", "secret", "generic", "vm", "-n", SHOP, "--from-literal=token=unused"
    )
    stack.wait_for_condition("anomalymodel", "locked", "Ready", seconds=400)
    stack.delete("metricwatch", "behind")
    stack.delete("anomalymodel", "locked")
    stack.kubectl.run("delete", "secret", "vm", "-n", SHOP)


def test_what_is_not_built_yet_is_said_and_not_ignored(stack: Stack) -> None:
    spec = {"scope": "multivariate", "algorithm": {"type": "seasonal"}}
    stack.apply(anomaly_model("ahead", spec))
    found = stack.wait_for_reason("anomalymodel", "ahead", "Stalled", "NotSupported", seconds=30)
    assert "multivariate" in found["message"]
    stack.delete("anomalymodel", "ahead")
