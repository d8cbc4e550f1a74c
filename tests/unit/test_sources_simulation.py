"""Series without a server: what history says, a live sample says too."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricwatch.series import Grid
from metricwatch.sources import SourceConfig, SourceRefused, open_source
from metricwatch.sources.simulation import parse_simulation

TWO_WEEKS = Grid(start=1_700_006_400, step=300, count=14 * 288)


async def test_live_samples_continue_history() -> None:
    source = open_source(SourceConfig.model_validate({"type": "simulation"}))
    expr = "simulation(series=5, seed=7)"
    told: list[tuple[int, int]] = []
    panel = await source.query_range(expr, TWO_WEEKS, progress=lambda *now: told.append(now))
    for index in (0, 100, TWO_WEEKS.count - 1):
        at = int(TWO_WEEKS.timestamps()[index])
        sample = await source.query(expr, at=at, step=300)
        assert sample.labels == panel.labels
        np.testing.assert_array_equal(sample.values, panel.values[:, index])
    assert told == [(TWO_WEEKS.count, TWO_WEEKS.count)]
    await source.close()


async def test_no_more_series_than_asked_for() -> None:
    source = open_source(SourceConfig.model_validate({"type": "simulation"}))
    whole = await source.query_range("simulation(series=9)", TWO_WEEKS)
    panel = await source.query_range("simulation(series=9)", TWO_WEEKS, max_series=2)
    assert (panel.labels, panel.left_out) == (whole.labels[:2], 7)
    np.testing.assert_array_equal(panel.values, whole.values[:2])
    sample = await source.query("simulation(series=9)", at=600, step=60, max_series=0)
    assert (sample.values.shape, sample.left_out) == ((0,), 9)


def test_a_day_looks_like_the_day_before_and_noise_does_not() -> None:
    values = parse_simulation("simulation(series=4)").values(TWO_WEEKS.timestamps())
    one = values.reshape(4, 14, 288)
    for series in one:
        assert float(np.asarray(np.corrcoef(series[3], series[4]))[0, 1]) > 0.9
    noise = np.diff(values, n=2, axis=1)
    assert np.abs(np.asarray(np.corrcoef(noise))[~np.eye(4, dtype=bool)]).max() < 0.1
    assert values.min() > 0


def test_another_seed_gives_other_series() -> None:
    ticks = TWO_WEEKS.timestamps()
    one, other = (parse_simulation(f"simulation(seed={n})").values(ticks) for n in (1, 2))
    assert not np.any(one == other)


def test_during_an_incident_the_first_series_doubles() -> None:
    ticks = np.arange(0, 7200, 60)
    calm = parse_simulation("simulation(series=2)").values(ticks)
    troubled = parse_simulation("simulation(series=2, incident=1h)").values(ticks)
    ratio = troubled / calm
    assert np.unique(ratio[1]).tolist() == [1.0]
    assert ticks[ratio[0] == 2.0].tolist() == [*range(3300, 3600, 60), *range(6900, 7200, 60)]


@given(series=st.integers(0, 50), seed=st.integers(0, 2**62), tick=st.integers(0, 2**33))
def test_every_seed_gives_finite_values(series: int, seed: int, tick: int) -> None:
    simulation = parse_simulation(f"simulation(series={series}, seed={seed})")
    values = simulation.values(np.array([tick], dtype=np.int64))
    assert values.shape == (series, 1)
    assert np.isfinite(values).all()


@pytest.mark.parametrize(
    "expr",
    [
        "up",
        "simulation",
        "simulation(series=-1)",
        "simulation(series=many)",
        "simulation(size=3)",
        "simulation(series=1;seed=2)",
        "simulation(incident=often)",
    ],
)
def test_an_expression_that_is_no_simulation_is_answered_with_one(expr: str) -> None:
    with pytest.raises(SourceRefused, match=r"simulation\(series=20"):
        parse_simulation(expr)


def test_a_simulation_asks_for_a_bounded_number_of_series_and_of_incidents() -> None:
    with pytest.raises(SourceRefused, match="at most 100000"):
        parse_simulation("simulation(series=100001)")
    with pytest.raises(SourceRefused, match="10m apart"):
        parse_simulation("simulation(incident=5m)")
