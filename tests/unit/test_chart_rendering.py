"""What the chart gives for which values, held against the API's own types."""

import copy
import json
import re
import tarfile
from collections.abc import Iterator

import pytest
import yaml
from kubernetes import client
from tests.chart_rendering import (
    CHART,
    EMBEDDED,
    EVERYTHING,
    OWN_DATABASE,
    VALUES,
    ChartRefusedError,
    Manifest,
    named,
    of_kind,
    render,
)

from metricwatch.resources.source import SecretName
from metricwatch.store.location import AUTHORITY, CERTIFICATE, KEY
from metricwatch_operator.settings import Settings, read_settings

PREVIOUS = CHART.parents[1] / "tests" / "cluster" / "data" / "metricwatch-0.1.0.tgz"
STRICT_TYPES = {
    "ClusterRole": client.V1ClusterRole,
    "ClusterRoleBinding": client.V1ClusterRoleBinding,
    "ConfigMap": client.V1ConfigMap,
    "Deployment": client.V1Deployment,
    "Job": client.V1Job,
    "NetworkPolicy": client.V1NetworkPolicy,
    "PodDisruptionBudget": client.V1PodDisruptionBudget,
    "Role": client.V1Role,
    "RoleBinding": client.V1RoleBinding,
    "Secret": client.V1Secret,
    "Service": client.V1Service,
    "ServiceAccount": client.V1ServiceAccount,
    "StatefulSet": client.V1StatefulSet,
}
FOREIGN = {"PodMonitor", "VMPodScrape", "PrometheusRule", "VMRule", "CustomResourceDefinition"}


