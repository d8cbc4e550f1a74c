"""From a manifest to a typed resource, or to the list of what is wrong with it.

Nulls are dropped first, as the API server does, so that `version: null` means unset. Values are
taken strictly: `"5"` is no number here because it is none for the API server.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from difflib import get_close_matches
from functools import cache
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from metricwatch.resources.anomalymodel import AnomalyModel
from metricwatch.resources.metricwatch import MetricWatch

Resource = TypeVar("Resource", AnomalyModel, MetricWatch)


class InvalidResource(ValueError):
    """A manifest that is no valid resource; `problems` are pairs of path and message."""

    def __init__(self, subject: str, problems: Sequence[tuple[str, str]]) -> None:
        self.subject = subject
        self.problems = list(problems)
        listed = "; ".join(f"{path}: {message}" for path, message in self.problems)
        super().__init__(f"{subject}: {listed}")


def parse_model(manifest: Mapping[str, Any]) -> AnomalyModel:
    """The AnomalyModel of a manifest.

    Raises:
        InvalidResource: with every problem found.
    """
    return _parse(AnomalyModel, manifest)


def parse_watch(manifest: Mapping[str, Any]) -> MetricWatch:
    """The MetricWatch of a manifest.

    Raises:
        InvalidResource: with every problem found.
    """
    return _parse(MetricWatch, manifest)


def _parse(kind: type[Resource], manifest: Mapping[str, Any]) -> Resource:
    try:
        text = json.dumps(_without_nulls(manifest, kind), default=_time_text, allow_nan=False)
        return kind.model_validate_json(text, strict=True)
    except ValidationError as error:
        problems = [(_path(problem["loc"]), _message(kind, problem)) for problem in error.errors()]
    except (TypeError, ValueError) as error:
        problems = [("", f"cannot be written as JSON: {error}")]
    raise InvalidResource(_subject(kind.__name__, manifest), problems)


def _subject(kind: str, manifest: Mapping[str, Any]) -> str:
    metadata = manifest.get("metadata")
    if not isinstance(metadata, Mapping):
        return kind
    names = [str(metadata[key]) for key in ("namespace", "name") if metadata.get(key)]
    return f"{kind} {'/'.join(names)}".rstrip()


def _without_nulls(value: Any, model: type[BaseModel] | None) -> Any:
    """The value without nulls in known fields and maps; an unknown field stays, to be refused."""
    if isinstance(value, list | tuple):
        return [_without_nulls(item, model) for item in value]
    if not isinstance(value, Mapping):
        return value
    if model is None:
        return {str(key): item for key, item in value.items() if item is not None}
    fields = _models_of_fields(model)
    return {
        str(key): _without_nulls(item, fields.get(key))
        for key, item in value.items()
        if item is not None or key not in fields
    }


def _time_text(value: Any) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _path(location: tuple[int | str, ...]) -> str:
    """A location as people write it: `spec.queries[0].name`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _message(kind: type[BaseModel], problem: Any) -> str:
    location = problem["loc"]
    match problem["type"]:
        case "extra_forbidden":
            near = get_close_matches(str(location[-1]), _fields_at(kind, location[:-1]), n=1)
            return f"unknown field; did you mean {near[0]}?" if near else "unknown field"
        case "missing":
            return "is required"
        case "string_pattern_mismatch":
            return f"{problem['input']!r} must match {problem['ctx']['pattern']}"
        case "enum" | "literal_error":
            return f"{problem['input']!r} must be one of {problem['ctx']['expected']}"
        case _:
            return str(problem["msg"])


def _fields_at(kind: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Names of the fields that the object at `location` may have."""
    model: type[BaseModel] | None = kind
    for part in location:
        if model is None or isinstance(part, int):
            continue
        fields = _fields(model)
        model = _model_in(fields[part]) if part in fields else None
    return list(_fields(model)) if model else []


@cache
def _models_of_fields(model: type[BaseModel]) -> Mapping[str, type[BaseModel] | None]:
    """What `_model_in` finds in each field; worked out once, as the operator parses all day."""
    return {name: _model_in(annotation) for name, annotation in _fields(model).items()}


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    """Types of a model's fields, by the API's names."""
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation names, bare, optional, or as the item of a tuple."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
