"""`metricwatch crds` and `metricwatch validate`, as a user runs them."""

import io
from pathlib import Path

import pytest

from metricwatch_cli.main import main

REPOSITORY = Path(__file__).parents[2]
GOOD = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
---
apiVersion: metricwatch.io/v1alpha1
kind: AnomalyModel
metadata: {name: checkout}
spec:
  training:
    exclude: [{from: 2026-11-03T10:00:00Z, to: 2026-11-03T14:00:00Z, reason: outage}]
"""
BAD = """\
---
apiVersion: metricwatch.io/v1alpha1
kind: MetricWatch
metadata: {name: latency}
spec: {modelRef: {name: checkout}, query: up, interval: 1ms, nam: x}
---
apiVersion: metricwatch.io/v1alpha1
kind: AnomalyModel
metadata: {name: checkout}
spec: {scope: multivariate, algorithm: {type: seasonal}}
---
apiVersion: metricwatch.io/v1
kind: MetricWatch
---
apiVersion: metricwatch.io/v1alpha1
kind: Watch
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> str:
        path = tmp_path / "manifests.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_the_committed_crds_are_what_the_types_describe() -> None:
    assert main(["crds", "--check", "--output", str(REPOSITORY / "crds")]) == 0


def test_crds_writes_files_that_pass_the_check(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "crds"
    assert main(["crds", "--output", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "metricwatch.io_anomalymodels.yaml",
        "metricwatch.io_metricwatches.yaml",
    ]
    assert main(["crds", "--check", "--output", str(folder)]) == 0


def test_a_check_shows_the_difference_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["crds", "--output", str(tmp_path)])
    file = tmp_path / "metricwatch.io_metricwatches.yaml"
    changed = file.read_text().replace("- mw\n", "- mwatch\n")
    file.write_text(changed)
    assert main(["crds", "--check", "--output", str(tmp_path)]) == 1
    output = capsys.readouterr()
    assert "-    - mwatch\n+    - mw\n" in output.out
    assert "run `metricwatch crds`" in output.err
    assert file.read_text() == changed


def test_the_committed_reference_is_what_the_types_describe() -> None:
    reference = str(REPOSITORY / "docs" / "api.md")
    output = str(REPOSITORY / "crds")
    assert main(["crds", "--check", "--output", output, "--reference", reference]) == 0


def test_the_reference_names_fields_defaults_and_rules(tmp_path: Path) -> None:
    reference = tmp_path / "api.md"
    main(["crds", "--output", str(tmp_path), "--reference", str(reference)])
    text = reference.read_text()
    assert "### spec.detection.samples\n" in text
    assert "| `interval` | string | `1m` | interval at which samples" in text
    assert "| `modelRef` | object | **required** |" in text
    assert "\n- set exactly one of query and queries\n" in text


def test_a_missing_file_is_a_difference(tmp_path: Path) -> None:
    assert main(["crds", "--check", "--output", str(tmp_path)]) == 1


def test_good_manifests_are_counted_and_other_kinds_passed_over(
    write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", write(GOOD)]) == 0
    assert capsys.readouterr().out == "1 resource is valid\n"


def test_each_problem_is_a_line_with_file_document_and_field(
    write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(BAD)
    assert main(["validate", path]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{path}:1 spec.interval: must be at least 1s",
        f"{path}:1 spec.nam: unknown field",
        f"{path}:2 spec.algorithm.type: scope multivariate has a family of its own: use auto, or "
        "scope perSeries",
        f"{path}:3 apiVersion: must be metricwatch.io/v1alpha1",
        f"{path}:4 kind: must be AnomalyModel or MetricWatch",
    ]


def test_a_file_that_is_no_yaml_or_not_there_is_a_problem(
    write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, missing = write("a: [1"), str(tmp_path / "missing.yaml")
    assert main(["validate", path, missing]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{path}: while parsing")
    assert second == f"{missing}: No such file or directory"


def test_a_name_that_the_api_server_refuses_is_a_problem(
    write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(GOOD.replace("checkout", "First_1"))
    assert main(["validate", path]) == 1
    assert capsys.readouterr().out == (
        f"{path}:2 metadata.name: 'First_1' must be small letters, digits, '-' and '.', with a "
        "letter or digit at both ends\n"
    )


def test_files_without_any_of_our_resources_are_said_to_have_none(
    write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", write("apiVersion: v1\nkind: ConfigMap\n")]) == 0
    assert capsys.readouterr().out == (
        "no AnomalyModel and no MetricWatch of metricwatch.io/v1alpha1 found\n"
    )


def test_a_folder_stands_for_the_yaml_files_below_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.yml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(GOOD)
    (tmp_path / "notes.txt").write_text("[")
    assert main(["validate", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "2 resources are valid\n"


def test_the_examples_are_valid() -> None:
    assert main(["validate", str(REPOSITORY / "examples")]) == 0


def test_manifests_are_read_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(BAD))
    assert main(["validate", "-"]) == 1
    assert capsys.readouterr().out.startswith("-:1 spec.interval:")


def test_a_command_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "COMMAND" in capsys.readouterr().err