def pod_templates(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for manifest in manifests:
        template = manifest.get("spec", {}).get("template")
        if template:
            yield f"{manifest['kind']} {manifest['metadata']['name']}", template["spec"]


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_every_manifest_has_only_fields_the_api_knows(values: Manifest) -> None:
    manifests = render(values)
    assert manifests
    for manifest in manifests:
        if manifest["kind"] in FOREIGN:
            continue
        STRICT_TYPES[manifest["kind"]].model_validate(manifest)


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_every_pod_keeps_the_restricted_standard_and_a_read_only_root(values: Manifest) -> None:
    templates = list(pod_templates(render(values)))
    assert templates
    for where, spec in templates:
        assert spec["securityContext"]["runAsNonRoot"] is True, where
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, where
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, where
            assert context["capabilities"] == {"drop": ["ALL"]}, where
            assert context["readOnlyRootFilesystem"] is True, where
            assert container["resources"]["limits"]["memory"], where
            assert container["resources"]["requests"]["cpu"], where


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_only_the_operator_gets_a_token(values: Manifest) -> None:
    for where, spec in pod_templates(render(values)):
        expected = where.startswith("Deployment ")
        assert spec["automountServiceAccountToken"] is expected, where


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_every_manifest_of_ours_says_whose_it_is(values: Manifest) -> None:
    for manifest in render(values):
        if manifest["metadata"]["name"].endswith("-extra"):
            continue
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "metricwatch"
        assert labels["app.kubernetes.io/instance"] == "metricwatch"
        assert labels["app.kubernetes.io/component"]


def test_selectors_match_the_pods_and_never_change_with_the_version() -> None:
    for manifest in render(EVERYTHING):
        if manifest["kind"] not in {"Deployment", "StatefulSet"}:
            continue
        selector = manifest["spec"]["selector"]["matchLabels"]
        labels = manifest["spec"]["template"]["metadata"]["labels"]
        assert selector.items() <= labels.items()
        assert not {"app.kubernetes.io/version", "helm.sh/chart"} & selector.keys()


def test_an_own_database_is_migrated_before_the_operator_and_the_embedded_one_after() -> None:
    def hook(values: Manifest) -> str:
        (job,) = of_kind(render(values), "Job")
        return str(job["metadata"]["annotations"]["helm.sh/hook"])

    assert hook(OWN_DATABASE) == "pre-install,pre-upgrade"
    assert hook(EMBEDDED) == "post-install,post-upgrade"


def database_sources(spec: Manifest) -> dict[str, list[dict[str, str]]]:
    (mount,) = (
        item for item in spec["containers"][0]["volumeMounts"] if item["name"] == "database"
    )
    assert mount["mountPath"] == "/var/run/metricwatch/database"
    (volume,) = (item for item in spec["volumes"] if item["name"] == "database")
    sources = [source["secret"] for source in volume["projected"]["sources"]]
    return {source["name"]: source["items"] for source in sources}


def test_operator_and_migration_mount_the_url_from_the_secret_and_key_that_was_named() -> None:
    manifests = render({"database": {"urlSecret": {"name": "db", "key": "dsn"}}})
    templates = list(pod_templates(manifests))
    assert len(templates) == 2
    for where, spec in templates:
        assert database_sources(spec) == {"db": [{"key": "dsn", "path": "url"}]}, where


def test_certificates_lie_beside_the_url_under_the_names_that_are_looked_for() -> None:
    for where, spec in pod_templates(render(VALUES["own database by TLS"])):
        sources = database_sources(spec)
        assert sources["db-ca"] == [{"key": "ca.crt", "path": AUTHORITY}], where
        pair = [{"key": name, "path": name} for name in (CERTIFICATE, KEY)]
        assert sources["db-client"] == pair, where


def test_by_default_two_replicas_stand_apart_and_one_at_a_time_may_go() -> None:
    manifests = render(OWN_DATABASE)
    deployment = named(manifests, "Deployment", "metricwatch-operator")["spec"]
    assert deployment["replicas"] == 2
    selector = deployment["selector"]
    budget = named(manifests, "PodDisruptionBudget", "metricwatch-operator")["spec"]
    assert budget["selector"] == selector
    assert budget["maxUnavailable"] == 1
    spread = deployment["template"]["spec"]["topologySpreadConstraints"]
    keys = {item["topologyKey"] for item in spread}
    assert keys == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    for item in spread:
        # A cluster of one node must still run both.
        assert item["whenUnsatisfiable"] == "ScheduleAnyway"
        assert item["labelSelector"] == selector


def test_a_spread_of_ones_own_keeps_what_it_says() -> None:
    own = {
        "maxSkew": 2,
        "topologyKey": "rack",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"team": "sre"}},
        "matchLabelKeys": ["stage"],
    }
    manifests = render({**OWN_DATABASE, "operator": {"topologySpreadConstraints": [own]}})
    pod = named(manifests, "Deployment", "metricwatch-operator")["spec"]["template"]["spec"]
    assert pod["topologySpreadConstraints"] == [own]


def test_the_migration_runs_where_the_operator_may() -> None:
    manifests = render({**EVERYTHING, "operator": {**EVERYTHING["operator"], "affinity": {}}})
    (job,) = of_kind(manifests, "Job")
    operator = named(manifests, "Deployment", "metricwatch-operator")
    for field in ("nodeSelector", "tolerations", "priorityClassName", "imagePullSecrets"):
        expected = operator["spec"]["template"]["spec"][field]
        assert job["spec"]["template"]["spec"][field] == expected


