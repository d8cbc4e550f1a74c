"""Dashboard "Metricwatch anomalies": what is anomalous, since when, and one series in its band."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard, timeseries
from grafana_foundation_sdk.models import dashboard as models

from metricwatch_dev.dashboards.parts import (
    FULL_WIDTH,
    ORANGE,
    RED,
    SOURCE,
    WITHOUT_POD,
    graph,
    number,
    rows,
    spans,
    start,
    variable,
)

CHOSEN = 'watch_namespace=~"$namespace",model=~"$model",watch=~"$watch"'
ONE = "${series:raw}"
"""The labels of the chosen series, as they stand between braces."""
_SYSTEM = (
    "on (watch_namespace, watch, model) group_left (system) "
    f"(max {WITHOUT_POD} (metricwatch_system_anomaly_series{{{CHOSEN}}}) >= bool 0)"
)


def build() -> dashboard.Dashboard:
    """The whole dashboard."""
    made = start(
        "Metricwatch anomalies",
        "metricwatch-anomalies",
        "What Metricwatch finds anomalous, when, and one series beside what its model expects.",
        other="Metricwatch",
    )
    for one in _variables():
        made.with_variable(one)
    made.annotation(
        dashboard.AnnotationQuery()
        .name("Anomalies of the chosen series")
        .datasource(SOURCE)
        .enable(True)
        .icon_color(RED)
        .expr(f"max {WITHOUT_POD} (metricwatch_anomalous{{{ONE}}}) == 1")
        .step("30s")
        .title_format("anomaly")
        .text_format("{{watch_namespace}}/{{watch}}")
    )
    _add_overview(made)
    _add_more_numbers(made)
    _add_details(made)
    _add_scores(made)
    _add_series(made)
    return made


def _variables() -> list[dashboard.QueryVariable]:
    namespace = 'watch_namespace=~"$namespace"'
    model = f'{namespace},model=~"$model"'
    oddest = (
        f"topk(200, max {WITHOUT_POD} "
        f"(max_over_time(metricwatch_anomaly_score{{{CHOSEN}}}[$__range])))"
    )
    return [
        variable("namespace", "Namespace", "label_values(metricwatch_anomalous, watch_namespace)"),
        variable("model", "Model", f"label_values(metricwatch_anomalous{{{namespace}}}, model)"),
        variable("watch", "Watch", f"label_values(metricwatch_anomalous{{{model}}}, watch)"),
        # The oddest comes first, and is chosen where nobody chooses.
        variable("series", "Series", f"query_result({oddest})", multi=False, regex=r"/\{(.*)\}/"),
    ]


def _add_overview(made: dashboard.Dashboard) -> None:
    opened = f"max {WITHOUT_POD} (metricwatch_anomalies_open{{{CHOSEN}}})"
    critical = opened.replace("}", ',severity="critical"}')
    systems = (
        f"max by (watch_namespace, model, system) (metricwatch_system_anomaly_series{{{CHOSEN}}})"
    )
    made.with_row(dashboard.Row("Now"))
    made.with_panel(
        number(
            "Open anomalies",
            "Anomalies that are open now, of all series chosen above.",
            f"sum({opened})",
            limits={1: ORANGE},
        )
    )
    made.with_panel(
        number(
            "Critical",
            "Open anomalies whose score passed the level critical of their watch.",
            f"sum({critical})",
            limits={1: RED},
        )
    )
    made.with_panel(
        number(
            "Systems",
            "Systems of which many series are anomalous at the same time.",
            f"count({systems} > 0) or vector(0)",
            limits={1: RED},
        )
    )


def _add_more_numbers(made: dashboard.Dashboard) -> None:
    made.with_panel(
        number(
            "Highest score",
            "The highest score of any series now; above 1 is anomalous.",
            f"max(metricwatch_anomaly_score{{{CHOSEN}}})",
            limits={1: ORANGE, 3: RED},
        )
    )
    made.with_panel(
        number(
            "Series",
            "Series that had a sample at the newest tick.",
            f"count(max {WITHOUT_POD} (metricwatch_anomalous{{{CHOSEN}}}))",
        )
    )
    made.with_panel(
        number(
            "Drifted",
            "The largest share of a watch's series that are no longer as their model learned "
            "them. There is none until a day was scored.",
            f"max(metricwatch_watch_drift_ratio{{{CHOSEN}}}) or vector(0)",
            limits={0.25: ORANGE},
            unit="percentunit",
        )
    )


def _add_details(made: dashboard.Dashboard) -> None:
    anomalous = f"max {WITHOUT_POD} (metricwatch_anomalous{{{CHOSEN}}})"
    score = f"max {WITHOUT_POD} (metricwatch_anomaly_score{{{CHOSEN}}})"
    ever = (
        f"max {WITHOUT_POD} (sum_over_time(metricwatch_anomalous{{{CHOSEN}}}[$__range] @ end()))"
    )
    made.with_row(dashboard.Row("What is anomalous"))
    made.with_panel(
        rows(
            "Open anomalies",
            "Series whose anomaly is open, and how odd their newest sample is.",
            f"{score} and ({anomalous} == 1)",
            value="score",
        )
    )
    made.with_panel(
        spans(
            "When series were anomalous",
            "The thirty series that were anomalous for longest in the time shown.",
            f"{anomalous} and topk(30, {ever} > 0)",
            "",
            height=10,
        )
    )


def _add_scores(made: dashboard.Dashboard) -> None:
    score = f"max {WITHOUT_POD} (metricwatch_anomaly_score{{{CHOSEN}}})"
    made.with_panel(
        graph(
            "Highest scores",
            "The ten series with the highest scores at each time; above 1 is anomalous.",
            {"": f"topk(10, {score})"},
            limits={1: RED},
            height=10,
        )
    )
    made.with_panel(
        graph(
            "Open anomalies by system",
            "Open anomalies of each system.",
            {
                "{{system}}": (
                    f"sum by (system) (max {WITHOUT_POD} "
                    f"(metricwatch_anomalies_open{{{CHOSEN}}}) * {_SYSTEM})"
                )
            },
            stacked=True,
        )
    )
    made.with_panel(
        spans(
            "Systems anomalous as a whole",
            "When many series of a system were anomalous at the same time.",
            "max by (watch_namespace, model, system) "
            f"(metricwatch_system_anomaly_series{{{CHOSEN}}}) > bool 0",
            "{{watch_namespace}}/{{model}}: {{system}}",
        )
    )


def _add_series(made: dashboard.Dashboard) -> None:
    made.with_row(dashboard.Row("The chosen series"))
    lines = {
        name: f"max {WITHOUT_POD} (metricwatch_{name}{{{ONE}}})"
        for name in ("upper", "lower", "expected", "value")
    }
    made.with_panel(
        _in_band(
            graph(
                "Value, and what its model calls normal",
                "The scored samples in their band. Red marks are open anomalies.",
                lines,
                width=FULL_WIDTH,
                height=10,
            )
        )
    )
    made.with_panel(
        graph(
            "Score",
            "How rare the samples are; above 1 is anomalous.",
            {"score": f"max {WITHOUT_POD} (metricwatch_anomaly_score{{{ONE}}})"},
            limits={1: RED},
            width=FULL_WIDTH,
            height=6,
        )
    )


def _in_band(panel: timeseries.Panel) -> timeseries.Panel:
    """Fills what is between the bounds, and lets the value stand out."""

    def fixed(color: str) -> models.DynamicConfigValue:
        return models.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": color})

    thin = models.DynamicConfigValue("custom.lineWidth", 0)
    band = [
        fixed("super-light-blue"),
        thin,
        models.DynamicConfigValue("custom.fillBelowTo", "lower"),
        models.DynamicConfigValue("custom.fillOpacity", 25),
    ]
    dashed = models.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [6, 6]})
    return (
        panel.override_by_name("upper", band)
        .override_by_name("lower", [fixed("super-light-blue"), thin])
        .override_by_name("expected", [fixed("blue"), dashed])
        .override_by_name(
            "value", [fixed("green"), models.DynamicConfigValue("custom.lineWidth", 2)]
        )
    )
