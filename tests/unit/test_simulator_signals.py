"""The simulated shop and replayed files: pure, repeatable, and shaped like what they stand for."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from metricwatch_dev.simulator.pushing import Simulator, VictoriaMetrics, import_lines
from metricwatch_dev.simulator.replay import Replay, read_csv
from metricwatch_dev.simulator.shop import CPU, ERRORS, LATENCY, REQUESTS, Shop, gaussian
from metricwatch_dev.simulator.signals import DAY, Incident

MONDAY = 4 * DAY + 2_600 * 7 * DAY


def make_shop(*, seed: int = 1, pods: int = 2, interval: int = 60) -> Shop:
    return Shop(seed=seed, pods=pods, interval=interval)


def ticks(days: float, *, start: int = MONDAY, step: int = 60) -> np.ndarray:
    return np.arange(start, start + int(days * DAY), step, dtype=np.int64)


def test_a_value_depends_on_seed_and_time_only() -> None:
    times = ticks(1)
    whole = make_shop().values(times)
    one_by_one = np.hstack([make_shop().values(times[i : i + 1]) for i in range(50)])
    assert np.array_equal(whole[:, :50], one_by_one)
    assert not np.array_equal(whole, make_shop(seed=2).values(times))


def test_every_pod_has_its_own_series_of_each_metric() -> None:
    labels = make_shop(pods=5).labels
    assert len(labels) == len({tuple(sorted(item.items())) for item in labels}) == 20
    assert {item["__name__"] for item in labels} == {REQUESTS, LATENCY, ERRORS, CPU}


def test_values_are_positive_and_of_a_believable_size() -> None:
    values = make_shop().values(ticks(14))
    bounds = {REQUESTS: (5, 500), LATENCY: (0.05, 0.5), ERRORS: (0.0005, 0.05), CPU: (0.05, 3)}
    for labels, row in zip(make_shop().labels, values, strict=True):
        low, high = bounds[labels["__name__"]]
        assert low < row.min()
        assert row.max() < high


def test_requests_have_a_daily_and_a_weekly_rhythm() -> None:
    requests = make_shop().values(ticks(14))[0].reshape(14, -1)
    noons, nights = requests[:, 11 * 60 : 15 * 60].mean(axis=1), requests[:, : 4 * 60].mean(axis=1)
    assert (noons > 2 * nights).all()
    sunday = noons[6]
    assert sunday < 0.85 * noons[1]
    assert np.allclose(noons[:7], noons[7:], rtol=0.05)


def test_noise_is_normal_and_differs_from_series_to_series() -> None:
    times = np.arange(100_000, dtype=np.int64)
    first, second = gaussian(1, times), gaussian(2, times)
    assert abs(first.mean()) < 0.02
    assert abs(first.std() - 1) < 0.02
    assert abs(np.mean(np.abs(first) > 3) - 0.0027) < 0.001
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.02


@pytest.mark.parametrize("kind", make_shop().kinds)
def test_an_incident_changes_the_pods_it_concerns_and_no_others(kind: str) -> None:
    shop = make_shop()
    values = shop.values(ticks(0.1))
    disturbed = shop.disturb(values, Incident(kind, 5.0, 0, {"pod": "shop-1"}))
    changed = {
        labels["pod"]
        for labels, before, after in zip(shop.labels, values, disturbed, strict=True)
        if not np.array_equal(before, after)
    }
    assert changed == {"shop-1"}
    assert np.isfinite(disturbed).all()


def test_a_latency_incident_multiplies_latency() -> None:
    shop = make_shop()
    values = shop.values(ticks(0.1))
    disturbed = shop.disturb(values, Incident("latency", 4.0, 0, {}))
    rows = [index for index, item in enumerate(shop.labels) if item["__name__"] == LATENCY]
    assert np.allclose(disturbed[rows], 4 * values[rows])


@pytest.mark.parametrize(
    ("request_body", "sentence"),
    [
        ({"kind": "flood"}, "kind must be one of latency, errors, traffic, cpu"),
        ({"kind": "cpu", "magnitude": -1}, "magnitude must be a positive number"),
        ({"kind": "cpu", "magnitude": "big"}, "magnitude must be a positive number"),
        ({"kind": "cpu", "where": {"pod": "shop-9"}}, "no series has the labels"),
    ],
)
def test_an_incident_that_cannot_be_is_refused_with_a_sentence(
    request_body: dict[str, object], sentence: str
) -> None:
    simulator = Simulator(make_shop(), VictoriaMetrics("http://127.0.0.1:1"))
    with pytest.raises(ValueError, match=sentence):
        simulator.begin(request_body, now=0)
    assert simulator.incident is None


def write_csv(path: Path, *, rows: int = 10, spacing: int = 300) -> Path:
    lines = [f"{MONDAY + i * spacing},{i},{i * 2},0,train" for i in range(rows)]
    path.write_text("\n".join(["timestamp,cpu,memory,label,part", *lines]))
    return path


def test_columns_that_are_no_values_are_left_out(tmp_path: Path) -> None:
    times, columns = read_csv(write_csv(tmp_path / "host.csv"))
    assert list(columns) == ["cpu", "memory"]
    assert times[1] - times[0] == 300


def test_a_gzipped_file_with_iso_times_and_a_gap_is_read(tmp_path: Path) -> None:
    path = tmp_path / "host.csv.gz"
    text = "timestamp,value\n2024-01-01T00:00:00+00:00,1.5\n2024-01-01T00:01:00+00:00,\n"
    path.write_bytes(gzip.compress(text.encode()))
    times, columns = read_csv(path)
    assert times.tolist() == [1704067200, 1704067260]
    assert columns["value"][0] == 1.5
    assert np.isnan(columns["value"][1])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "first column must be called timestamp"),
        ("time,value\n1,2\n3,4\n", "first column must be called timestamp"),
        ("timestamp\n1\n2\n", "needs a column of values"),
        ("timestamp,value\n1,2\n", "two rows"),
        ("timestamp,host\n1,a\n2,b\n", "leave text columns out"),
        ("timestamp,value\n1,2\n3\n", "list index out of range"),
        ("timestamp,value\nyesterday,2\ntoday,3\n", "yesterday"),
    ],
)
def test_a_file_of_another_form_is_refused_with_its_name(
    tmp_path: Path, content: str, sentence: str
) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=sentence) as refused:
        read_csv(path)
    assert "broken.csv" in str(refused.value)


def test_history_ends_where_live_begins_and_the_file_starts_over(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "host.csv")
    replay = Replay([path], row_seconds=None, origin=MONDAY + 7, history=0.8)
    assert replay.interval == 300
    assert replay.history_seconds == 8 * 300
    times = MONDAY + np.arange(-9, 5, dtype=np.int64) * 300
    cpu = replay.values(times)[0]
    assert np.isnan(cpu[0])
    assert cpu[1:].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]


def test_rows_can_be_replayed_faster_than_they_were_recorded(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "host.csv")
    replay = Replay([path], row_seconds=5, origin=MONDAY, history=0.5)
    assert replay.values(MONDAY + np.array([0, 5, 10], dtype=np.int64))[0].tolist() == [5, 6, 7]
    assert [item["series"] for item in replay.labels] == ["host/cpu", "host/memory"]


def test_a_shift_is_measured_in_the_series_own_spread(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "host.csv", rows=101)
    replay = Replay([path], row_seconds=5, origin=MONDAY, history=0.5)
    values = replay.values(np.array([MONDAY], dtype=np.int64))
    shifted = replay.disturb(values, Incident("shift", 2.0, 0, {"series": "host/cpu"}))
    assert (shifted - values)[:, 0].tolist() == [100, 0]


def test_missing_samples_are_not_sent() -> None:
    values = np.array([[1.0, np.nan, 3.0], [np.nan] * 3])
    lines = list(import_lines([{"__name__": "a"}, {"__name__": "b"}], np.arange(3), values))
    assert lines == [
        b'{"metric": {"__name__": "a"}, "values": [1.0, 3.0], "timestamps": [0, 2000]}\n'
    ]
