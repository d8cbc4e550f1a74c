"""Two judges of a manifest: a real API server in a dry run, and the types."""

from collections.abc import Mapping
from typing import Any

import httpx

from metricwatch.resources import (
    API_VERSION,
    AnomalyModel,
    InvalidResource,
    MetricWatch,
    parse_model,
    parse_watch,
)

PLURALS = {"AnomalyModel": "anomalymodels", "MetricWatch": "metricwatches"}


def manifest(kind: str, spec: Any, *, name: str = "checkout") -> dict[str, Any]:
    """A manifest with a spec; for a watch, what is required is filled in."""
    if kind == "MetricWatch" and isinstance(spec, dict):
        spec = {"modelRef": {"name": "checkout"}} | spec
        if "query" not in spec and "queries" not in spec:
            spec["query"] = "up"
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def ask_server(client: httpx.Client, document: Mapping[str, Any]) -> tuple[bool, dict[str, Any]]:
    """Whether the API server would create it, and its answer."""
    response = client.post(
        f"/apis/{API_VERSION}/namespaces/default/{PLURALS[document['kind']]}",
        params={"dryRun": "All", "fieldValidation": "Strict"},
        json=document,
    )
    assert response.status_code in (201, 400, 422), response.text
    return response.status_code == 201, response.json()


def parse(document: Mapping[str, Any]) -> AnomalyModel | MetricWatch:
    """The typed resource."""
    return (parse_model if document["kind"] == "AnomalyModel" else parse_watch)(document)


def ask_types(document: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether the types accept it, and what they say."""
    try:
        parse(document)
    except InvalidResource as error:
        return False, str(error)
    return True, ""
