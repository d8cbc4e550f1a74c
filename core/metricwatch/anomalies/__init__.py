"""What counts as an anomaly and what becomes of it: pure functions over verdicts."""

from metricwatch.anomalies.explanation import explain
from metricwatch.anomalies.lifecycle import (
    Action,
    Anomaly,
    Change,
    Kind,
    Lifecycle,
    State,
    advance,
)
from metricwatch.anomalies.policy import (
    MaintenanceWindow,
    Policy,
    Severity,
)
from metricwatch.anomalies.systems import Member, SystemAnomaly, enough, group_systems
from metricwatch.anomalies.verdicts import Verdicts, judge

__all__ = [
    "Action",
    "Anomaly",
    "Change",
    "Kind",
    "Lifecycle",
    "MaintenanceWindow",
    "Member",
    "Policy",
    "Severity",
    "State",
    "SystemAnomaly",
    "Verdicts",
    "advance",
    "enough",
    "explain",
    "group_systems",
    "judge",
]
