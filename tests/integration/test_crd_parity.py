"""The API server and the types are of one mind: what one accepts the other accepts."""

import json
import re
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from tests.integration.control_plane import ControlPlane
from tests.integration.crd_requests import ask_server, ask_types, manifest, parse

from metricwatch.resources.crd import build_crds

MODEL, WATCH = "AnomalyModel", "MetricWatch"


@pytest.fixture(scope="module")
def client(control_plane: ControlPlane) -> httpx.Client:
    return control_plane.client()


def _exclude(start: str, end: str) -> dict[str, Any]:
    return {"training": {"exclude": [{"from": start, "to": end}]}}


def _severity(*levels: tuple[float, str]) -> dict[str, Any]:
    return {"detection": {"severity": [{"atLeast": at, "name": name} for at, name in levels]}}


def _notify(**entry: Any) -> dict[str, Any]:
    return {"notifications": [{"name": "oncall"} | entry]}


def _maintenance(schedule: str, duration: str = "1h") -> dict[str, Any]:
    return {"detection": {"maintenance": [{"schedule": schedule, "duration": duration}]}}


TELEGRAM = {"chatId": "-100123", "tokenRef": {"name": "telegram", "key": "token"}}
WEBHOOK = {"url": "https://hooks.example.com/x?y=1"}
NINE, TEN = "2026-11-03T09:00:00Z", "2026-11-03T10:00:00Z"
BLOCK = "set at most the parameter block that matches type"
EXTERNAL = "external needs the type of another package's family"
FAMILY = "or name a family of another package by a domain and a word"
SHARED = "scope shared needs algorithm.type lstm or tcn"
CRON = "must be a cron line of five numeric fields"
CHANNEL = "set exactly one of telegram, webhook and alertmanager"
ONE_QUERY = "set exactly one of query and queries"
SECOND = "must be at least 1s"
DURATION = "is not a duration: write it like 90s, 5m, 1h30m or 2w"
URL = "must be a URL like http://prometheus.monitoring:9090"
HEADER = "credentials belong into authRef"

VALID = [
    (MODEL, {}),
    (MODEL, {"version": None}),
    (MODEL, {"version": 3}),
    (MODEL, {"algorithm": {"type": "lstm", "lstm": {}}}),
    (MODEL, {"algorithm": {"type": "lstm", "lstm": {"hidden": 16, "learningRate": 1}}}),
    (MODEL, {"algorithm": {"type": "seasonal", "seasonal": {"periods": ["1d"]}}}),
    (MODEL, {"algorithm": {"type": "isolationForest", "isolationForest": {}}}),
    (MODEL, {"algorithm": {"type": "isolationForest", "isolationForest": {"trees": 8}}}),
    (MODEL, {"algorithm": {"type": "helm", "helm": {"layers": [8, 8], "hidden": 64}}}),
    (
        MODEL,
        {
            "algorithm": {
                "type": "seasonal",
                "seasonal": {
                    "timeZone": "Europe/Berlin",
                    "country": "DE-BY",
                    "events": [{"name": "sale", "start": NINE, "repeat": "yearly"}],
                },
            }
        },
    ),
    (MODEL, {"algorithm": {}}),
    (MODEL, {"algorithm": {"type": "example.com/holt"}}),
    (MODEL, {"algorithm": {"type": "a-b.example.com/holtWinters", "external": {}}}),
    (MODEL, {"algorithm": {"type": "x.y/z", "external": {"a": [1, {"b": [None]}], "c": "d"}}}),
    (MODEL, {"algorithm": {"type": "x.y/z", "external": {"a": None, "b": {"c": None}}}}),
    (MODEL, {"scope": "shared", "algorithm": {"type": "lstm"}}),
    (MODEL, {"scope": "multivariate"}),
    (MODEL, {"tuning": {"enabled": True, "trials": 5, "timeout": "10m"}}),
    (MODEL, {"source": {"type": "victoriametrics", "tenant": "12:3"}}),
    (MODEL, {"source": {"url": "http://vm.monitoring:8428/select", "authRef": {"name": "vm"}}}),
    (MODEL, {"source": {"url": "http://[::1]:8428", "headers": {"X-Scope-OrgID": "shop"}}}),
    (MODEL, {"training": {"schedule": "*/15 0-6,22 1,15 * 1-5", "timeZone": "Europe/Berlin"}}),
    (MODEL, {"training": {"resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": 2}}}}),
    (MODEL, {"training": {"resources": {"limits": {"memory": "1.5Gi"}}}}),
    (MODEL, _exclude(NINE, TEN)),
    (MODEL, _exclude("2026-11-03T10:00:00+02:00", NINE)),
    (MODEL, _exclude("2026-11-03T09:00:00.1Z", "2026-11-03T09:00:00.2Z")),
    (WATCH, {}),
    (WATCH, {"queries": [{"name": "a", "expr": "up"}, {"name": "b", "expr": "up"}]}),
    (WATCH, {"interval": "1s"}),
    (WATCH, {"interval": "1h30m", "delay": "0", "system": "shop.checkout"}),
    (WATCH, {"detection": {"samples": {"anomalous": 3, "of": 5}, "minDuration": "1500ms"}}),
    (WATCH, {"detection": {"falseAlarmsPerWeek": 1}}),
    (WATCH, _severity((1, "low"), (1.5, "high"))),
    (WATCH, _maintenance("0 2 * * 0")),
    (WATCH, _notify(telegram=TELEGRAM)),
    (WATCH, _notify(webhook=WEBHOOK, when=["end"], minSeverity="critical")),
]

