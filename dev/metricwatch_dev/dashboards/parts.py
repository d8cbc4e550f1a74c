"""What the panels of both dashboards have in common: the source, the look, the variables."""

from __future__ import annotations

from collections.abc import Mapping

from grafana_foundation_sdk.builders import (
    common as common_builders,
)
from grafana_foundation_sdk.builders import (
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as prometheus_models

SOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
# `detector` is the pod; the other two are the same for all detectors.
WITHOUT_POD = "without (detector, instance, job)"
GREEN, ORANGE, RED, BLUE = "green", "orange", "red", "blue"
FULL_WIDTH = 24

_LEGEND = (
    common_builders.VizLegendOptions()
    .show_legend(True)
    .display_mode(common.LegendDisplayMode.LIST)
    .placement(common.LegendPlacement.BOTTOM)
)
_TOOLTIP = (
    common_builders.VizTooltipOptions()
    .mode(common.TooltipDisplayMode.MULTI)
    .sort(common.SortOrder.DESCENDING)
)

Queries = Mapping[str, str]
"""Legend and expression of each line of a panel; braces in a legend name labels."""


def graph(
    title: str,
    description: str,
    queries: Queries,
    *,
    unit: str = "short",
    limits: Mapping[float, str] | None = None,
    width: int = 12,
    height: int = 8,
    stacked: bool = False,
) -> timeseries.Panel:
    """Lines over time; `limits` are drawn as dashed lines in their colours."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .span(width)
        .height(height)
        .unit(unit)
        .line_width(1)
        .fill_opacity(20 if stacked else 0)
        .show_points(common.VisibilityMode.NEVER)
        .thresholds(_thresholds(limits or {}))
        .legend(_LEGEND)
        .tooltip(_TOOLTIP)
    )
    if stacked:
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    if limits:
        panel.thresholds_style(
            common_builders.GraphThresholdsStyleConfig().mode(
                common.GraphThresholdsStyleMode.DASHED
            )
        )
    for number, (legend, expression) in enumerate(queries.items()):
        panel.with_target(_query(number, expression, legend))
    return panel


def number(
    title: str,
    description: str,
    expression: str,
    *,
    limits: Mapping[float, str] | None = None,
    unit: str = "short",
    width: int = 4,
) -> stat.Panel:
    """One number as it is now, in the colour of the limit that it reached."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .span(width)
        .height(4)
        .unit(unit)
        .thresholds(_thresholds(limits or {}))
        .color_mode(common.BigValueColorMode.BACKGROUND)
        .graph_mode(common.BigValueGraphMode.AREA)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_query(0, expression, title))
    )


def rows(
    title: str,
    description: str,
    expression: str,
    *,
    value: str,
    hidden: tuple[str, ...] = (),
    unit: str = "short",
    width: int = FULL_WIDTH,
) -> table.Panel:
    """A table of the series of a query as they are now: a column for each label, and the value."""
    organize = models.DataTransformerConfig(
        id_val="organize",
        options={
            "excludeByName": {name: True for name in ("Time", *hidden)},
            "renameByName": {"Value": value, "watch_namespace": "namespace"},
        },
    )
    return (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .span(width)
        .height(8)
        .unit(unit)
        .thresholds(_thresholds({}))
        .with_transformation(organize)
        .sort_by([common_builders.TableSortByFieldState().display_name(value).desc(True)])
        .with_target(
            _query(0, expression, "").instant().format(prometheus_models.PromQueryFormat.TABLE)
        )
    )


def spans(
    title: str, description: str, expression: str, legend: str, *, width: int = 12, height: int = 8
) -> statetimeline.Panel:
    """When a series was 1, as bars over time."""
    words = models.ValueMap(
        options={
            "0": models.ValueMappingResult(text=" ", color="transparent", index=0),
            "1": models.ValueMappingResult(text="yes", color=RED, index=1),
        }
    )
    return (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .span(width)
        .height(height)
        .unit("short")
        .mappings([words])
        .thresholds(_thresholds({1: RED}))
        .merge_values(True)
        .show_value(common.VisibilityMode.NEVER)
        .row_height(0.8)
        .with_target(_query(0, expression, legend))
    )


def variable(
    name: str, label: str, query: str, *, multi: bool = True, regex: str = ""
) -> dashboard.QueryVariable:
    """A choice of what the query gives; with `multi` of several, and of all at first."""
    made = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": query, "refId": f"variable-{name}"})
        .definition(query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .regex(regex)
    )
    if not multi:
        return made.sort(models.VariableSort.DISABLED)
    every = models.VariableOption(selected=True, text=["All"], value=["$__all"])
    return (
        made.sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(every)
    )


def start(title: str, uid: str, description: str, *, other: str) -> dashboard.Dashboard:
    """An empty dashboard with the choice of a data source and a link to the other one."""
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["metricwatch"])
        .editable()
        .time("now-6h", "now")
        .refresh("30s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
        )
        .link(
            dashboard.DashboardLink(other)
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags(["metricwatch"])
            .include_vars(True)
            .keep_time(True)
        )
    )


def _query(number: int, expression: str, legend: str) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .datasource(SOURCE)
        .ref_id("ABCDEFGH"[number])
        .expr(expression)
        .legend_format(legend)
        .range()
    )


def _thresholds(limits: Mapping[float, str]) -> dashboard.ThresholdsConfig:
    steps = [models.Threshold(value=None, color=GREEN)]
    steps += [models.Threshold(value=value, color=color) for value, color in limits.items()]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)
