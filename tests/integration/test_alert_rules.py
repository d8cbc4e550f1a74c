"""The chart's alert rules in Prometheus's own tester: each fires, stays quiet, and resolves."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.chart_rendering import CHART, write_rules

from metricwatch_dev.paths import cache_directory

WATCH = {"watch_namespace": "shop", "watch": "latency", "model": "shop"}
SERIES = 'watch_namespace="shop",watch="latency",model="shop"'


def promtool() -> str:
    path = cache_directory() / "services" / "bin" / "promtool"
    assert path.exists(), "run `python -m metricwatch_dev binaries --only services`"
    return str(path)


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rules(tmp_path_factory.mktemp("rules"))


def check(
    rules: Path,
    tmp_path: Path,
    alert: str,
    series: dict[str, str],
    expected: dict[str, list[dict[str, str]]],
) -> None:
    """Run promtool: after which time (key) does `alert` fire with exactly which labels."""
    group = yaml.safe_load(rules.read_text())
    (severity,) = {
        rule["labels"]["severity"]
        for item in group["groups"]
        for rule in item["rules"]
        if rule["alert"] == alert
    }
    tests: dict[str, Any] = {
        "rule_files": [str(rules)],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [
                    {"series": name, "values": values} for name, values in series.items()
                ],
                "alert_rule_test": [
                    {"eval_time": time, "alertname": alert, "exp_alerts": alerts(labels, severity)}
                    for time, labels in expected.items()
                ],
            }
        ],
    }
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump(tests))
    done = subprocess.run(
        [promtool(), "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    relevant = done.stdout + done.stderr
    assert done.returncode == 0, relevant


def alerts(labels: list[dict[str, str]], severity: str) -> list[dict[str, Any]]:
    return [{"exp_labels": {"severity": severity, **item}} for item in labels]


@pytest.fixture
def bare_rules(rules: Path, tmp_path: Path) -> Path:
    """The rules without annotations, whose words the tests of firing do not want to repeat."""
    content = yaml.safe_load(rules.read_text())
    for group in content["groups"]:
        for rule in group["rules"]:
            del rule["annotations"]
    path = tmp_path / "bare.rules.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_prometheus_accepts_the_rules(rules: Path) -> None:
    done = subprocess.run(
        [promtool(), "check", "rules", "--lint=all", "--lint-fatal", str(rules)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 rules found" in done.stdout


def test_an_anomaly_fires_at_once_with_the_series_labels_and_resolves(
    bare_rules: Path, tmp_path: Path
) -> None:
    own = (
        f'metricwatch_anomalous{{{SERIES},pod="cart-1",job="metricwatch-detector",detector="d1"}}'
    )
    labels = {**WATCH, "pod": "cart-1", "job": "metricwatch-detector"}
    check(
        bare_rules,
        tmp_path,
        "MetricwatchAnomalyOpen",
        {own: "0x3 1x7 0x20"},
        {"30s": [], "1m15s": [labels], "4m": []},
    )


def test_an_anomaly_stays_one_alert_when_another_pod_goes_on_with_the_series(
    bare_rules: Path, tmp_path: Path
) -> None:
    def name(detector: str) -> str:
        return f'metricwatch_anomalous{{{SERIES},pod="cart-1",detector="{detector}"}}'

    labels = {**WATCH, "pod": "cart-1"}
    series = {name("shop-detector-v1"): "1x8 stale", name("shop-detector-v2"): "_x7 1x20"}
    expected = {f"{seconds}s": [labels] for seconds in range(0, 300, 15)}
    check(bare_rules, tmp_path, "MetricwatchAnomalyOpen", series, expected)


def test_a_critical_anomaly_is_one_alert_for_each_watch_and_kind(
    bare_rules: Path, tmp_path: Path
) -> None:
    def name(severity: str, kind: str) -> str:
        return f'metricwatch_anomalies_open{{{SERIES},type="{kind}",severity="{severity}"}}'

    check(
        bare_rules,
        tmp_path,
        "MetricwatchCriticalAnomaly",
        {
            name("warning", "point"): "5x40",
            name("critical", "point"): "0x40",
            name("critical", "collective"): "0x3 2x7 0x30",
        },
        {"30s": [], "1m15s": [{**WATCH, "type": "collective"}], "4m": []},
    )


def test_a_watch_whose_newest_sample_is_old_is_stale_until_samples_come_again(
    bare_rules: Path, tmp_path: Path
) -> None:
    name = f"metricwatch_last_sample_timestamp_seconds{{{SERIES}}}"
    check(
        bare_rules,
        tmp_path,
        "MetricwatchDataStale",
        # The newest sample stays at time 0 for half an hour, then the source is back.
        {name: "0x120 1815+15x40"},
        {"15m": [], "19m": [], "21m": [WATCH], "31m": []},
    )


def test_a_watch_that_is_only_scored_late_for_a_moment_does_not_alert(
    bare_rules: Path, tmp_path: Path
) -> None:
    name = f"metricwatch_detection_lag_seconds{{{SERIES}}}"
    check(
        bare_rules,
        tmp_path,
        "MetricwatchWatchNotScoring",
        {name: "1x8 400x8 1x8 400x40 1x10"},
        {"4m": [], "12m30s": [WATCH], "17m": []},
    )


def test_a_detector_that_cannot_be_scraped_alerts_after_five_minutes(
    bare_rules: Path, tmp_path: Path
) -> None:
    labels = {"job": "metricwatch-detector", "detector": "d1"}
    check(
        bare_rules,
        tmp_path,
        "MetricwatchDetectorDown",
        {
            'up{job="metricwatch-detector",detector="d1"}': "1x4 0x30 1x10",
            'up{job="metricwatch-detector",detector="d2"}': "1x50",
            'up{job="node",detector="d3"}': "0x50",
        },
        {"5m": [], "7m": [labels], "10m": []},
    )


def test_an_operator_that_is_gone_alerts_after_ten_minutes(
    bare_rules: Path, tmp_path: Path
) -> None:
    check(
        bare_rules,
        tmp_path,
        "MetricwatchOperatorDown",
        {'up{job="metricwatch-operator",instance="a"}': "1x8 0x60 1x20"},
        {"2m": [], "11m": [], "13m": [{}], "18m": []},
    )


def test_one_of_two_operators_is_enough(bare_rules: Path, tmp_path: Path) -> None:
    check(
        bare_rules,
        tmp_path,
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
        {'metricwatch_leader{instance="a"}': "1x100", "metricwatch_reconcile_backlog": "500x100"},
    ],
    ids=["nobody leads", "a long backlog"],
)
def test_an_operator_that_does_not_keep_up_alerts(
    bare_rules: Path, tmp_path: Path, series: dict[str, str]
) -> None:
    check(
        bare_rules,
        tmp_path,
        "MetricwatchOperatorNotReconciling",
        series,
        {"14m": [], "16m": [{}]},
    )


def test_an_operator_that_leads_with_a_short_backlog_is_well(
    bare_rules: Path, tmp_path: Path
) -> None:
    check(
        bare_rules,
        tmp_path,
        "MetricwatchOperatorNotReconciling",
        {
            'metricwatch_leader{instance="a"}': "1x100",
            'metricwatch_leader{instance="b"}': "0x100",
            "metricwatch_reconcile_backlog": "3x100",
        },
        {"20m": []},
    )


def test_errors_of_reconciling_alert_only_when_they_go_on(
    bare_rules: Path, tmp_path: Path
) -> None:
    def name(reason: str) -> str:
        return f'metricwatch_reconcile_errors_total{{reason="{reason}"}}'

    check(
        bare_rules,
        tmp_path,
        "MetricwatchReconcileErrors",
        {name("Forbidden"): "0+1x200", name("Conflict"): "0x20 3x180"},
        {"40m": [{"reason": "Forbidden"}]},
    )


def test_the_scrape_configuration_on_the_charts_page_is_one(tmp_path: Path) -> None:
    block = re.search(r"```yaml\n(scrape_configs:.*?)```", (CHART / "README.md").read_text(), re.S)
    assert block is not None
    path = tmp_path / "scrape.yaml"
    path.write_text(block[1])
    done = subprocess.run(
        [
            # Debian's Prometheus is built without Kubernetes discovery; VictoriaMetrics knows it.
            str(cache_directory() / "services" / "bin" / "victoria-metrics"),
            *("-dryRun", "-promscrape.config.strictParse", f"-promscrape.config={path}"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
