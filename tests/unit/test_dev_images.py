"""Tags follow from contents, and the Dockerfiles keep their promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from metricwatch_dev.image_inputs import CODE, IMAGES, ImageSpec, content_tag, input_files
from metricwatch_dev.paths import REPOSITORY
from metricwatch_dev.registry import remove_old_tags

SPEC = ImageSpec("operator", ("core", "pyproject.toml"))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name, content in {
        "images/operator/Dockerfile": "FROM scratch\n",
        "pyproject.toml": "[project]\n",
        "core/metricwatch/__init__.py": "x = 1\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def test_the_same_contents_give_the_same_tag(repository: Path) -> None:
    before = content_tag(SPEC, repository=repository)
    compiled = repository / "core" / "metricwatch" / "__pycache__" / "x.pyc"
    compiled.parent.mkdir()
    compiled.write_bytes(b"\0")
    (repository / "README.md").write_text("new words")
    assert content_tag(SPEC, repository=repository) == before


@pytest.mark.parametrize("path", ["images/operator/Dockerfile", "pyproject.toml", "core/new.py"])
def test_a_changed_or_new_input_gives_another_tag(repository: Path, path: str) -> None:
    before = content_tag(SPEC, repository=repository)
    (repository / path).write_text("changed\n")
    assert content_tag(SPEC, repository=repository) != before


def test_a_moved_file_gives_another_tag(repository: Path) -> None:
    before = content_tag(SPEC, repository=repository)
    package = repository / "core" / "metricwatch"
    (package / "__init__.py").rename(package / "other.py")
    assert content_tag(SPEC, repository=repository) != before


def test_another_base_or_argument_gives_another_tag(repository: Path) -> None:
    tags = {content_tag(SPEC, repository=repository, salt=salt) for salt in ((), ("a",), ("b",))}
    assert len(tags) == 3


def dockerfile(name: str) -> str:
    return (REPOSITORY / IMAGES[name].dockerfile).read_text()


@pytest.mark.parametrize("name", IMAGES)
def test_every_image_runs_as_a_user_who_is_nobody_else(name: str) -> None:
    assert re.findall(r"^USER (.*)$", dockerfile(name), re.MULTILINE)[-1] == "65532:65532"


@pytest.mark.parametrize("name", ["operator", "detector", "trainer"])
def test_an_image_is_tagged_by_everything_that_it_copies(name: str) -> None:
    hashed = {
        path.relative_to(REPOSITORY) for path in input_files(IMAGES[name], repository=REPOSITORY)
    }
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile(name), re.MULTILINE)
    sources = {Path(source) for line in copied for source in line.split()}
    assert sources
    for source in sources:
        assert any(path.is_relative_to(source) for path in hashed), source


def test_the_builder_sees_what_the_images_copy_and_no_more() -> None:
    allowed = {
        line.removeprefix("!")
        for line in (REPOSITORY / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert allowed == {"pyproject.toml", "constraints.txt", "LICENSE", "images", *CODE}


@pytest.mark.parametrize(
    ("name", "extras", "torch"),
    [
        ("operator", ["operator", "cli"], False),
        ("detector", ["detector"], False),
        ("trainer", ["trainer"], True),
    ],
)
def test_torch_is_in_the_trainers_image_only(name: str, extras: list[str], torch: bool) -> None:
    assert f"requirements.py {' '.join(extras)} >" in dockerfile(name)
    printed = subprocess.run(
        [sys.executable, "images/requirements.py", *extras],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    names = {re.split(r"[^a-z0-9-]", line, maxsplit=1)[0] for line in printed.stdout.splitlines()}
    assert "numpy" in names
    assert ({"torch", "optuna"} <= names) is torch
    assert ("torch" in names) is torch


def test_only_the_newest_tags_of_each_image_stay_in_the_registry(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = tmp_path / "registry"
    program.write_text(f'#!/bin/sh\necho "$@" > {log}\n')
    program.chmod(0o755)
    repositories = tmp_path / "docker" / "registry" / "v2" / "repositories" / "metricwatch"
    for name, count in (("operator", 4), ("trainer", 2)):
        for age in range(count):
            tag = repositories / name / "_manifests" / "tags" / f"t{age}"
            tag.mkdir(parents=True)
            os.utime(tag, (1000 - age, 1000 - age))
    for removed in (True, False):
        assert (
            remove_old_tags(tmp_path, configuration=tmp_path / "c.yml", program=program, keep=2)
            is removed
        )
    left = {(tag.parents[2].name, tag.name) for tag in repositories.glob("*/_manifests/tags/*")}
    assert left == {("operator", "t0"), ("operator", "t1"), ("trainer", "t0"), ("trainer", "t1")}
    assert log.read_text() == f"garbage-collect --delete-untagged {tmp_path}/c.yml\n"
