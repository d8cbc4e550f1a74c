"""What counts as an anomaly and what becomes of it: pure functions over verdicts."""

from metricwatch.anomalies.anomaly import Action, Anomaly, Change, Kind, State
from metricwatch.anomalies.components import MOST_COMPONENTS, Blame, Component
from metricwatch.anomalies.explanation import explain
from metricwatch.anomalies.lifecycle import Lifecycle, advance
from metricwatch.anomalies.policy import (
    MaintenanceWindow,
    Policy,
    Severity,
)
from metricwatch.anomalies.spans import advance_span
from metricwatch.anomalies.systems import Member, SystemAnomaly, enough, group_systems
from metricwatch.anomalies.verdicts import (
    SpanVerdicts,
    Verdicts,
    judge,
    judge_all,
    with_systems,
)

__all__ = [
    "MOST_COMPONENTS",
    "Action",
    "Anomaly",
    "Blame",
    "Change",
    "Component",
    "Kind",
    "Lifecycle",
    "MaintenanceWindow",
    "Member",
    "Policy",
    "Severity",
    "SpanVerdicts",
    "State",
    "SystemAnomaly",
    "Verdicts",
    "advance",
    "advance_span",
    "enough",
    "explain",
    "group_systems",
    "judge",
    "judge_all",
    "with_systems",
]