INVALID = [
    (MODEL, {"algorithm": {"lstm": {}}}, BLOCK),
    (MODEL, {"algorithm": {"type": "lstm", "seasonal": {}}}, BLOCK),
    (MODEL, {"algorithm": {"type": "lstm", "lstm": {}, "kmeans": {}}}, BLOCK),
    (MODEL, {"algorithm": {"type": "prophet"}}, FAMILY),
    (MODEL, {"algorithm": {"type": "example.com/"}}, FAMILY),
    (MODEL, {"algorithm": {"type": "Example.com/holt"}}, FAMILY),
    (MODEL, {"algorithm": {"type": "example.com/holt\n"}}, FAMILY),
    (MODEL, {"algorithm": {"type": "lstm", "external": {}}}, EXTERNAL),
    (MODEL, {"algorithm": {"external": {"a": 1}}}, EXTERNAL),
    (MODEL, {"algorithm": {"type": "example.com/holt", "lstm": {}}}, BLOCK),
    (MODEL, {"scope": "shared"}, SHARED),
    (MODEL, {"scope": "shared", "algorithm": {"type": "seasonal"}}, SHARED),
    (MODEL, {"scope": "shared", "algorithm": {"type": "example.com/holt"}}, SHARED),
    (MODEL, _exclude(TEN, NINE), "from must be before to"),
    (MODEL, _exclude(TEN, TEN), "from must be before to"),
    (MODEL, _exclude(TEN, "2026-11-03T11:00:00+02:00"), "from must be before to"),
    (MODEL, {"training": {"schedule": "@daily"}}, CRON),
    (MODEL, {"training": {"schedule": "0 24 * * *"}}, CRON),
    (MODEL, {"training": {"schedule": "0 3 * * *\n"}}, CRON),
    (MODEL, {"training": {"schedule": "0 0 3 * * *"}}, CRON),
    (MODEL, {"training": {"window": "0s"}}, SECOND),
    (MODEL, {"training": {"window": "14 days"}}, DURATION),
    (MODEL, {"rollout": {"rollbackWindow": "P1D"}}, DURATION),
    (WATCH, {"delay": "1m1h"}, DURATION),
    (MODEL, {"source": {"url": "prometheus:9090"}}, URL),
    (MODEL, {"source": {"url": "http://user:pass@prometheus:9090"}}, URL),
    (WATCH, _notify(alertmanager={"url": "alertmanager:9093"}), URL),
    (MODEL, {"training": {"timeout": "999ms"}}, SECOND),
    (MODEL, {"algorithm": {"type": "zscore", "zscore": {"halfLife": "0"}}}, SECOND),
    (MODEL, {"algorithm": {"type": "seasonal", "seasonal": {"periods": ["1d", "0d"]}}}, SECOND),
    (MODEL, {"source": {"headers": {"Authorization": "Basic x"}}}, HEADER),
    (MODEL, {"source": {"headers": {"a b": "x"}}}, HEADER),
    (MODEL, {"source": {"headers": {"": "x"}}}, HEADER),
    (
        MODEL,
        {"source": {"type": "prometheus", "tenant": "1"}},
        "tenant needs type victoriametrics",
    ),
    (WATCH, {"query": "up", "queries": [{"name": "a", "expr": "up"}]}, ONE_QUERY),
    (WATCH, {"queries": []}, ONE_QUERY),
    (
        WATCH,
        {"queries": [{"name": "a", "expr": "up"}, {"name": "a", "expr": "down"}]},
        "names of queries must be unique",
    ),
    (WATCH, {"interval": "500ms"}, SECOND),
    (WATCH, {"interval": "1s500ms"}, "must be whole seconds"),
    (WATCH, {"detection": {"samples": {"anomalous": 6, "of": 5}}}, "lower anomalous, or raise of"),
    (WATCH, {"detection": {"samples": {"anomalous": 2}}}, "lower anomalous, or raise of"),
    (WATCH, _severity((3, "a"), (1, "b")), "listed by rising atLeast"),
    (WATCH, _severity((1, "a"), (1, "b")), "listed by rising atLeast"),
    (WATCH, _severity((1, "a"), (2, "a")), "severity names must be unique"),
    (WATCH, _maintenance("always"), CRON),
    (WATCH, _maintenance("0 2 * * 0", "0s"), SECOND),
    (WATCH, _notify(), CHANNEL),
    (WATCH, _notify(telegram=TELEGRAM, webhook=WEBHOOK), CHANNEL),
    (
        WATCH,
        {
            "notifications": [
                {"name": "a", "webhook": WEBHOOK},
                {"name": "a", "telegram": TELEGRAM},
            ]
        },
        "names of notifications must be unique",
    ),
    (WATCH, _notify(webhook=WEBHOOK, minSeverity="loud"), "minSeverity must be one of the names"),
]

