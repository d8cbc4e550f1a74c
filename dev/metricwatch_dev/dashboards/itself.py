"""Dashboard "Metricwatch itself": whether everything is scored, stored, trained and reconciled."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models

from metricwatch_dev.dashboards.parts import (
    FULL_WIDTH,
    ORANGE,
    RED,
    WITHOUT_POD,
    graph,
    number,
    rows,
    start,
    variable,
)

CHOSEN = 'watch_namespace=~"$namespace",model=~"$model"'
_WATCH = "{{watch_namespace}}/{{watch}}"
_RATE = "[$__rate_interval]"

_DROPPED = f"metricwatch_detector_dropped_ticks_total{{{CHOSEN}}}"

Panel = Builder[models.Panel]


def build() -> dashboard.Dashboard:
    """The whole dashboard."""
    made = start(
        "Metricwatch itself",
        "metricwatch-itself",
        "Whether detectors score and store, models are trained, and the operator keeps up.",
        other="Metricwatch",
    )
    # The operator knows models whose detectors are still to come.
    known = "metricwatch_watch_state|metricwatch_watch_not_scored|metricwatch_model_not_serving"
    all_of_them, chosen = f'__name__=~"{known}"', 'watch_namespace=~"$namespace"'
    for name, label, matchers, values in (
        ("namespace", "Namespace", all_of_them, "watch_namespace"),
        ("model", "Model", f"{all_of_them},{chosen}", "model"),
    ):
        made.with_variable(variable(name, label, f"label_values({{{matchers}}}, {values})"))
    for title, panels in (
        ("Now", _overview() + _troubles()),
        ("Scoring", _times() + _work() + _series()),
        ("Storing", _storing()),
        ("Models and versions", _versions() + _models()),
        ("Operator", _reconciling() + _resources()),
        ("Processes", _processes()),
    ):
        made.with_row(dashboard.Row(title))
        for panel in panels:
            made.with_panel(panel)
    return made


def _overview() -> list[Panel]:
    return [
        number(
            "Leading operators",
            "One operator leads, others stand by. None: nothing is reconciled.",
            "sum(metricwatch_leader)",
            limits={0: RED, 1: "green", 2: RED},
        ),
        number(
            "Detectors",
            "Detector pods that can be scraped, serving or not.",
            'sum(up{job="metricwatch-detector"})',
        ),
        number(
            "Detectors away",
            "Detector pods that cannot be scraped.",
            'count(up{job="metricwatch-detector"} == 0) or vector(0)',
            limits={1: RED},
        ),
    ]


def _troubles() -> list[Panel]:
    return [
        number(
            "Watches not scored",
            "Watches whose Ready is False and that are not suspended.",
            f"count(max by (watch_namespace, watch) (metricwatch_watch_not_scored{{{CHOSEN}}}))"
            " or vector(0)",
            limits={1: ORANGE},
        ),
        number(
            "Models without a version",
            "Models that no version serves.",
            f"count(max by (watch_namespace, model) (metricwatch_model_not_serving{{{CHOSEN}}}))"
            " or vector(0)",
            limits={1: ORANGE},
        ),
        number(
            "Without PostgreSQL",
            "Models that say StoreAvailable=False.",
            'sum(metricwatch_condition{kind="AnomalyModel",type="StoreAvailable",status="False"})'
            " or vector(0)",
            limits={1: RED},
        ),
    ]


def _times() -> list[Panel]:
    return [
        graph(
            "From a tick to its verdict",
            "How long after its time a tick was scored, the delay that was asked for included.",
            {_WATCH: f"max {WITHOUT_POD} (metricwatch_detection_lag_seconds{{{CHOSEN}}})"},
            unit="s",
        ),
        graph(
            "Behind",
            "How long ago the oldest tick that is not scored yet was due. An alert fires above "
            "five minutes.",
            {_WATCH: f"max {WITHOUT_POD} (metricwatch_scoring_behind_seconds{{{CHOSEN}}})"},
            unit="s",
            limits={300: RED},
        ),
        graph(
            "Age of the newest sample",
            "How old the newest sample of each watch is.",
            {
                _WATCH: "time() - "
                f"max {WITHOUT_POD} (metricwatch_last_sample_timestamp_seconds{{{CHOSEN}}})"
            },
            unit="s",
        ),
    ]


def _work() -> list[Panel]:
    return [
        graph(
            "Ticks",
            "Ticks that were scored in time, late (caught up), or missed (too old to catch up).",
            {
                "{{outcome}}": "sum by (outcome) "
                f"(rate(metricwatch_detector_ticks_total{{{CHOSEN}}}{_RATE}))"
            },
            unit="ops",
        ),
        graph(
            "Failed ticks",
            "By what was wrong with the source; a tick that fails is tried again.",
            {
                "{{reason}} {{watch}}": "sum by (reason, watch_namespace, watch) "
                f"(rate(metricwatch_detector_errors_total{{{CHOSEN}}}{_RATE})) or vector(0)"
            },
            unit="ops",
        ),
        graph(
            "Time to score a tick",
            "From the answer of the source to new gauges, of all detectors.",
            {
                f"{name}": f"histogram_quantile({share}, sum by (le) "
                f"(rate(metricwatch_detector_tick_duration_seconds_bucket{_RATE})))"
                for name, share in (("half", 0.5), ("99 %", 0.99))
            },
            unit="s",
        ),
    ]


def _series() -> list[Panel]:
    return [
        graph(
            "Series by family",
            "Series that are scored, by the family of algorithm that does.",
            {"{{family}}": f"sum by (family) (metricwatch_detector_series{{{CHOSEN}}})"},
            stacked=True,
        ),
        graph(
            "Series left out",
            "Series beyond the watch's maxSeries, which nobody scores.",
            {_WATCH: f"max {WITHOUT_POD} (metricwatch_detector_series_left_out{{{CHOSEN}}})"},
            limits={1: ORANGE},
        ),
    ]


def _storing() -> list[Panel]:
    return [
        graph(
            "Rows written",
            "Rows that detectors write to PostgreSQL, by table.",
            {
                "{{table}}": "sum by (table) "
                f"(rate(metricwatch_detector_rows_written_total{_RATE}))"
            },
            unit="wps",
        ),
        graph(
            "Waiting to be stored",
            "How long the oldest tick of each watch has waited. An alert fires above five "
            "minutes.",
            {
                _WATCH: f"max {WITHOUT_POD} "
                f"(metricwatch_detector_store_waiting_seconds{{{CHOSEN}}})"
            },
            unit="s",
            limits={300: RED},
        ),
        graph(
            "Failed attempts to use the database",
            "By reason; each is tried again.",
            {
                "{{reason}}": "sum by (reason) "
                f"(rate(metricwatch_detector_store_errors_total{_RATE})) or vector(0)"
            },
            unit="ops",
        ),
        graph(
            "Ticks that wait, and that were given up",
            "Ticks are kept in memory, a million values of a watch at most.",
            {
                "waiting": f"sum(metricwatch_detector_store_backlog_ticks{{{CHOSEN}}})",
                "given up a second": f"sum(rate({_DROPPED}{_RATE})) or vector(0)",
            },
        ),
    ]


def _versions() -> list[Panel]:
    return [
        graph(
            "Versions by state",
            "Versions of all models that their status lists.",
            {"{{state}}": "sum by (state) (metricwatch_versions)"},
        ),
        graph(
            "Moves of versions",
            "Versions that were made, became something else, or took over, in the hour before.",
            {
                "{{move}} {{reason}}": "sum by (move, reason) "
                "(increase(metricwatch_version_moves_total[1h]))"
            },
        ),
    ]


def _models() -> list[Panel]:
    refused = " or ".join(
        f'label_replace(max by (watch_namespace, model, reason) ({name}{{{CHOSEN}}}), "trouble", '
        f'"{words}", "", "")'
        for name, words in (
            ("metricwatch_model_training_failed", "training failed"),
            ("metricwatch_model_version_refused", "version refused"),
            ("metricwatch_model_not_serving", "nothing serves"),
        )
    )
    return [
        graph(
            "Waiting for training",
            "Models whose next version waits for others to be trained.",
            {"models": "max(metricwatch_training_queue)"},
        ),
        graph(
            "Detectors by version",
            "Detectors that serve (decide on anomalies), and those beside them that only score.",
            {
                "serving": "sum(metricwatch_detector_serving) or vector(0)",
                "beside": "count(metricwatch_detector_serving == 0) or vector(0)",
            },
            stacked=True,
        ),
        rows(
            "Models in trouble",
            "Models whose training failed, whose newest version was refused, or that no version "
            "serves, and why.",
            refused,
            value="now",
            hidden=("Value",),
        ),
    ]


def _reconciling() -> list[Panel]:
    return [
        graph(
            "Reconciles",
            "By outcome: changed wrote something, unchanged did not. At rest there is next to "
            "nothing.",
            {"{{outcome}}": f"sum by (outcome) (rate(metricwatch_reconcile_total{_RATE}))"},
            unit="ops",
        ),
        graph(
            "Time of one reconcile",
            "How long one reconcile took.",
            {
                f"{name}": f"histogram_quantile({share}, sum by (le) "
                f"(rate(metricwatch_reconcile_duration_seconds_bucket{_RATE})))"
                for name, share in (("half", 0.5), ("99 %", 0.99))
            },
            unit="s",
        ),
        graph(
            "Waiting for a reconcile",
            "Models that wait, and how long the oldest has. An alert fires above five minutes.",
            {
                "models": "sum(metricwatch_reconcile_backlog)",
                "oldest, seconds": "max(metricwatch_reconcile_backlog_age_seconds)",
            },
        ),
    ]


def _resources() -> list[Panel]:
    return [
        graph(
            "Failed reconciles",
            "By reason; each is tried again.",
            {
                "{{reason}}": "sum by (reason) "
                f"(rate(metricwatch_reconcile_errors_total{_RATE})) or vector(0)"
            },
            unit="ops",
        ),
        graph(
            "Resources by condition Ready",
            "AnomalyModels and MetricWatches, by the status of their condition Ready.",
            {"{{kind}} {{status}}": 'sum by (kind, status) (metricwatch_condition{type="Ready"})'},
        ),
        graph(
            "Since the API server told of a change",
            "Long is normal when nothing changes; a watch that ended for good restarts the "
            "operator.",
            {
                "seconds": "time() - max(metricwatch_watch_last_event_timestamp_seconds > 0)",
            },
            unit="s",
        ),
    ]


def _processes() -> list[Panel]:
    job = 'job=~"metricwatch-(detector|operator)"'
    # A detector's pod is in `detector`, an operator's in `instance`.
    name = "{{job}} {{detector}} {{instance}}"
    return [
        graph(
            "Memory",
            "What each process holds.",
            {name: f"process_resident_memory_bytes{{{job}}}"},
            unit="bytes",
        ),
        graph(
            "CPU",
            "Cores that each process uses.",
            {name: f"rate(process_cpu_seconds_total{{{job}}}{_RATE})"},
        ),
        rows(
            "Releases",
            "Which release runs in how many detectors.",
            "count by (version) (metricwatch_build_info)",
            value="detectors",
            width=FULL_WIDTH,
        ),
    ]
