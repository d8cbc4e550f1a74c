"""What the serving version learned from, and which recorded anomalies can be looked for."""

from typing import Any

import pytest

from metricwatch.gate import GateMeasurement, Side, WatchMeasured
from metricwatch.resources.anomalymodel import VersionState
from metricwatch.series import Grid, Labels
from metricwatch.store.rows import (
    AnomalyRow,
    AnomalyState,
    ModelOverview,
    StoredAnomaly,
    Version,
)
from metricwatch_trainer.gate.disturbing import Event
from metricwatch_trainer.gate.gatekeeping import event_of
from metricwatch_trainer.gate.opponent import seen_until, serving_version

POD: Labels = (("pod", "a"),)
TAIL = Grid(100_000, 100, 50)
END = 1_000_000


def version(number: int = 1, **report: Any) -> Version:
    return Version(
        id=number,
        version=number,
        state=VersionState.SERVING,
        reason="",
        message="",
        request={},
        request_hash="",
        attempt=1,
        code_version="",
        window_start=0,
        window_end=END,
        data_hash=None,
        seed=None,
        report={"watches": [{"uid": "watch-1", "trained": 10}]} | report,
        created_at=0,
        trained_at=END,
        served_at=END,
        retired_at=None,
    )


def gate(*measured: int, uid: str = "watch-1") -> dict[str, Any]:
    """The row of a gate that measured so many series in each pod, from one tick after another."""
    rows = tuple(
        WatchMeasured(uid=uid, start=900_000 + 100 * pod, candidate=Side(series=series))
        for pod, series in enumerate(measured)
    )
    return GateMeasurement(watches=rows).to_row()


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        pytest.param({}, END, id="nothing was held back from it"),
        pytest.param({"gate": gate(10)}, 899_900, id="it learned from what came before its tail"),
        pytest.param({"gate": gate(6, 4)}, 900_000, id="each of its pods had a tail of its own"),
        pytest.param({"gate": gate(9)}, END, id="some series learned from everything"),
        pytest.param({"gate": gate(10, uid="watch-2")}, END, id="another watch was measured"),
        pytest.param({"gate": {"watches": "?"}}, END, id="a gate of another release"),
        pytest.param({"watches": [{"uid": "watch-2", "trained": 9}]}, None, id="another watch"),
        pytest.param({"watches": [{"uid": "watch-1", "trained": 0}]}, None, id="no series"),
        pytest.param(
            {"watches": [{"uid": "watch-1", "trained": 10, "from": 1, "end": 600_000}]},
            600_000,
            id="it took the watch over from an older version",
        ),
    ],
)
def test_a_version_has_seen_what_it_learned_from(
    report: dict[str, Any], expected: int | None
) -> None:
    assert seen_until(version(**report), "watch-1", interval=100) == expected


def test_the_version_that_serves_is_found() -> None:
    first, second = version(1), version(2)
    overview = ModelOverview(
        id=1,
        uid="model-1",
        namespace="shop",
        name="checkout",
        generation=1,
        serving_version=1,
        versions=(second, first),
        watches=(),
    )
    assert serving_version(overview) is first
    assert serving_version(None) is None


def anomaly(start: int, last: int, *, direction: str = "above") -> StoredAnomaly:
    row = AnomalyRow(
        metric_id=1,
        started_at=start,
        last_anomalous_at=last,
        peak_at=start,
        ended_at=None,
        state=AnomalyState.OPEN,
        kind="point",
        severity="warning",
        direction=direction,
        peak_score=2.0,
        peak_value=1.0,
        peak_expected=0.0,
        samples=1,
    )
    return StoredAnomaly(
        id=1,
        model_id=1,
        watch_uid="watch-1",
        watch_name="cpu",
        labels=POD,
        system="",
        version=1,
        system_anomaly_id=None,
        anomaly=row,
    )


@pytest.mark.parametrize(
    ("stored", "event"),
    [
        pytest.param(anomaly(100_500, 100_700), Event(POD, 5, 8), id="within the tail"),
        pytest.param(anomaly(104_800, 109_000), Event(POD, 48, 50), id="beyond its end"),
        pytest.param(anomaly(100_000, 100_000), Event(POD, 0, 1), id="one sample"),
        pytest.param(anomaly(99_900, 100_300), None, id="began before it"),
        pytest.param(anomaly(100_500, 190_000), None, id="lasted for more than a day"),
        pytest.param(anomaly(100_500, 100_700, direction="missing"), None, id="no data"),
    ],
)
def test_a_recorded_anomaly_is_looked_for_where_it_was(
    stored: StoredAnomaly, event: Event | None
) -> None:
    assert event_of(stored, TAIL) == event