REFUSED = [
    (MODEL, {"unknown": 1}),
    (MODEL, {"training": {"windw": "14d"}}),
    (MODEL, {"algorithm": {"type": "tcn", "tcn": {"layrs": 3}}}),
    (MODEL, {"algorithm": {"type": "example.com/holt", "external": []}}),
    (MODEL, {"algorithm": {"type": f"example.com/{'a' * 128}"}}),
    (MODEL, {"training": {"window": ""}}),
    (MODEL, {"training": {"window": "14d\n"}}),
    (MODEL, {"training": {"window": "1d2w"}}),
    (MODEL, {"training": {"window": 14}}),
    (MODEL, {"training": {"window": "100y"}}),
    (MODEL, {"training": {"minSamples": "288"}}),
    (MODEL, {"training": {"excludeAnomalies": "true"}}),
    (MODEL, {"training": {"timeZone": "Mars Base"}}),
    (MODEL, {"training": {"resources": {"limits": {"memory": "1 GB"}}}}),
    (MODEL, {"training": {"resources": {"limits": {"cpu": -1}}}}),
    (MODEL, {"training": {"resources": {"limits": {"cpu": 0.5}}}}),
    (MODEL, {"versionHistoryLimit": 0}),
    (MODEL, {"qualityGate": {"maxAnomalyRate": 1.1}}),
    (MODEL, {"source": {"url": "http://prometheus\u00a0:9090"}}),
    (MODEL, {"source": {"headers": {"X": "a\r\nb"}}}),
    (MODEL, _exclude("2026-11-03 09:00:00Z", TEN)),
    (MODEL, _exclude("2026-11-03", TEN)),
    (MODEL, _exclude("2026-02-30T00:00:00Z", TEN)),
    (MODEL, []),
    (WATCH, {"modelRef": {}}),
    (WATCH, {"modelRef": {"name": "Not_A_Name"}}),
    (WATCH, {"query": ""}),
    (WATCH, {"queries": [{"name": "a"}]}),
    (WATCH, {"groupBy": ["pod-name"]}),
    (WATCH, {"detection": {"falseAlarmsPerWeek": 0}}),
    (WATCH, {"detection": {"severity": []}}),
    (WATCH, {"detection": {"direction": "up"}}),
    (WATCH, _notify(webhook=WEBHOOK, when=[])),
    (WATCH, _notify(webhook=WEBHOOK, when=["start", "end", "start"])),
    (WATCH, _notify(telegram={"chatId": -100123, "tokenRef": {"name": "t", "key": "k"}})),
]


