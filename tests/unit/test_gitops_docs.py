"""What docs/gitops.md shows is what the chart, the script and the resources are."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.chart_rendering import CHART, EMBEDDED, helm, render
from tests.gitops_documents import GITOPS_PAGE, documents, write_repository

from metricwatch.resources.parsing import parse_model, parse_watch

RELEASE = "infrastructure/metricwatch/release.yaml"
FLUX = "clusters/production/metricwatch.yaml"
ARGO = "clusters/production/applications.yaml"


def by_name(path: str, kind: str) -> dict[str, Any]:
    return {one["metadata"]["name"]: one for one in documents(path) if one["kind"] == kind}


def test_the_resources_are_valid() -> None:
    (model,) = documents("apps/shop/model.yaml")
    parse_model(model)
    for watch in documents("apps/shop/watches.yaml"):
        assert parse_watch(watch).spec.model_ref.name == model["metadata"]["name"]


@pytest.mark.parametrize(
    "values",
    [
        by_name(RELEASE, "HelmRelease")["metricwatch"]["spec"]["values"],
        by_name(ARGO, "Application")["metricwatch"]["spec"]["source"]["helm"]["valuesObject"],
    ],
    ids=["Flux", "Argo CD"],
)
def test_the_values_render_the_chart(values: dict[str, Any]) -> None:
    kinds = {one["kind"] for one in render(values)}
    assert {"Deployment", "CustomResourceDefinition", "Job"} <= kinds


def test_every_path_is_one_of_the_repository_or_of_ours(tmp_path: Path) -> None:
    write_repository(tmp_path)
    for one in by_name(FLUX, "Kustomization").values():
        assert (tmp_path / one["spec"]["path"]).is_dir()
    applications = by_name(ARGO, "Application")
    assert (tmp_path / applications["shop"]["spec"]["source"]["path"]).is_dir()
    assert CHART.parents[1] / applications["metricwatch"]["spec"]["source"]["path"] == CHART
    chart = by_name(RELEASE, "HelmRelease")["metricwatch"]["spec"]["chart"]["spec"]["chart"]
    assert CHART.parents[1] / chart == CHART


def test_flux_checks_every_resource_that_it_applies(tmp_path: Path) -> None:
    write_repository(tmp_path)
    made = [
        (one["apiVersion"], one["kind"], one["metadata"]["name"], "shop")
        for name in ("model.yaml", "watches.yaml")
        for one in documents(f"apps/shop/{name}")
    ]
    shop = by_name(FLUX, "Kustomization")["shop"]["spec"]
    names = ("apiVersion", "kind", "name", "namespace")
    assert [tuple(one[name] for name in names) for one in shop["healthChecks"]] == made
    assert [one["name"] for one in shop["dependsOn"]] == ["metricwatch"]


def test_only_the_secret_differs_when_the_embedded_database_is_rendered_again() -> None:
    command = [helm(), "template", "metricwatch", str(CHART), "-n", "metricwatch-system"]
    first, second = (
        {
            (one["kind"], one["metadata"]["name"]): one
            for one in yaml.safe_load_all(
                subprocess.run(
                    [*command, "--kube-version", "1.34.4", "--values", "-"],
                    input=yaml.safe_dump(EMBEDDED | {"postgresql": {"enabled": True}}),
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout
            )
            if one
        }
        for _ in range(2)
    )
    assert first.keys() == second.keys()
    differing = [name for name in first if first[name] != second[name]]
    (ignored,) = documents("clusters/production/embedded.yaml")[0]["spec"]["ignoreDifferences"]
    assert differing == [(ignored["kind"], ignored["name"])]


def test_every_file_that_the_page_links_to_is_there() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", GITOPS_PAGE.read_text(encoding="utf-8")):
        assert (GITOPS_PAGE.parent / link).exists(), link
