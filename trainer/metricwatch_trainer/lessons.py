"""Which family a request asks for, and with what parameters.

A family of another package is known here alone: the operator cannot see what the trainer's image
holds. So this is where an unknown one, and parameters that it cannot use, are refused.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError
from pydantic.alias_generators import to_snake

from metricwatch.algorithms import FAMILIES, Family, UnknownFamilyError, family_named
from metricwatch.assignments import TrainingRequest
from metricwatch.resources.conditions import Reason
from metricwatch.resources.family_names import AlgorithmType
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scope
from metricwatch.store.rows import Version
from metricwatch.verdict import ExitCode
from metricwatch_trainer.learning import Lesson
from metricwatch_trainer.refusal import Refusal, invalid_request
from metricwatch_trainer.system_learning import SYSTEM

_STANDS_FOR_ALL = AlgorithmType.ENSEMBLE
"""What others have to beat on a series, where the choice is left to the trainer."""


def read_request(version: Version) -> TrainingRequest:
    """Returns the request of a version.

    Raises:
        Refusal: it cannot be read.
    """
    try:
        return TrainingRequest.from_row(version.request)
    except ValidationError as error:
        raise invalid_request(error) from error


def lesson_of(request: TrainingRequest) -> Lesson:
    """Returns the family that a request asks for, with its parameters.

    Raises:
        Refusal: the family is not installed here, or cannot use the parameters.
    """
    choose = request.algorithm.type == AlgorithmType.AUTO
    if request.scope is Scope.MULTIVARIATE:
        return _of_systems(request, chosen_by_trainer=choose)
    family = _installed(_STANDS_FOR_ALL if choose else request.algorithm.type)
    parameters = _own_block(request, family)
    if request.scope is Scope.SHARED:
        parameters = _shared(family, parameters)
    return Lesson(
        family=family,
        parameters=parameters,
        scaling=request.training.scaling,
        seed=request.training.seed,
        choose=choose,
    )


def _of_systems(request: TrainingRequest, *, chosen_by_trainer: bool) -> Lesson:
    """Returns how systems are learned: there is one family for them."""
    if not chosen_by_trainer:
        raise Refusal(
            ExitCode.REQUEST,
            "NotSupported",
            f"{request.algorithm.type} learns each series by itself: use type auto with scope "
            "multivariate, or scope perSeries",
        )
    training = request.training
    return Lesson(family=SYSTEM, parameters=None, scaling=training.scaling, seed=training.seed)


def _installed(name: str) -> Family:
    # A package that is broken breaks no family but its own: ours are not looked for among others.
    if name in FAMILIES:
        return FAMILIES[name]
    try:
        return family_named(name)
    except UnknownFamilyError as error:
        why = f"{error}; install the package that brings {name} into the images of trainer and "
        why += "detector, see docs/families/own.md"
    except (ImportError, AttributeError, TypeError) as error:
        why = f"a package with families cannot be loaded: {error}"
    raise Refusal(ExitCode.REQUEST, Reason.UNKNOWN_FAMILY, why)


def _own_block(request: TrainingRequest, family: Family) -> ApiModel | None:
    """Returns the parameters a model gives its family; None when it gives none."""
    if "/" in family.name:
        return external_parameters(family, request.algorithm.external)
    block: ApiModel | None = getattr(request.algorithm, to_snake(family.name))
    return block


def external_parameters(family: Family, given: dict[str, Any] | None) -> ApiModel:
    """Returns `algorithm.external` as the type that the family asks for.

    Raises:
        Refusal: it is not of that type; the message names every field that is wrong.
    """
    try:
        return family.parameters.model_validate_json(json.dumps(given or {}), strict=True)
    except ValidationError as error:
        problems = "; ".join(
            f"spec.algorithm.external{_path(one['loc'])}: {one['msg']}" for one in error.errors()
        )
        raise Refusal(
            ExitCode.REQUEST,
            Reason.INVALID_PARAMETERS,
            f"{family.name} cannot use its parameters: {problems}",
        ) from error


def _shared(family: Family, parameters: ApiModel | None) -> ApiModel:
    """Returns the parameters with one network for all series."""
    if "shared" not in family.parameters.model_fields:
        raise Refusal(
            ExitCode.REQUEST,
            "NotSupported",
            f"{family.name} learns each series by itself: use scope perSeries",
        )
    return (parameters or family.parameters()).model_copy(update={"shared": True})


def _path(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