@pytest.mark.parametrize(("kind", "spec"), VALID, ids=lambda value: json.dumps(value))
def test_both_accept_and_read_the_same_resource(
    client: httpx.Client, kind: str, spec: dict[str, Any]
) -> None:
    document = manifest(kind, spec)
    accepted, answer = ask_server(client, document)
    assert accepted, answer["message"]
    assert parse(answer).spec == parse(document).spec


@pytest.mark.parametrize(("kind", "spec", "message"), INVALID, ids=lambda value: json.dumps(value))
def test_both_refuse_with_the_same_message(
    client: httpx.Client, kind: str, spec: dict[str, Any], message: str
) -> None:
    document = manifest(kind, spec)
    accepted, answer = ask_server(client, document)
    assert not accepted
    assert message in answer["message"]
    assert message in ask_types(document)[1]


@pytest.mark.parametrize(("kind", "spec"), REFUSED, ids=lambda value: json.dumps(value))
def test_both_refuse(client: httpx.Client, kind: str, spec: Any) -> None:
    document = manifest(kind, spec)
    assert ask_types(document)[0] is False
    assert ask_server(client, document)[0] is False


@pytest.mark.parametrize("kind", [MODEL, WATCH])
def test_both_refuse_a_name_that_is_no_label_value(client: httpx.Client, kind: str) -> None:
    document = manifest(kind, {}, name="a" * 64)
    message = "metadata.name must be at most 63 characters"
    assert message in ask_server(client, document)[1]["message"]
    assert message in ask_types(document)[1]
    assert ask_server(client, manifest(kind, {}, name="a" * 63))[0]


@pytest.mark.parametrize("kind", [MODEL, WATCH])
def test_the_servers_defaults_are_the_types_defaults(client: httpx.Client, kind: str) -> None:
    _, answer = ask_server(client, manifest(kind, {}))
    assert answer["spec"] == parse(manifest(kind, {})).spec.to_manifest()


STRINGS = [
    "", "0", "0s", "90s", "1h30m", "2w", "500ms", "1500ms", "1s5ms", "007m", "s", "1m1h", "1d\n",
    "0 3 * * *", "*/5 * * * 1-5", "60 * * * *", "* * * *", "UTC", "Europe/Berlin", "/UTC",
    "http://vm:8428", "https://vm.example.com/select/0", "ftp://vm", "http://a b", "http://a#b",
    "lstm", "tcn", "auto", "kmeans", "example.com/holt", "x.y/z-1", "a/b/c", "/a",
    "checkout", "Checkout", "a.b", "a..b", "-a", "pod", "le_1", "1le", "12", "12:3", "12:", "-100",
    "@channel", "warning", "critical", "sum(rate(x[5m]))", "grüße", "\u2003", "a" * 64, "a" * 300,
    "500m", "1Gi", "1.5", ".5Ki", "1e3", "+1", "1GB",
]  # fmt: skip
TIMES = [
    NINE, TEN, "2026-11-03T10:00:00+02:00", "2026-11-03T10:00:00.5Z", "2026-11-03t10:00:00z",
    "2026-11-03T10:00Z", "2026-11-03T24:00:00Z", "2026-11-03T10:00:00", "10:00",
    "2026-13-01T00:00:00Z",
]  # fmt: skip
STRANGERS = [None, True, 0, -1, 1.5, "", "x", [], {}, [None]]


