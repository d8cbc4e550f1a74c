"""The search space of every family: typed, within bounds, and read back from its numbers."""

from __future__ import annotations

import optuna
import pytest

from metricwatch.algorithms import FAMILIES, Family

SEARCHED = [family for family in FAMILIES.values() if family.search is not None]


def asked(family: Family, trials: int = 20) -> list[optuna.trial.Trial]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [study.ask() for _ in range(trials)]


@pytest.mark.parametrize("family", SEARCHED, ids=lambda family: family.name)
def test_what_a_space_suggests_are_parameters_of_its_family(family: Family) -> None:
    assert family.search is not None
    for trial in asked(family):
        parameters = family.search(trial)
        assert type(parameters) is family.parameters
        text = parameters.model_dump_json(by_alias=True, exclude_none=True)
        assert family.parameters.model_validate_json(text, strict=True) == parameters
        # What a search sets is told from what it leaves to the model by the fields that are set.
        assert parameters.model_fields_set


@pytest.mark.parametrize("family", SEARCHED, ids=lambda family: family.name)
def test_the_best_trial_can_be_read_back_from_its_numbers(family: Family) -> None:
    assert family.search is not None
    for trial in asked(family, trials=5):
        parameters = family.search(trial)
        assert trial.params
        assert family.search(optuna.trial.FixedTrial(trial.params)) == parameters


@pytest.mark.parametrize("family", SEARCHED, ids=lambda family: family.name)
def test_trials_differ(family: Family) -> None:
    assert family.search is not None
    found = {family.search(trial).model_dump_json() for trial in asked(family)}
    assert len(found) > 1