def test_no_password_is_anywhere_but_in_the_secret() -> None:
    manifests = render({"postgresql": {"enabled": True, "password": "very-secret-word"}})
    holding = [item["kind"] for item in manifests if "very-secret-word" in json.dumps(item)]
    assert holding == ["Secret"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "set database.urlSecret.name to a Secret"),
        ({**EMBEDDED, **OWN_DATABASE}, "choose the embedded PostgreSQL or your own"),
        (
            {**EMBEDDED, "database": {"caSecret": {"name": "ca"}}},
            "the embedded one has no certificate",
        ),
        (
            {**EMBEDDED, "postgresql": {"enabled": True, "password": "with:colon@and/slash"}},
            "postgresql.password: what is given is not eight or more of letters",
        ),
        (
            {**OWN_DATABASE, "images": {"operator": {"digest": "latest"}}},
            'images.operator.digest: "latest" is not sha256: and 64 digits',
        ),
        (
            {**OWN_DATABASE, "images": {"trainer": {"tag": "metricwatch/trainer:1"}}},
            "an image's tag alone; the repository has a value of its own",
        ),
        (
            {**OWN_DATABASE, "watchNamespaces": ["Not_A_Namespace"]},
            'watchNamespaces: "Not_A_Namespace" is no name that Kubernetes accepts',
        ),
        (
            {**OWN_DATABASE, "defaultSource": {"url": "victoriametrics:8428"}},
            "an address like http://prometheus.monitoring:9090, with http:// or https://",
        ),
        (
            {**OWN_DATABASE, "monitoring": {"podMonitor": {"interval": "15"}}},
            "a duration like 15s",
        ),
        (
            {**OWN_DATABASE, "networkPolicy": {"enabled": True, "egress": {"enabled": True}}},
            "say with `to` or `ports` where the metrics are",
        ),
    ],
    ids=str,
)
def test_values_that_cannot_be_meant_are_refused_with_what_to_write(
    values: Manifest, said: str
) -> None:
    with pytest.raises(ChartRefusedError, match=re.escape(said)) as caught:
        render(values)
    assert "with:colon" not in str(caught.value)


def test_all_mistakes_are_said_at_once() -> None:
    with pytest.raises(ChartRefusedError) as caught:
        render({"defaultSource": {"url": "vm"}, "images": {"operator": {"tag": "a:b"}}})
    for name in ("defaultSource.url", "images.operator.tag", "no database"):
        assert f"\n- {name}" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"operator": {"replcas": 2}}, "'replcas' not allowed"),
        ({"unheardOf": True}, "'unheardOf' not allowed"),
        ({"defaultSource": {"type": "influx"}}, "'prometheus', 'victoriametrics', 'simulation'"),
        ({"operator": {"logLevel": "loud"}}, "'debug', 'info', 'warning', 'error'"),
        ({"watchNamespaces": "shop"}, "got string, want array"),
        ({"images": {"operator": {"tag": 1.10}}}, "got number, want string"),
        ({"networkPolicy": {"egress": {"dns": {"ports": [99999]}}}}, "maximum: got 99,999"),
    ],
    ids=str,
)
def test_a_value_of_the_wrong_name_or_type_is_refused_by_the_schema(
    values: Manifest, said: str
) -> None:
    with pytest.raises(ChartRefusedError, match=re.escape(said)):
        render({**OWN_DATABASE, **values})


def test_the_schema_describes_exactly_the_values_there_are() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def keys(described: Manifest, given: Manifest, path: str) -> Iterator[str]:
        if "$ref" in described:
            described = schema["definitions"][described["$ref"].rpartition("/")[2]]
        # An empty object among the values stands for whatever the schema allows in it.
        if "properties" not in described or not given:
            return
        for key in (described["properties"].keys() ^ given.keys()) - {"global", "claims"}:
            yield f"{path}.{key}"
        for key, value in given.items():
            if isinstance(value, dict):
                yield from keys(described["properties"][key], value, f"{path}.{key}")

    assert list(keys(schema, values, "")) == []