@st.composite
def values(draw: st.DrawFn, schema: dict[str, Any], name: str = "") -> Any:
    """A value for a schema: mostly one it allows, some past an edge or of another type."""
    if draw(st.integers(0, 39)) == 0:
        return draw(st.sampled_from(STRANGERS))
    if name == "timeZone":
        return draw(st.sampled_from(["UTC", "Europe/Berlin", "UTC", "a b", ""]))
    if "x-kubernetes-int-or-string" in schema:
        return draw(st.sampled_from(["500m", "1Gi", 0, 2, "1.5", "1 GB", -1]))
    if "enum" in schema:
        return draw(st.sampled_from([*schema["enum"], *schema["enum"], "other"]))
    match schema["type"]:
        case "boolean":
            return draw(st.booleans())
        case "integer" | "number":
            low, high = schema.get("minimum", 0), schema.get("maximum", 10**6)
            return draw(
                st.sampled_from([low, high, low + 1, high - 1, low + 2, low - 1, high + 1])
            )
        case "string" if schema.get("format") == "date-time":
            return draw(st.sampled_from([NINE, TEN, *TIMES]))
        case "string":
            fitting = [text for text in STRINGS if re.search(_pattern(schema), text)]
            return draw(st.sampled_from(fitting * 9 + STRINGS))
        case "array":
            items = values(schema["items"])
            least = schema.get("minItems", 0)
            return draw(st.lists(items, min_size=draw(st.sampled_from([least, 0])), max_size=3))
    return draw(_objects(schema))


def _pattern(schema: dict[str, Any]) -> str:
    """What most values of a string match: its pattern, or that of its first rule."""
    rules = schema.get("x-kubernetes-validations", [])
    found = re.match(r"self\.matches\('(.*?)'\)", rules[0]["rule"]) if rules else None
    return str(schema.get("pattern", found[1].replace("\\\\", "\\") if found else ""))


@st.composite
def _objects(draw: st.DrawFn, schema: dict[str, Any]) -> dict[str, Any]:
    if "additionalProperties" in schema:
        keys = st.sampled_from(["cpu", "X-Scope", "memory", "Cookie", "a b", "ä"])
        return draw(st.dictionaries(keys, values(schema["additionalProperties"]), max_size=2))
    fields = schema.get("properties", {})
    names = set(schema.get("required", []))
    if fields:
        names |= draw(st.sets(st.sampled_from(sorted(fields)), max_size=3))
    if draw(st.integers(0, 49)) == 0:
        names = names - {next(iter(names), "")} | {"stranger"}
    return {
        name: draw(values(fields.get(name, {"type": "string"}), name)) for name in sorted(names)
    }


SPECS = {
    crd["spec"]["names"]["kind"]: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"][
        "properties"
    ]["spec"]
    for crd in build_crds().values()
}


@pytest.mark.parametrize("kind", [MODEL, WATCH])
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_spec_has_the_same_judgement(
    client: httpx.Client, kind: str, data: st.DataObject
) -> None:
    document = manifest(kind, data.draw(_objects(SPECS[kind])))
    accepted, answer = ask_server(client, document)
    says_yes, problems = ask_types(document)
    event(f"accepted: {accepted}")
    assert accepted == says_yes, (problems, answer.get("message"))
    if accepted:
        assert parse(answer).spec == parse(document).spec
