"""The block of a model that seasonal series are learned by, and what it makes of them."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from metricwatch.algorithms import FAMILIES, seasonal
from metricwatch.resources.algorithm import Algorithm
from metricwatch.resources.seasonal import SeasonalParameters, SeasonalTrend
from metricwatch.series import Grid

DAY = 86400
SCORING = """
import sys
import numpy as np
from metricwatch.algorithms import seasonal
from metricwatch.series import Grid
seasonal.fit(np.zeros((1, 100)), Grid(0, 60, 100)).step(6000, np.zeros(1))
print(sorted({name.split(".")[0] for name in sys.modules}))
"""


def parsed(**fields: Any) -> SeasonalParameters:
    return SeasonalParameters.model_validate(fields)


def test_the_type_alone_is_enough() -> None:
    assert Algorithm.model_validate({"type": "seasonal"}).seasonal is None
    grid = Grid(0, 60, 100)
    bank = seasonal.fit(np.zeros((1, 100)), grid)
    assert bank.header() == seasonal.fit(np.zeros((1, 100)), grid, parsed()).header()


def test_an_algorithm_takes_everything_as_people_write_it() -> None:
    block = {
        "periods": ["1d", "1w"],
        "monthly": True,
        "trend": "linear",
        "timeZone": "Europe/Berlin",
        "country": "DE-BY",
        "events": [
            {"name": "sale", "start": "2026-11-27T00:00:00+01:00", "duration": "2d"},
            {"name": "month-close", "start": "2026-01-01T06:00:00Z", "repeat": "monthly"},
        ],
    }
    parameters = Algorithm.model_validate({"type": "seasonal", "seasonal": block}).seasonal
    assert parameters is not None
    assert parsed(**parameters.to_manifest()) == parameters


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"periods": []}, "at least 1"),
        ({"periods": ["1d"] * 5}, "at most 4"),
        ({"periods": ["0d"]}, "must be at least 1s"),
        ({"trend": "logistic"}, "none.*linear.*changepoints"),
        ({"timeZone": "Europe/Atlantis"}, "no time zone 'Europe/Atlantis'"),
        ({"country": "Germany"}, "at most 6 characters"),
        ({"country": "de"}, "should match pattern"),
        ({"events": [{"name": "sale"}]}, "start"),
        ({"events": [{"name": "sale", "start": "2026-11-27"}]}, "is not a time"),
        (
            {"events": [{"name": "sale", "start": "2026-11-27T00:00:00Z", "duration": "0s"}]},
            "must be at least 1s",
        ),
        (
            {"events": [{"name": "sale", "start": "2026-11-27T00:00:00Z", "repeat": "hourly"}]},
            "never.*daily.*weekly.*monthly.*yearly",
        ),
        ({"events": [{"name": "s", "start": "2026-11-27T00:00:00Z"}] * 65}, "at most 64"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        parsed(**fields)


class FirstChoice:
    """A search that always takes what is offered first."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        return low

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return low

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return choices[0]


def test_tuning_tries_what_is_a_matter_of_taste_and_no_facts() -> None:
    search = FAMILIES["seasonal"].search
    assert search is not None
    tried = search(FirstChoice())
    assert isinstance(tried, SeasonalParameters)
    assert tried.model_fields_set == {"trend", "monthly"}
    assert tried.trend is SeasonalTrend.NONE


def test_a_history_of_five_days_has_no_trend() -> None:
    grid = Grid(0, 300, 5 * 288)
    bank = seasonal.fit(np.random.default_rng(0).standard_normal((1, grid.count)), grid)
    assert bank.header()["trend"] is None


def test_fitting_without_a_country_and_scoring_load_no_list_of_holidays() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCORING], capture_output=True, text=True, check=True
    )
    for heavy in ("holidays", "pandas", "torch", "scipy"):
        assert f"'{heavy}'" not in done.stdout


@pytest.mark.parametrize("samples", [24, 100, 300])
def test_a_few_hundred_samples_of_noise_give_a_level_and_little_else(samples: int) -> None:
    grid = Grid(20_000 * DAY, 300, samples)
    rng = np.random.default_rng(1)
    bank = seasonal.fit(50 + rng.standard_normal((20, samples)), grid)
    live = Grid(grid.end + 300, 300, 288)
    expected = bank.backtest(live, 50 + rng.standard_normal((20, 288))).expected
    assert np.abs(expected - 50).max() < 1.5
