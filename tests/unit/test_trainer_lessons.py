"""Which family a request asks for, with what parameters, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import pytest
from pydantic import Field

from metricwatch.algorithms import Family
from metricwatch.algorithms.zscore import ZSCORE
from metricwatch.assignments import TrainingRequest
from metricwatch.resources import AutoregressiveParameters, Scaling
from metricwatch.resources.schema import ApiModel
from metricwatch.verdict import ExitCode
from metricwatch_trainer import lessons
from metricwatch_trainer.learning import Lesson
from metricwatch_trainer.lessons import external_parameters, lesson_of
from metricwatch_trainer.refusal import Refusal
from metricwatch_trainer.system_learning import SYSTEM

WATCH: dict[str, Any] = {
    "uid": "u1",
    "namespace": "shop",
    "name": "latency",
    "queries": [{"expr": "up"}],
    "source": {"url": "http://prometheus:9090"},
    "intervalSeconds": 60,
}


class HoltParameters(ApiModel):
    level_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    windows: tuple[int, ...] = ()
    shared: bool = False


HOLT = replace(ZSCORE, name="example.com/holt", parameters=HoltParameters)


def lesson(**row: Any) -> Lesson:
    return lesson_of(TrainingRequest.from_row({"watches": [WATCH]} | row))


def refusal(**row: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        lesson(**row)
    return caught.value


@pytest.fixture
def holt(monkeypatch: pytest.MonkeyPatch) -> Family:
    monkeypatch.setattr(lessons, "family_named", lambda name: {HOLT.name: HOLT}[name])
    return HOLT


def test_a_family_learns_with_its_own_block() -> None:
    found = lesson(
        algorithm={"type": "autoregressive", "autoregressive": {"lags": 8}},
        training={"seed": 3, "scaling": "standard"},
    )
    assert found.family.name == "autoregressive"
    assert found.parameters == AutoregressiveParameters(lags=8)
    assert (found.seed, found.scaling) == (3, Scaling.STANDARD)


def test_without_a_block_a_family_has_its_defaults() -> None:
    assert lesson(algorithm={"type": "zscore"}).parameters is None


def test_auto_chooses_for_each_series_against_the_ensemble() -> None:
    found = lesson()
    assert (found.family.name, found.parameters, found.choose) == ("ensemble", None, True)
    assert not lesson(algorithm={"type": "ensemble"}).choose


def test_systems_are_learned_by_the_family_for_systems() -> None:
    found = lesson(scope="multivariate", training={"seed": 3})
    assert (found.family, found.parameters, found.choose, found.seed) == (SYSTEM, None, False, 3)
    assert found.cheap()


@pytest.mark.parametrize("family", ["ensemble", "lstm", "randomForest"])
def test_a_family_for_single_series_is_refused_for_systems(family: str) -> None:
    error = refusal(scope="multivariate", algorithm={"type": family})
    assert (error.code, error.reason) == (ExitCode.REQUEST, "NotSupported")
    assert f"{error}" == (
        f"{family} learns each series by itself: use type auto with scope multivariate, or scope "
        "perSeries"
    )


def test_a_family_that_is_not_installed_is_refused_with_what_to_do() -> None:
    error = refusal(algorithm={"type": "example.com/holt"})
    assert (error.code, error.reason) == (ExitCode.REQUEST, "UnknownFamily")
    assert "'example.com/holt' is unknown here" in f"{error}"
    assert "docs/families/own.md" in f"{error}"


def test_a_package_that_is_broken_breaks_no_family_but_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(name: str) -> Family:
        raise ImportError("No module named 'statsmodels'")

    monkeypatch.setattr(lessons, "family_named", broken)
    assert lesson(algorithm={"type": "zscore"}).family.name == "zscore"
    error = refusal(algorithm={"type": "example.com/holt"})
    assert (error.code, error.reason) == (ExitCode.REQUEST, "UnknownFamily")
    assert "cannot be loaded: No module named 'statsmodels'" in f"{error}"


def test_a_family_of_another_package_checks_its_own_parameters(holt: Family) -> None:
    algorithm = {"type": holt.name, "external": {"levelRate": 0.5, "windows": [1, 2]}}
    assert lesson(algorithm=algorithm).parameters == HoltParameters(level_rate=0.5, windows=(1, 2))
    assert lesson(algorithm={"type": holt.name}).parameters == HoltParameters()


@pytest.mark.parametrize(
    ("external", "sentence"),
    [
        ({"levelRate": 2}, "spec.algorithm.external.levelRate: Input should be less than"),
        ({"levelRate": "0.5"}, "spec.algorithm.external.levelRate: Input should be a valid numb"),
        ({"levl": 1}, "spec.algorithm.external.levl: Extra inputs are not permitted"),
        ({"windows": [1, "x"]}, "spec.algorithm.external.windows[1]: Input should be a valid in"),
    ],
)
def test_parameters_that_a_family_cannot_use_are_named(
    external: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(Refusal) as caught:
        external_parameters(HOLT, external)
    assert (caught.value.code, caught.value.reason) == (ExitCode.REQUEST, "InvalidParameters")
    assert f"{caught.value}".startswith("example.com/holt cannot use its parameters: ")
    assert sentence in f"{caught.value}"


def test_every_wrong_parameter_is_named_at_once() -> None:
    with pytest.raises(Refusal, match=r"external\.levelRate.*external\.levl"):
        external_parameters(HOLT, {"levelRate": 2, "levl": 1})


def test_a_shared_scope_makes_one_network_of_what_the_block_says(
    holt: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = TrainingRequest.from_row(
        {"watches": [WATCH], "scope": "shared", "algorithm": {"type": holt.name}}
    )
    found = lesson_of(request).parameters
    assert found == HoltParameters(shared=True)


@pytest.mark.parametrize("name", ["lstm", "tcn"])
def test_networks_can_be_one_for_all_series(name: str) -> None:
    parameters = lesson(scope="shared", algorithm={"type": name, name: {"epochs": 3}}).parameters
    assert parameters is not None
    assert parameters.to_manifest() == parameters.to_manifest() | {"shared": True, "epochs": 3}


def test_a_family_that_cannot_be_shared_is_refused() -> None:
    error = refusal(scope="shared", algorithm={"type": "zscore"})
    assert (error.code, error.reason) == (ExitCode.REQUEST, "NotSupported")
    assert "zscore learns each series by itself" in f"{error}"
