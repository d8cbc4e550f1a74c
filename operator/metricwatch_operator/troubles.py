"""Models and watches that are in trouble, by name: what alert rules need to say which.

Counts are for every resource; a name is told only while something is wrong with it, and only of so
many at a time, so that an outage of everything does not fill the metrics server with names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from metricwatch.resources import Reason, VersionState
from metricwatch_operator.objects import Manifest
from metricwatch_operator.planning.answering import SUPERSEDED

MOST_NAMED = 500
"""Resources that are told by name in one metric; the counts beside it know of all of them."""
# These were asked for, or there is nothing to do yet.
_QUIET = (Reason.SUSPENDED, Reason.NO_WATCHES)


class Kind(StrEnum):
    """What may be wrong; the values are names of metrics."""

    NOT_SERVING = "metricwatch_model_not_serving"
    TRAINING_FAILED = "metricwatch_model_training_failed"
    VERSION_REFUSED = "metricwatch_model_version_refused"
    NOT_SCORED = "metricwatch_watch_not_scored"


_HELP = {
    Kind.NOT_SERVING: "1 for a model without a serving version, by the reason of its Ready.",
    Kind.TRAINING_FAILED: "1 for a model whose newest finished training run failed.",
    Kind.VERSION_REFUSED: (
        "1 for a model whose newest version was rejected, rolled back or broke down."
    ),
    Kind.NOT_SCORED: "1 for a watch that is not scored, by the reason of its Ready.",
}


@dataclass(frozen=True, slots=True, order=True)
class Trouble:
    """What is wrong with one resource; `watch` is empty where it is the model."""

    kind: Kind
    namespace: str
    model: str
    watch: str
    reason: str


def troubles_of(resource: Manifest) -> Iterator[Trouble]:
    """What is wrong with a model or a watch, by the status that it was given."""
    metadata, status = resource["metadata"], resource.get("status") or {}
    namespace, name = str(metadata["namespace"]), str(metadata["name"])
    ready = _condition(status, "Ready")
    if resource["kind"] == "MetricWatch":
        if ready.get("status") == "False" and ready["reason"] not in _QUIET:
            model = str(resource["spec"]["modelRef"]["name"])
            yield Trouble(Kind.NOT_SCORED, namespace, model, name, str(ready["reason"]))
        return
    is_unready = ready.get("status") == "False" and ready["reason"] not in _QUIET
    if is_unready and "servingVersion" not in status:
        yield Trouble(Kind.NOT_SERVING, namespace, name, "", str(ready["reason"]))
    refused = _refused(status)
    if refused is not None:
        kind, reason = refused
        yield Trouble(kind, namespace, name, "", reason)


def _condition(status: Mapping[str, Any], type_: str) -> Mapping[str, Any]:
    found = (one for one in status.get("conditions") or () if one["type"] == type_)
    return next(found, {})


def _refused(status: Mapping[str, Any]) -> tuple[Kind, str] | None:
    """What became of the newest version that is no longer being trained, if that is bad."""
    for version in status.get("versions") or ():
        state, reason = version["state"], str(version.get("reason", ""))
        if state == VersionState.TRAINING or reason == SUPERSEDED:
            continue
        if state == VersionState.FAILED and "trainedAt" not in version:
            return Kind.TRAINING_FAILED, reason
        if state in (VersionState.FAILED, VersionState.REJECTED):
            return Kind.VERSION_REFUSED, reason
        return None
    return None


class Troubles(Collector):
    """Exports the troubles that it was given last."""

    def __init__(self) -> None:
        self._troubles: tuple[Trouble, ...] = ()

    def replace(self, resources: Iterable[Manifest]) -> None:
        """Looks at these resources, and forgets those it looked at before."""
        found = (trouble for resource in resources for trouble in troubles_of(resource))
        self._troubles = tuple(sorted(found))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """A sample for each resource in trouble, by name up to `MOST_NAMED`."""
        for kind in Kind:
            watch = ["watch"] if kind is Kind.NOT_SCORED else []
            labels = ["watch_namespace", *watch, "model", "reason"]
            family = GaugeMetricFamily(str(kind), _HELP[kind], labels=labels)
            named = [one for one in self._troubles if one.kind is kind][:MOST_NAMED]
            for one in named:
                own = [one.watch] if watch else []
                family.add_metric([one.namespace, *own, one.model, one.reason], 1)
            yield family
