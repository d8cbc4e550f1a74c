"""Tags follow from contents, and the Dockerfiles keep their promises."""

import os
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

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
    assert allowed == {"pyproject.toml", "LICENSE", "images", *CODE}


EXTRAS = {"operator": ["operator"], "detector": ["detector"], "trainer": ["trainer"]}
PIN = re.compile(r"^(?P<name>[a-z0-9-]+)(\[[a-z]+\])?==(?P<version>\S+)( ; [^\\]+)? \\$")


def pins(path: Path) -> dict[str, str]:
    """Names and versions of a requirements file, each with a hash at least."""
    found: dict[str, str] = {}
    hashes = 1
    for line in path.read_text().splitlines():
        if re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line):
            hashes += 1
            continue
        pin = PIN.match(line)
        assert pin is not None, line
        assert hashes > 0, f"{list(found)[-1]} has no hash"
        found[pin["name"]], hashes = pin["version"], 0
    assert hashes > 0
    return found


@pytest.mark.parametrize("name", EXTRAS)
def test_what_an_image_installs_is_pinned_and_hashed_and_what_the_tests_ran_with(
    name: str,
) -> None:
    found = pins(REPOSITORY / f"images/{name}/requirements.txt")
    ran_with = dict(
        line.split("==")
        for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    assert {one: ran_with.get(one, version) for one, version in found.items()} == found
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"]]
    for extra in EXTRAS[name]:
        asked += project["optional-dependencies"][extra]
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(found[requirement.name.lower()]), requirement


@pytest.mark.parametrize("name", EXTRAS)
def test_nothing_is_installed_into_an_image_without_its_hash(name: str) -> None:
    steps = dockerfile(name).replace("\\\n", " ")
    # Words that two ways to install torch begin with.
    steps = re.sub(r'install="[^"]*"', "", steps)
    installed = re.findall(r"(?:pip install|\$install)[^&;]*", steps)
    assert len(installed) >= 3
    for step in installed:
        # Our own wheel has none, nor has torch from an index that who builds the image names.
        own = "dist/*.whl" in step or "TORCH_INDEX_URL" in step
        assert own or "--require-hashes" in step, step


def test_tools_are_pinned_and_hashed_too() -> None:
    assert {"uv", "hatchling"} <= set(pins(REPOSITORY / "images/tools.txt"))


def test_no_file_names_where_it_was_downloaded_from() -> None:
    for path in (REPOSITORY / "images").rglob("*.txt"):
        assert "://" not in path.read_text(), path


@pytest.mark.parametrize(("name", "torch"), [("operator", 0), ("detector", 0), ("trainer", 1)])
def test_torch_is_in_the_trainers_image_only(name: str, torch: int) -> None:
    found = pins(REPOSITORY / f"images/{name}/requirements.txt")
    assert "numpy" in found
    assert len({"torch", "optuna"} & set(found)) == 2 * torch


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
