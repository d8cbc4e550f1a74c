"""The system anomaly of one system, brought up to date within the transaction of a decision."""

from __future__ import annotations

from metricwatch.anomalies import Member, Policy, SystemAnomaly, group_systems
from metricwatch.store.connection import Connection
from metricwatch.store.rows import AnomalyState
from metricwatch.store.rows import SystemAnomaly as Row
from metricwatch.store.systems import (
    count_system_series,
    lock_system,
    open_members,
    read_open_system,
    write_system_anomaly,
)


async def group_system(
    connection: Connection, *, model_id: int, system: str, now: int, policy: Policy
) -> int:
    """Opens, widens or ends the system's anomaly; returns how many series the open one groups.

    Raises:
        StoreError: the database is away.
    """
    await lock_system(connection, model_id=model_id, system=system)
    stored = await read_open_system(connection, model_id=model_id, system=system)
    ranks = {severity.name: rank for rank, severity in enumerate(policy.severities)}
    names = [severity.name for severity in policy.severities]
    rows = await open_members(connection, model_id=model_id, system=system)
    members = [Member(key, started, ranks.get(name, 0)) for key, started, name in rows]
    standing = None
    if stored is not None:
        known = stored.anomaly
        standing = SystemAnomaly(
            known.started_at, None, ranks.get(known.severity, 0), known.members
        )
    series = await count_system_series(connection, model_id=model_id, system=system)
    found = group_systems(members, series=series, now=now, standing=standing)
    if found is None:
        return 0
    if found != standing:
        state = AnomalyState.OPEN if found.ended_at is None else AnomalyState.RESOLVED
        row = Row(
            system=system,
            started_at=found.started_at,
            ended_at=found.ended_at,
            state=state,
            severity=names[found.severity],
            members=found.members,
        )
        await write_system_anomaly(connection, model_id=model_id, anomaly=row)
    return len(found.members) if found.ended_at is None else 0
