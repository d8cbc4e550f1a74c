"""The chart's alert rules in Prometheus and in vmalert: each fires, stays quiet, and resolves."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.chart_rendering import CHART, write_rules
from tests.integration.metrics_servers import VictoriaMetrics
from tests.integration.rule_testers import Promtool, RuleTester, Vmalert, program, rules_in

WATCH = {"watch_namespace": "shop", "watch": "latency", "model": "shop"}
SERIES = 'watch_namespace="shop",watch="latency",model="shop"'


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rules(tmp_path_factory.mktemp("rules"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VictoriaMetrics]:
    server = VictoriaMetrics(tmp_path_factory.mktemp("victoriametrics"), "-search.disableCache")
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["Prometheus", "vmalert"])
def tester(
    request: pytest.FixtureRequest, rules: Path, server: VictoriaMetrics, tmp_path: Path
) -> RuleTester:
    if request.param == "vmalert":
        return Vmalert(rules, tmp_path, server)
    # Without annotations, whose words the tests of firing do not want to repeat.
    content = yaml.safe_load(rules.read_text())
    for group in content["groups"]:
        for rule in group["rules"]:
            del rule["annotations"]
    path = tmp_path / "bare.rules.yaml"
    path.write_text(yaml.safe_dump(content))
    return Promtool(path, tmp_path)


def test_prometheus_accepts_the_rules(rules: Path) -> None:
    done = subprocess.run(
        [program("promtool"), "check", "rules", "--lint=all", "--lint-fatal", str(rules)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "15 rules found" in done.stdout


def test_vmalert_accepts_the_rules_with_their_templates(rules: Path) -> None:
    done = subprocess.run(
        [program("vmalert"), "-dryRun", f"-rule={rules}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_an_anomaly_fires_at_once_with_the_series_labels_and_resolves(tester: RuleTester) -> None:
    own = (
        f'metricwatch_anomalous{{{SERIES},pod="cart-1",job="metricwatch-detector",detector="d1"}}'
    )
    labels = {**WATCH, "pod": "cart-1", "job": "metricwatch-detector"}
    tester.check(
        "MetricwatchAnomalyOpen",
        {own: "0x3 1x7 0x20"},
        {"30s": [], "1m15s": [labels], "4m": []},
    )


def test_an_anomaly_stays_one_alert_when_another_pod_goes_on_with_the_series(
    tester: RuleTester,
) -> None:
    def name(detector: str) -> str:
        return f'metricwatch_anomalous{{{SERIES},pod="cart-1",detector="{detector}"}}'

    labels = {**WATCH, "pod": "cart-1"}
    series = {name("shop-detector-v1"): "1x8 stale", name("shop-detector-v2"): "_x7 1x20"}
    expected = {f"{seconds}s": [labels] for seconds in range(0, 300, 15)}
    tester.check("MetricwatchAnomalyOpen", series, expected)


def test_a_critical_anomaly_is_one_alert_for_each_watch_and_kind(tester: RuleTester) -> None:
    def name(severity: str, kind: str) -> str:
        return f'metricwatch_anomalies_open{{{SERIES},type="{kind}",severity="{severity}"}}'

    tester.check(
        "MetricwatchCriticalAnomaly",
        {
            name("warning", "point"): "5x40",
            name("critical", "point"): "0x40",
            name("critical", "collective"): "0x3 2x7 0x30",
        },
        {"30s": [], "1m15s": [{**WATCH, "type": "collective"}], "4m": []},
    )


def test_many_series_of_a_system_at_once_are_one_alert(tester: RuleTester) -> None:
    def name(watch: str, detector: str) -> str:
        labels = f'watch_namespace="shop",watch="{watch}",model="shop",system="checkout"'
        return f'metricwatch_system_anomaly_series{{{labels},detector="{detector}"}}'

    system = {"watch_namespace": "shop", "model": "shop", "system": "checkout"}
    tester.check(
        "MetricwatchSystemAnomaly",
        # The watch whose series began it knows first; the detector is another one afterwards.
        {
            name("latency", "d1"): "0x3 3x4 stale",
            name("latency", "d2"): "_x8 4x4 0x20",
            name("errors", "d1"): "0x5 3x2 stale",
        },
        {"30s": [], "1m15s": [system], "2m15s": [system], "4m": []},
    )


def test_a_watch_that_is_not_scored_alerts_with_its_reason_until_it_is(tester: RuleTester) -> None:
    def name(reason: str, instance: str) -> str:
        return f'metricwatch_watch_not_scored{{{SERIES},reason="{reason}",instance="{instance}"}}'

    expected = {**WATCH, "reason": "SourceUnavailable"}
    tester.check(
        "MetricwatchWatchNotScoring",
        # Another operator takes over in the meantime, and goes on with the alert.
        {
            name("SourceUnavailable", "a"): "1x40 stale",
            name("SourceUnavailable", "b"): "_x41 1x60 stale",
        },
        {"14m": [], "16m": [expected], "24m": [expected], "27m": []},
    )


@pytest.mark.parametrize(
    "series",
    [
        {f'metricwatch_watch_not_scored{{{SERIES},reason="StoreUnavailable"}}': "1x200"},
        {
            f'metricwatch_watch_not_scored{{{SERIES},reason="ModelNotReady"}}': "1x200",
            'metricwatch_model_not_serving{watch_namespace="shop",model="shop"}': "1x200",
        },
    ],
    ids=["the database is away", "its model has no version"],
)
def test_a_watch_is_quiet_where_another_alert_says_why(
    tester: RuleTester, series: dict[str, str]
) -> None:
    tester.check("MetricwatchWatchNotScoring", series, {"40m": []})


@pytest.mark.parametrize(
    ("limit", "fires"), [(360, {"15m": [], "17m": [WATCH]}), (7500, {"15m": [], "30m": []})]
)
def test_a_watch_whose_newest_sample_is_too_old_for_it_is_stale_until_samples_come_again(
    tester: RuleTester, limit: int, fires: dict[str, Any]
) -> None:
    tester.check(
        "MetricwatchDataStale",
        # The newest sample stays at time 0 for half an hour, then the source is back.
        {
            f"metricwatch_last_sample_timestamp_seconds{{{SERIES}}}": "0x120 1815+15x40",
            f"metricwatch_sample_age_limit_seconds{{{SERIES}}}": f"{limit}x180",
        },
        {**fires, "31m": []},
    )


def test_a_detector_that_is_only_behind_for_a_moment_does_not_alert(tester: RuleTester) -> None:
    name = f"metricwatch_scoring_behind_seconds{{{SERIES}}}"
    tester.check(
        "MetricwatchDetectorLagging",
        {name: "1x8 400x8 1x8 400x40 1x10"},
        {"4m": [], "12m30s": [WATCH], "17m": []},
    )


def test_results_that_wait_alert_once_for_a_model_until_they_are_stored(
    tester: RuleTester,
) -> None:
    def name(watch: str) -> str:
        labels = f'watch_namespace="shop",watch="{watch}",model="shop",detector="d1"'
        return f"metricwatch_detector_store_waiting_seconds{{{labels}}}"

    tester.check(
        "MetricwatchResultsNotStored",
        {name("latency"): "0+15x60 0x20", name("errors"): "0+15x60 0x20"},
        {
            "9m": [],
            "11m": [{"watch_namespace": "shop", "model": "shop"}],
            "16m": [],
        },
    )


def test_results_that_are_stored_at_once_do_not_alert(tester: RuleTester) -> None:
    name = f"metricwatch_detector_store_waiting_seconds{{{SERIES}}}"
    tester.check("MetricwatchResultsNotStored", {name: "0 2 1 0x100"}, {"20m": []})


@pytest.mark.parametrize(
    ("alert", "metric", "reason"),
    [
        ("MetricwatchTrainingFailed", "metricwatch_model_training_failed", "NotEnoughData"),
        ("MetricwatchVersionRefused", "metricwatch_model_version_refused", "RecallTooLow"),
    ],
)
def test_a_model_whose_newest_version_went_wrong_alerts_until_another_one_is_good(
    tester: RuleTester, alert: str, metric: str, reason: str
) -> None:
    labels = {"watch_namespace": "shop", "model": "shop", "reason": reason}
    inner = ",".join(f'{name}="{text}"' for name, text in labels.items())
    tester.check(
        alert,
        {f'{metric}{{{inner},instance="a"}}': "_x4 1x40 stale"},
        {"5m": [], "7m": [labels], "12m": []},
    )


@pytest.mark.parametrize("alert", ["MetricwatchTrainingFailed", "MetricwatchVersionRefused"])
def test_a_model_that_is_tried_again_at_once_does_not_alert(
    tester: RuleTester, alert: str
) -> None:
    labels = 'watch_namespace="shop",model="shop",reason="TrainingFailed"'
    series = {
        f"metricwatch_model_training_failed{{{labels}}}": "1x10 stale",
        f"metricwatch_model_version_refused{{{labels}}}": "1x10 stale",
    }
    tester.check(alert, series, {"4m": [], "8m": []})


def test_a_model_without_a_version_alerts_after_an_hour_whatever_the_reason_is(
    tester: RuleTester,
) -> None:
    def name(model: str, reason: str) -> str:
        labels = f'watch_namespace="shop",model="{model}",reason="{reason}"'
        return f"metricwatch_model_not_serving{{{labels}}}"

    tester.check(
        "MetricwatchNoServingVersion",
        {
            name("shop", "Training"): "1x120 stale",
            name("shop", "NotEnoughData"): "_x121 1x180 stale",
            name("new", "Training"): "1x80 stale",
        },
        {
            "59m": [],
            "62m": [{"watch_namespace": "shop", "model": "shop"}],
            "77m": [],
        },
    )


def test_a_detector_that_cannot_be_scraped_alerts_after_five_minutes(tester: RuleTester) -> None:
    labels = {"job": "metricwatch-detector", "detector": "d1"}
    tester.check(
        "MetricwatchDetectorDown",
        {
            'up{job="metricwatch-detector",detector="d1"}': "1x4 0x30 1x10",
            'up{job="metricwatch-detector",detector="d2"}': "1x50",
            'up{job="node",detector="d3"}': "0x50",
        },
        {"5m": [], "7m": [labels], "10m": []},
    )


def test_an_operator_that_is_gone_alerts_after_ten_minutes(tester: RuleTester) -> None:
    tester.check(
        "MetricwatchOperatorDown",
        {'up{job="metricwatch-operator",instance="a"}': "1x8 0x60 1x20"},
        {"2m": [], "11m": [], "13m": [{}], "18m": []},
    )


def test_one_of_two_operators_is_enough(tester: RuleTester) -> None:
    tester.check(
        "MetricwatchOperatorDown",
        {
            'up{job="metricwatch-operator",instance="a"}': "0x100",
            'up{job="metricwatch-operator",instance="b"}': "1x100",
        },
        {"20m": []},
    )


@pytest.mark.parametrize(
    "series",
    [
        {'metricwatch_leader{instance="a"}': "0x100", 'metricwatch_leader{instance="b"}': "0x100"},
        {
            'metricwatch_leader{instance="a"}': "1x100",
            "metricwatch_reconcile_backlog_age_seconds": "400x100",
        },
    ],
    ids=["nobody leads", "a resource waits"],
)
def test_an_operator_that_does_not_keep_up_alerts(
    tester: RuleTester, series: dict[str, str]
) -> None:
    tester.check(
        "MetricwatchOperatorNotReconciling",
        series,
        {"9m": [], "11m": [{}]},
    )


def test_an_operator_that_keeps_up_again_ends_the_alert(tester: RuleTester) -> None:
    tester.check(
        "MetricwatchOperatorNotReconciling",
        {
            'metricwatch_leader{instance="a"}': "0x60 stale",
            'metricwatch_leader{instance="b"}': "0x50 1x60",
        },
        {"11m": [{}], "14m": []},
    )


def test_an_operator_that_leads_and_lets_nothing_wait_is_well(tester: RuleTester) -> None:
    tester.check(
        "MetricwatchOperatorNotReconciling",
        {
            'metricwatch_leader{instance="a"}': "1x100",
            'metricwatch_leader{instance="b"}': "0x100",
            # After a start everything waits, and nothing for long.
            "metricwatch_reconcile_backlog": "5000x100",
            "metricwatch_reconcile_backlog_age_seconds": "20x100",
        },
        {"20m": []},
    )


def test_errors_of_reconciling_alert_only_when_they_go_on(tester: RuleTester) -> None:
    def name(reason: str) -> str:
        return f'metricwatch_reconcile_errors_total{{reason="{reason}"}}'

    tester.check(
        "MetricwatchReconcileErrors",
        {name("Forbidden"): "0+1x200 200x200", name("Conflict"): "0x20 3x380"},
        {"40m": [{"reason": "Forbidden"}], "75m": []},
    )


def test_models_without_a_database_are_one_alert_until_it_is_back(tester: RuleTester) -> None:
    def name(type_: str, status: str) -> str:
        labels = f'kind="AnomalyModel",type="{type_}",status="{status}"'
        return f"metricwatch_condition{{{labels}}}"

    tester.check(
        "MetricwatchStoreUnavailable",
        {
            name("StoreAvailable", "True"): "7x4 stale",
            name("StoreAvailable", "False"): "_x5 7x40 stale",
            name("Ready", "False"): "3x100",
        },
        {"1m": [], "5m": [], "8m": [{}], "14m": []},
    )


def test_the_description_of_an_anomaly_names_its_series(rules: Path, tmp_path: Path) -> None:
    series = f'metricwatch_anomalous{{{SERIES},pod="cart-1",zone="eu",job="metricwatch-detector"}}'
    rule = rules_in(rules)["MetricwatchAnomalyOpen"]
    told = {
        "summary": "shop/latency is anomalous",
        "description": "A series of watch shop/latency behaves as model shop never saw it behave: "
        "pod=cart-1 zone=eu ",
        "runbook_url": rule["annotations"]["runbook_url"],
    }
    labels = {**WATCH, "pod": "cart-1", "zone": "eu", "job": "metricwatch-detector"}
    expected = {"exp_labels": {"severity": "warning", **labels}, "exp_annotations": told}
    Promtool(rules, tmp_path).run(
        {series: "1x10"},
        [{"eval_time": "1m", "alertname": rule["alert"], "exp_alerts": [expected]}],
    )


def test_the_scrape_configuration_on_the_charts_page_is_one(tmp_path: Path) -> None:
    block = re.search(r"```yaml\n(scrape_configs:.*?)```", (CHART / "README.md").read_text(), re.S)
    assert block is not None
    path = tmp_path / "scrape.yaml"
    path.write_text(block[1])
    done = subprocess.run(
        [
            # Debian's Prometheus is built without Kubernetes discovery; VictoriaMetrics knows it.
            program("victoria-metrics"),
            *("-dryRun", "-promscrape.config.strictParse", f"-promscrape.config={path}"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
