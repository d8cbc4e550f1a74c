"""The two CustomResourceDefinitions, made from the types.

Objects are born not ready: `status` defaults to `{observedGeneration: -1}`, because a missing
status counts as current for kstatus and everything that waits with it. Nothing else in status
has a default, so it holds what the operator wrote and no more.
"""

from dataclasses import dataclass
from typing import Any

from metricwatch.resources.anomalymodel import AnomalyModel
from metricwatch.resources.meta import GROUP, VERSION
from metricwatch.resources.metricwatch import MetricWatch
from metricwatch.resources.structural import JsonSchema, structural, without_defaults

_BORN = {"observedGeneration": -1}
_WIDE = 1


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; priority 1 shows with `-o wide`."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0

    def as_manifest(self) -> dict[str, Any]:
        """Its entry in `additionalPrinterColumns`."""
        entry: dict[str, Any] = {"name": self.name, "type": self.type, "jsonPath": self.path}
        return entry | ({"priority": self.priority} if self.priority else {})


def _condition(name: str, type_: str, field: str) -> Column:
    return Column(name, f'.status.conditions[?(@.type=="{type_}")].{field}')


_SUMMARY = (
    _condition("Ready", "Ready", "status"),
    _condition("Reason", "Ready", "reason"),
    Column("Age", ".metadata.creationTimestamp", "date"),
)
_MODEL_COLUMNS = (
    Column("Algorithm", ".spec.algorithm.type"),
    Column("Serving", ".status.servingVersion", "integer"),
    Column("Candidate", ".status.candidateVersion", "integer"),
    Column("Series", ".status.series", "integer"),
    *_SUMMARY,
    Column("LastTraining", ".status.lastTrainingTime", "date", _WIDE),
    # A date column shows ages, and the age of a time to come is `<invalid>`.
    Column("NextTraining", ".status.nextTrainingTime", "string", _WIDE),
    Column("Memory", ".status.estimatedDetectorMemory", "string", _WIDE),
)
_WATCH_COLUMNS = (
    Column("Model", ".spec.modelRef.name"),
    Column("Version", ".status.modelVersion", "integer"),
    Column("Series", ".status.series", "integer"),
    Column("Open", ".status.openAnomalies", "integer"),
    _condition("Fresh", "DataFresh", "status"),
    *_SUMMARY,
    Column("LastAnomaly", ".status.lastAnomalyTime", "date", _WIDE),
    Column("Lag", ".status.lagSeconds", "integer", _WIDE),
)


def build_crds() -> dict[str, dict[str, Any]]:
    """Both definitions, by file name."""
    crds = (
        _build_crd(AnomalyModel, "anomalymodels", "am", _MODEL_COLUMNS),
        _build_crd(MetricWatch, "metricwatches", "mw", _WATCH_COLUMNS),
    )
    return {f"{GROUP}_{crd['spec']['names']['plural']}.yaml": crd for crd in crds}


def _build_crd(
    kind: type[AnomalyModel | MetricWatch],
    plural: str,
    short_name: str,
    columns: tuple[Column, ...],
) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.__name__,
                "listKind": f"{kind.__name__}List",
                "plural": plural,
                "singular": kind.__name__.lower(),
                "shortNames": [short_name],
                # Not "metricwatch": kubectl would take `get metricwatch NAME` for the category.
                "categories": ["metricwatch-io"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": _build_schema(kind)},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [column.as_manifest() for column in columns],
                }
            ],
        },
    }


def _build_schema(kind: type[AnomalyModel | MetricWatch]) -> JsonSchema:
    schema = structural(kind.model_json_schema())
    fields = schema["properties"]
    # The API server owns these three and refuses a schema that says more about them.
    fields["apiVersion"] = {"type": "string"}
    fields["kind"] = {"type": "string"}
    fields["metadata"] = {"type": "object"}
    fields["status"] = without_defaults(fields["status"]) | {"default": dict(_BORN)}
    schema["required"] = [name for name in schema.get("required", []) if name != "metadata"]
    if not schema["required"]:
        del schema["required"]
    return schema
