"""From the JSON schema that pydantic writes to the structural schema that a CRD takes.

References are put in place, nullable becomes plain (the API server drops nulls by itself), and
what OpenAPI v3 as Kubernetes reads it spells otherwise is respelled. A schema that has no
structural form is an error here rather than a surprise on `kubectl apply`.
"""

from collections.abc import Mapping
from typing import Any

from metricwatch.resources.schema import VALIDATIONS

JsonSchema = dict[str, Any]

_DROPPED = ("title", "discriminator", "examples", "$defs", "anyOf", "$ref", "const", "default")
_FORMATS = {"integer": "int64", "number": "double"}


def structural(schema: Mapping[str, Any]) -> JsonSchema:
    """The structural schema of a JSON schema with `$defs`.

    Raises:
        ValueError: there is a union other than with null.
    """
    return _convert(schema, schema.get("$defs", {}))


def without_defaults(schema: JsonSchema) -> JsonSchema:
    """The schema with no default anywhere below: what nobody set stays unset."""
    result = {key: value for key, value in schema.items() if key != "default"}
    if "properties" in result:
        result["properties"] = {
            name: without_defaults(field) for name, field in result["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if key in result:
            result[key] = without_defaults(result[key])
    return result


def _convert(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> JsonSchema:
    result = _resolved(node, definitions)
    result |= {key: value for key, value in node.items() if key not in _DROPPED}
    if "const" in node:
        result["enum"] = [node["const"]]
    for bound in ("Minimum", "Maximum"):
        limit = result.get(f"exclusive{bound}")
        if limit is not None and not isinstance(limit, bool):
            result[bound.lower()] = limit
            result[f"exclusive{bound}"] = True
    if result.get("type") in _FORMATS:
        result["format"] = _FORMATS[result["type"]]
    if result.get("additionalProperties") is False:
        del result["additionalProperties"]
    elif "additionalProperties" in node:
        result["additionalProperties"] = _convert(node["additionalProperties"], definitions)
    if "items" in node:
        result["items"] = _convert(node["items"], definitions)
    if "properties" in node:
        result["properties"] = {
            name: _convert(field, definitions) for name, field in node["properties"].items()
        }
    if node.get("default") is not None:
        result["default"] = _default(node["default"], result)
    return result


def _resolved(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> JsonSchema:
    """What a reference or an optional type stands for; empty for a plain node."""
    if "$ref" in node:
        return _convert(definitions[node["$ref"].removeprefix("#/$defs/")], definitions)
    if "anyOf" in node:
        options = [option for option in node["anyOf"] if option != {"type": "null"}]
        if len(options) != 1:
            raise ValueError(f"a union has no structural form: {node['anyOf']}")
        return _convert(options[0], definitions)
    return {}


def _default(value: Any, schema: JsonSchema) -> Any:
    """A default as the API server takes it.

    An object gets `{}`, and its fields' own defaults fill it in. One that has a rule of its own is
    written out, because the rule is tried on the default before the fields are filled in.
    """
    if not isinstance(value, dict):
        return value
    if VALIDATIONS not in schema:
        return {}
    fields = schema.get("properties", {})
    return {
        name: _default(item, fields.get(name, {}))
        for name, item in value.items()
        if item is not None
    }
