"""What a detector is estimated to need, against the arrays of banks that were restored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from metricwatch.algorithms import FAMILIES
from metricwatch.memory import (
    BASE_BYTES,
    OTHER_BYTES,
    SERIES_BYTES,
    Share,
    as_quantity,
    bank_bytes,
    detector_bytes,
)
from metricwatch.resources import Algorithm
from metricwatch.series import Grid

QUICK: dict[str, dict[str, Any]] = {
    "lstm": {"epochs": 1},
    "tcn": {"epochs": 1},
    "randomForest": {"trees": 8},
    "xgboost": {"rounds": 8},
}


def array_bytes(value: Any, seen: set[int] | None = None) -> int:
    """Bytes of every array that can be reached from an object, each counted once."""
    seen = set() if seen is None else seen
    if isinstance(value, np.ndarray):
        while isinstance(value.base, np.ndarray):
            value = value.base
    if id(value) in seen:
        return 0
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, dict):
        return sum(array_bytes(one, seen) for one in value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return sum(array_bytes(one, seen) for one in value)
    if isinstance(value, type) or callable(value):
        return 0
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    names = {*getattr(value, "__dict__", {}), *slots}
    return sum(array_bytes(getattr(value, name, None), seen) for name in names)


def held(family: str, parameters: Any, *, interval: int, days: int, series: int) -> int:
    """Bytes of a bank that was restored, warmed up and has scored a tick."""
    known = FAMILIES[family]
    grid = Grid(1_700_000_000 // interval * interval, interval, days * 86_400 // interval)
    rng = np.random.default_rng(0)
    day = np.sin(2 * np.pi * grid.timestamps() / 86_400)
    values = 10 + 3 * day + rng.normal(size=(series, grid.count))
    labels = None
    if known.learns_from_labels:
        labels = np.zeros(values.shape, np.bool_)
        labels[:, 100:110] = True
        values[labels] += 20
    bank = known.fit(values, grid, parameters, labels=labels)
    bank = known.restore(bank.header(), bank.tensors())
    run_up = min(bank.warmup, grid.count)
    first = grid.count - run_up
    bank.backtest(grid.part(first, run_up), values[:, first:])
    bank.step(grid.end + interval, values[:, 0])
    return array_bytes(bank)


CASES: list[tuple[str, dict[str, Any], int, int]] = [
    *(
        (name, QUICK.get(name, {}), 300, 3 if known.learns_from_labels else 15)
        for name, known in FAMILIES.items()
        if name not in ("lstm", "tcn")
    ),
    ("lstm", QUICK["lstm"], 300, 3),
    ("lstm", QUICK["lstm"] | {"shared": True}, 300, 3),
    ("tcn", QUICK["tcn"], 300, 3),
    ("tcn", QUICK["tcn"] | {"channels": 8, "layers": 4, "shared": True}, 300, 3),
    ("ensemble", {"seasonal": False, "kmeans": True}, 300, 15),
    ("lstm", QUICK["lstm"] | {"hidden": 8, "ridge_lags": 64}, 300, 3),
    ("seasonal", {}, 60, 15),
    ("seasonal", {"periods": ("1h",)}, 300, 5),
    ("seasonal", {"periods": ("1d", "7d", "12h")}, 3600, 30),
    ("autoregressive", {"lags": 100}, 300, 15),
    ("subspacePca", {"window": 128, "components": 20}, 300, 15),
    ("isolationForest", {"window": 64, "trees": 48}, 300, 15),
    ("kmeans", {"window": 128, "clusters": 4}, 300, 15),
    ("kmeans", {}, 3600, 60),
]


@pytest.mark.parametrize(("family", "given", "interval", "days"), CASES)
def test_an_estimate_is_near_what_a_bank_holds(
    family: str, given: dict[str, Any], interval: int, days: int
) -> None:
    kind = FAMILIES[family].parameters
    algorithm = Algorithm.model_validate({"type": family, family: given})
    estimate = bank_bytes(family, algorithm, interval)
    few, more = (
        held(family, kind(**given), interval=interval, days=days, series=series)
        for series in (8, 24)
    )
    # What a bank holds once, such as a forest for all its series, is none of theirs.
    assert estimate == pytest.approx((more - few) / 16, rel=0.3)


def make_algorithm(**given: Any) -> Algorithm:
    return Algorithm.model_validate(given)


def test_parameters_of_another_family_do_not_count() -> None:
    large = make_algorithm(type="lstm", lstm={"hidden": 128})
    assert bank_bytes("lstm", large, 60) > 10 * bank_bytes("lstm", make_algorithm(), 60)
    assert bank_bytes("kmeans", large, 60) == bank_bytes("kmeans", make_algorithm(), 60)


def test_what_nothing_is_known_of_counts_as_much_as_a_cheap_family_may_take() -> None:
    algorithm = make_algorithm(type="example.com/holt")
    assert bank_bytes("example.com/holt", algorithm, 60) == OTHER_BYTES


def test_a_detector_holds_its_part_of_the_series() -> None:
    algorithm = make_algorithm(type="zscore")
    shares = [Share("zscore", 600, 60), Share("zscore", 400, 10)]
    each = SERIES_BYTES + bank_bytes("zscore", algorithm, 60)
    assert detector_bytes(shares, algorithm) == BASE_BYTES + 1000 * each
    assert detector_bytes(shares, algorithm, shards=4) == BASE_BYTES + 250 * each
    assert detector_bytes([], algorithm) == BASE_BYTES


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0Mi"), (1, "1Mi"), (2**20, "1Mi"), (3 * 2**30, "3072Mi")]
)
def test_a_quantity_is_rounded_up_to_whole_mebibytes(count: int, text: str) -> None:
    assert as_quantity(count) == text
