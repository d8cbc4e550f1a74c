"""The family of another package in examples/family-holt, found as pip would leave it."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from metricwatch.algorithms import Family, UnknownFamilyError, families, family_named
from metricwatch.resources import parse_model
from metricwatch.series import Grid
from metricwatch_dev.paths import REPOSITORY

PACKAGE = REPOSITORY / "examples" / "family-holt"
NAME = "example.com/holt"
GRID = Grid(start=0, step=60, count=300)


def write_entry_points(folder: Path, name: str, points: dict[str, str]) -> None:
    """What an installed package leaves beside its modules, as far as it matters here."""
    info = folder / f"{name}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    lines = [f"{entry} = {target}" for entry, target in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[metricwatch.families]", *lines]) + "\n")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that packages can be put into, forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    families.cache_clear()
    yield tmp_path
    families.cache_clear()
    for name in [one for one in sys.modules if one.startswith("metricwatch_holt")]:
        del sys.modules[name]


@pytest.fixture
def holt(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Family:
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    write_entry_points(installed, project["name"], project["entry-points"]["metricwatch.families"])
    monkeypatch.syspath_prepend(str(PACKAGE))
    return family_named(NAME)


def ramp(*slopes: float, seed: int = 0) -> Any:
    noise = np.random.default_rng(seed).normal(scale=0.1, size=(len(slopes), GRID.count))
    return np.outer(slopes, np.arange(GRID.count)) + noise


def test_it_is_found_by_its_entry_point(holt: Family) -> None:
    assert holt.name == NAME
    assert NAME in families()


def test_a_family_that_is_not_installed_is_unknown() -> None:
    families.cache_clear()
    with pytest.raises(UnknownFamilyError, match=r"'example\.com/holt' is unknown here: seasonal"):
        family_named(NAME)


@pytest.mark.parametrize("entry", ["example.com/other", "holt"])
def test_an_entry_point_of_another_name_is_refused_and_takes_no_family_of_ours_down(
    installed: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    write_entry_points(installed, "wrong", {entry: "metricwatch_holt:HOLT"})
    monkeypatch.syspath_prepend(str(PACKAGE))
    with pytest.raises(TypeError, match=f"must name a Family called '{entry}'"):
        families()
    assert family_named("zscore").name == "zscore"


def test_its_example_model_gives_parameters_that_it_understands(holt: Family) -> None:
    manifest = yaml.safe_load((PACKAGE / "anomalymodel.yaml").read_text())
    algorithm = parse_model(manifest).spec.algorithm
    assert algorithm.type == holt.name
    parameters = holt.parameters.model_validate(algorithm.external)
    assert parameters.to_manifest() == {"damping": 0.95}


def test_it_follows_a_trend_and_stands_a_spike(holt: Family) -> None:
    values = ramp(1.0, -0.2)
    bank = holt.fit(values, GRID)
    values[:, 200] = 1e6
    prediction = bank.backtest(GRID, values)
    assert np.abs(prediction.residual[:, 100:200]).max() < 2.0
    assert (prediction.residual[:, 200] > 9e5).all()
    assert np.abs(prediction.residual[:, 220:]).max() < 3.0


def test_a_gap_lets_time_pass_and_a_new_level_is_accepted(holt: Family) -> None:
    values = ramp(0.0, 0.0)
    bank = holt.fit(values, GRID)
    values[0, 100:150] = np.nan
    values[1, 100:] += 500.0
    prediction = bank.backtest(GRID, values)
    assert np.isnan(prediction.residual[0, 100:150]).all()
    assert abs(prediction.residual[0, 150]) < 1.0
    assert np.abs(prediction.residual[1, 160:]).max() < 50.0


def test_steps_give_what_a_backtest_gives_and_a_restored_bank_the_same(holt: Family) -> None:
    values = ramp(0.5, 0.0, -3.0)
    values[1, ::7] = np.nan
    fitted = holt.fit(values, GRID)
    whole = fitted.backtest(GRID, values).expected
    again = holt.restore(fitted.header(), fitted.tensors())
    times = GRID.timestamps().tolist()
    columns = [again.step(at, values[:, tick]).expected for tick, at in enumerate(times)]
    np.testing.assert_array_equal(np.stack(columns, axis=1), whole)


@pytest.mark.parametrize("size", [1e-9, 1e15])
def test_any_size_is_as_good_as_another(holt: Family, size: float) -> None:
    values = ramp(0.5, -1.0)
    one, other = (
        holt.fit(factor * values, GRID).backtest(GRID, factor * values).expected
        for factor in (1.0, size)
    )
    np.testing.assert_allclose(other[:, 1:] / size, one[:, 1:], rtol=1e-6, atol=1e-6)


def test_series_that_teach_nothing_break_nothing(holt: Family) -> None:
    values = np.stack([np.full(GRID.count, np.nan), np.full(GRID.count, 5.0)])
    values = np.vstack([values, np.where(np.arange(GRID.count) == 7, 3.0, np.nan)])
    bank = holt.fit(values, GRID)
    expected = bank.backtest(GRID, np.full(values.shape, 5.0)).expected
    np.testing.assert_allclose(expected[:, -1], 5.0, atol=0.1)


@pytest.mark.parametrize(
    "change",
    [
        {"scale": np.zeros(2)},
        {"level_rate": np.full(2, 1.5)},
        {"trend_rate": np.full(3, 0.1)},
        {"scale": np.full(2, np.nan)},
    ],
)
def test_bytes_that_are_no_such_bank_are_refused(holt: Family, change: dict[str, Any]) -> None:
    bank = holt.fit(ramp(1.0, 2.0), GRID)
    with pytest.raises(ValueError, match=r"rates and scale|tensor"):
        holt.restore(bank.header(), bank.tensors() | change)
    with pytest.raises(ValueError, match="damping is 'x'"):
        holt.restore({"damping": "x"}, bank.tensors())