def missing(old: Manifest, new: Manifest, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The topmost values that there are in `new` only."""
    for key, value in new.items():
        if key not in old:
            yield (*path, key)
        elif isinstance(value, dict) and isinstance(old[key], dict):
            yield from missing(old[key], value, (*path, key))


def test_an_upgrade_that_reuses_the_previous_charts_values_finds_none_of_the_new_ones() -> None:
    with tarfile.open(PREVIOUS) as archive:
        member = archive.extractfile("metricwatch/values.yaml")
        assert member is not None
        old = yaml.safe_load(member.read())
    new = yaml.safe_load((CHART / "values.yaml").read_text())
    added = list(missing(old, new))
    assert ("database", "caSecret") in added
    values: Manifest = {**copy.deepcopy(EMBEDDED), "networkPolicy": {"enabled": True}}
    for *parents, last in added:
        place = values
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = None  # which is how Helm takes a default away
    assert of_kind(render(values), "Deployment")


def test_namespaces_get_a_role_each_and_no_cluster_role_for_the_operator() -> None:
    manifests = render({**OWN_DATABASE, "watchNamespaces": ["shop", "bank"]})
    namespaces = {
        item["metadata"]["namespace"]
        for item in of_kind(manifests, "Role")
        if item["metadata"]["name"] == "metricwatch-operator"
    }
    assert namespaces == {"shop", "bank"}
    assert of_kind(manifests, "ClusterRoleBinding") == []
    environment = operator_environment(manifests)
    assert environment["METRICWATCH_NAMESPACES"] == "shop,bank"


def operator_rules(manifests: list[Manifest]) -> list[Manifest]:
    (role,) = (
        item
        for item in of_kind(manifests, "ClusterRole")
        if item["metadata"]["name"].endswith("-operator")
    )
    rules: list[Manifest] = role["rules"]
    return rules


def operator_environment(manifests: list[Manifest]) -> dict[str, str]:
    (deployment,) = of_kind(manifests, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {item["name"]: item.get("value", "") for item in container["env"]}


def test_the_operator_never_reads_secrets_and_writes_none_when_they_are_provided() -> None:
    def verbs(values: Manifest) -> set[str]:
        return {
            verb
            for rule in operator_rules(render(values))
            if "secrets" in rule["resources"]
            for verb in rule["verbs"]
        }

    assert verbs(OWN_DATABASE) == {"create", "patch"}
    assert verbs(VALUES["no Secrets"]) == set()


def test_no_rule_has_a_wildcard() -> None:
    for manifest in render(EVERYTHING):
        for rule in manifest.get("rules", []):
            assert "*" not in json.dumps(rule)


def test_images_come_from_the_registry_by_digest_or_by_tag_or_by_the_charts_version() -> None:
    environment = operator_environment(render(EVERYTHING))
    registry = "registry.example.org/mirror/metricwatch"
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert environment["METRICWATCH_DETECTOR_IMAGE"] == f"{registry}/detector@sha256:{'a' * 64}"
    assert environment["METRICWATCH_TRAINER_IMAGE"] == f"{registry}/trainer:{version}"
    tagged = render({**OWN_DATABASE, "images": {"trainer": {"tag": "v9"}}})
    assert operator_environment(tagged)["METRICWATCH_TRAINER_IMAGE"] == "metricwatch/trainer:v9"


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_the_operator_understands_its_environment(values: Manifest) -> None:
    environment = operator_environment(render(values))
    known = {f"METRICWATCH_{name.upper()}" for name in Settings.model_fields}
    ours = {name for name in environment if name.startswith("METRICWATCH_")}
    assert ours - known == {"METRICWATCH_DATABASE_URL_FILE"}
    settings = read_settings(environment)
    assert settings.namespaces == tuple(values.get("watchNamespaces", []))


def test_what_is_said_about_children_reaches_the_operator() -> None:
    config = read_settings(operator_environment(render(EVERYTHING))).config()
    assert config.default_source.url == "http://victoriametrics:8428"
    assert config.default_source.auth_ref == SecretName(name="vm")
    assert config.detector_resources["limits"] == {"memory": "2Gi"}
    assert config.placement.node_selector == {"pool": "metrics"}
    assert config.placement.tolerations == ({"operator": "Exists"},)
    assert config.placement.priority_class_name == "low"
    assert config.placement.image_pull_secrets == ("pull",)
    assert config.score_retention_days == 30
    assert config.concurrent_trainings == 2


def test_a_simulated_default_source_needs_no_address() -> None:
    values = {**OWN_DATABASE, "defaultSource": {"type": "simulation"}}
    config = read_settings(operator_environment(render(values))).config()
    assert config.default_source.type == "simulation"


def test_the_operators_rights_are_those_its_tests_run_with() -> None:
    page = (CHART.parents[1] / "docs" / "rbac.md").read_text()
    watched, own = (
        yaml.safe_load(block)["rules"]
        for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    )
    manifests = render(OWN_DATABASE)
    assert operator_rules(manifests) == watched
    assert named(manifests, "Role", "metricwatch-operator-lease")["rules"] == own


def test_long_release_names_leave_room_for_suffixes() -> None:
    manifests = render(EVERYTHING, release="a-release-name-as-long-as-helm-allows-it-to-be-53abc")
    for manifest in manifests:
        if manifest["kind"] in {"ClusterRole", "ClusterRoleBinding"}:
            continue
        if manifest["kind"] != "CustomResourceDefinition":
            assert len(manifest["metadata"]["name"]) <= 63


def test_settings_of_the_embedded_postgresql_become_its_arguments() -> None:
    stateful = named(render(VALUES["without storage"]), "StatefulSet", "metricwatch-postgresql")
    spec = stateful["spec"]["template"]["spec"]
    assert spec["containers"][0]["args"] == ["-c", "fsync=false", "-c", "work_mem=8MB"]
    assert "volumeClaimTemplates" not in stateful["spec"]
    assert {"name": "data", "emptyDir": {}} in spec["volumes"]


def test_crds_are_kept_on_uninstall_unless_asked_otherwise() -> None:
    for keep in (True, False):
        crds = of_kind(
            render({**OWN_DATABASE, "crds": {"keep": keep}}), "CustomResourceDefinition"
        )
        assert len(crds) == 2
        for crd in crds:
            annotations = crd["metadata"].get("annotations", {})
            assert ("helm.sh/resource-policy" in annotations) is keep
    assert of_kind(render(VALUES["bare"]), "CustomResourceDefinition") == []


def test_the_crds_rendered_are_the_crds_generated() -> None:
    generated = CHART.parents[1] / "crds"
    rendered = of_kind(render(OWN_DATABASE), "CustomResourceDefinition")
    expected = [yaml.safe_load(path.read_text()) for path in sorted(generated.glob("*.yaml"))]
    assert [crd["spec"] for crd in rendered] == [crd["spec"] for crd in expected]
    remedy = "run metricwatch crds --output charts/metricwatch/files/crds"
    for path in sorted(generated.glob("*.yaml")):
        copy = CHART / "files" / "crds" / path.name
        assert copy.read_text() == path.read_text(), remedy


def test_each_way_of_loading_rules_gives_the_same_rules() -> None:
    manifests = render(EVERYTHING)
    config = named(manifests, "ConfigMap", "metricwatch-rules")
    loaded = yaml.safe_load(config["data"]["metricwatch.rules.yaml"])
    assert named(manifests, "PrometheusRule", "metricwatch-rules")["spec"] == loaded
    assert named(manifests, "VMRule", "metricwatch-rules")["spec"] == loaded
    for group in loaded["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["team"] == "sre"


def test_every_alert_has_a_severity_a_summary_and_a_runbook_that_exists() -> None:
    rules = yaml.safe_load((CHART / "files" / "rules.yaml").read_text())
    runbooks = CHART.parents[1] / "docs" / "runbooks"
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    for rule in alerts:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
        page = runbooks / rule["annotations"]["runbook_url"].removeprefix("RUNBOOKS/")
        assert page.read_text().startswith(f"# {rule['alert']}\n")
    index = (runbooks / "README.md").read_text()
    assert set(re.findall(r"\((Metricwatch\w+)\.md\)", index)) == {r["alert"] for r in alerts}


def test_scrape_configurations_keep_the_labels_of_the_watched_series() -> None:
    manifests = render(EVERYTHING)
    for kind, field in (("PodMonitor", "relabelings"), ("VMPodScrape", "relabelConfigs")):
        (endpoint,) = named(manifests, kind, "metricwatch-detector")["spec"]["podMetricsEndpoints"]
        assert endpoint["honorLabels"] is True
        dropped = [step["regex"] for step in endpoint[field] if step.get("action") == "labeldrop"]
        assert dropped == ["namespace|pod|container|endpoint"]
        assert {"targetLabel": "job", "replacement": "metricwatch-detector"} in endpoint[field]
