"""How to learn and when to raise an anomaly: from manifests, or the defaults of both resources."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from metricwatch.resources import (
    AnomalyModel,
    AnomalyModelSpec,
    InvalidResource,
    MetricWatch,
    MetricWatchSpec,
    ModelRef,
    parse_model,
    parse_watch,
)
from metricwatch_cli.backtest.problems import WrongFile, WrongInput
from metricwatch_cli.manifests import read_documents

Resource = TypeVar("Resource", AnomalyModel, MetricWatch)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run goes by.

    Attributes:
        model: how to learn.
        watch: what to read and when a score is an anomaly.
        window: seconds of history that are learned from; None for all there is.
    """

    model: AnomalyModelSpec
    watch: MetricWatchSpec
    window: int | None = None


def read_settings(
    model: Path | None,
    watch: Path | None,
    *,
    algorithm: str | None = None,
    false_alarms_per_week: float | None = None,
) -> Settings:
    """Returns what manifests ask for; options go before them.

    Without a manifest everything is as the two resources have it by default, except that all of
    the history is learned from: who cut it off meant it.

    Args:
        model: YAML with an AnomalyModel; None for defaults.
        watch: YAML with a MetricWatch; None for defaults.
        algorithm: `algorithm.type` in place of the model's.
        false_alarms_per_week: in place of the watch's.

    Raises:
        WrongInput: a file is no such manifest, or an option has no such value.
    """
    watched = None if watch is None else _only(watch, "MetricWatch", parse_watch, name=None)
    wanted = None if watched is None or watch != model else watched.spec.model_ref.name
    learned = None if model is None else _only(model, "AnomalyModel", parse_model, name=wanted)
    spec = AnomalyModelSpec() if learned is None else learned.spec
    asked = (
        MetricWatchSpec(model_ref=ModelRef(name="default"), query="up")
        if watched is None
        else watched.spec
    )
    window = round(spec.training.window.seconds)
    chosen = "window" in spec.training.model_fields_set
    return Settings(
        model=_with(spec, "algorithm", {"type": algorithm}),
        watch=_with(asked, "detection", {"falseAlarmsPerWeek": false_alarms_per_week}),
        window=window if chosen else None,
    )


Spec = TypeVar("Spec", AnomalyModelSpec, MetricWatchSpec)


def _with(spec: Spec, block: str, changes: Mapping[str, Any]) -> Spec:
    """Returns the spec with what is not None in a block replaced, checked like a manifest."""
    wanted = {name: value for name, value in changes.items() if value is not None}
    if not wanted:
        return spec
    document = spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    kept = {} if "type" in wanted else document.get(block, {})
    manifest = {
        "apiVersion": "metricwatch.io/v1alpha1",
        "metadata": {"name": "options"},
        "spec": document | {block: {**kept, **wanted}},
    }
    try:
        if isinstance(spec, AnomalyModelSpec):
            return parse_model(manifest | {"kind": "AnomalyModel"}).spec
        return parse_watch(manifest | {"kind": "MetricWatch"}).spec
    except InvalidResource as error:
        lines = "; ".join(message for _, message in error.problems)
        raise WrongInput(f"--{_option(next(iter(wanted)))}: {lines}") from error


def _option(field: str) -> str:
    words = "".join(f"-{one.lower()}" if one.isupper() else one for one in field)
    return "algorithm" if field == "type" else words


def _only(
    path: Path, kind: str, parse: Callable[[Mapping[str, Any]], Resource], *, name: str | None
) -> Resource:
    """Returns the one resource of a kind in a file, or the one of that name."""
    try:
        text = path.read_text(encoding="utf-8")
        documents = [one for _, one in read_documents(text) if one.get("kind") == kind]
        found = [parse(one) for one in documents]
    except OSError as error:
        raise WrongFile(path, error.strerror or str(error)) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise WrongFile(path, f"is no YAML: {' '.join(str(error).split())}") from error
    except InvalidResource as error:
        raise WrongFile(path, f"{error} (`metricwatch validate` says the same)") from error
    if name is not None:
        found = [one for one in found if one.metadata.name == name]
    if len(found) != 1:
        named = f" called {name}" if name else ""
        raise WrongFile(path, f"must hold one {kind}{named}, not {len(found)}")
    return found[0]
