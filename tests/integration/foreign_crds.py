"""The resources of the Prometheus and the VictoriaMetrics operator that the chart can make.

As much of their schemas as the chart may use, by their documentation: a field of another name or
type is refused, as the operators' own definitions would.
"""

from typing import Any

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
TEXTS: Schema = {"type": "object", "additionalProperties": STRING}


def _object(*required: str, **properties: Schema) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_DURATION: Schema = {"type": "string", "pattern": "^(0|([0-9]+(y|w|d|h|m|s|ms))+)$"}
_SELECTOR = _object(
    matchLabels=TEXTS,
    matchExpressions=_list(
        _object("key", "operator", key=STRING, operator=STRING, values=_list(STRING))
    ),
)
_RELABELLING = _object(
    action={
        "type": "string",
        "enum": ["replace", "keep", "drop", "hashmod", "labelmap", "labeldrop", "labelkeep"],
    },
    regex=STRING,
    replacement=STRING,
    separator=STRING,
    sourceLabels=_list(STRING),
    targetLabel=STRING,
)
_RULE = _object(
    "expr",
    **{"for": _DURATION, "keep_firing_for": _DURATION},
    alert=STRING,
    record=STRING,
    expr={"x-kubernetes-int-or-string": True},
    labels=TEXTS,
    annotations=TEXTS,
)
_GROUPS = _list(_object("name", name=STRING, interval=_DURATION, rules=_list(_RULE), labels=TEXTS))


def _scrape(relabelling: str) -> Schema:
    endpoint = _object(
        port=STRING,
        path=STRING,
        scheme=STRING,
        interval=_DURATION,
        scrapeTimeout=_DURATION,
        honorLabels={"type": "boolean"},
        **{relabelling: _list(_RELABELLING)},
    )
    return _object(
        "selector",
        namespaceSelector=_object(any={"type": "boolean"}, matchNames=_list(STRING)),
        selector=_SELECTOR,
        podMetricsEndpoints=_list(endpoint),
    )


_PROMETHEUS, _VICTORIA = "monitoring.coreos.com/v1", "operator.victoriametrics.com/v1beta1"
_KINDS = {
    "PodMonitor": (_PROMETHEUS, "podmonitors", _scrape("relabelings")),
    "PrometheusRule": (_PROMETHEUS, "prometheusrules", _object(groups=_GROUPS)),
    "VMPodScrape": (_VICTORIA, "vmpodscrapes", _scrape("relabelConfigs")),
    "VMRule": (_VICTORIA, "vmrules", _object("groups", groups=_GROUPS)),
}


def foreign_crds() -> list[dict[str, Any]]:
    """Returns their CustomResourceDefinitions."""
    return [
        _crd(kind, api_version, plural, spec)
        for kind, (api_version, plural, spec) in _KINDS.items()
    ]


def _crd(kind: str, api_version: str, plural: str, spec: Schema) -> dict[str, Any]:
    group, version = api_version.split("/")
    served = {
        "name": version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _object("spec", spec=spec)},
    }
    names = {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [served]},
    }
