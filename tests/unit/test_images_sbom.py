"""The bill of materials of an image is complete, checkable and valid CycloneDX."""

import hashlib
import importlib.util
import json
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from metricwatch_dev.paths import REPOSITORY

STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u13
Description: GNU C Library
 Package: not-a-package
 more words

Package: removed
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: tzdata
Status: install ok installed
Architecture: all
Version: 1:2026a-0
"""


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sbom", REPOSITORY / "images/sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A root with two installed Debian packages and a removed one."""
    dpkg = tmp_path / "var/lib/dpkg"
    (dpkg / "info").mkdir(parents=True)
    (dpkg / "status").write_text(STATUS)
    (dpkg / "info/libc6:amd64.md5sums").write_text("0123  lib/libc.so.6\n")
    return tmp_path


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder with one Python distribution."""
    info = tmp_path / "site-packages" / "Zope.Interface_x-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Zope.Interface_x\nVersion: 1.2\n")
    (info / "RECORD").write_text("a.py,sha256=abc,1\n")
    return info.parent


def by_name(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in document["components"]}


def is_valid(document: dict[str, Any]) -> None:
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))
    assert problem is None, problem


def test_python_and_debian_packages_are_listed_with_version_and_hash(
    sbom: ModuleType, packages: Path, system: Path
) -> None:
    document = sbom.bill("metricwatch-x", packages=packages, system=system)
    is_valid(document)
    found = by_name(document)
    assert set(found) == {"Zope.Interface_x", "libc6", "tzdata"}
    assert found["Zope.Interface_x"]["purl"] == "pkg:pypi/zope-interface-x@1.2"
    assert found["tzdata"]["version"] == "1:2026a-0"
    record = hashlib.sha256(b"a.py,sha256=abc,1\n").hexdigest()
    assert found["Zope.Interface_x"]["hashes"] == [{"alg": "SHA-256", "content": record}]
    sums = hashlib.sha256(b"0123  lib/libc.so.6\n").hexdigest()
    assert found["libc6"]["hashes"][0]["content"] == sums


def test_a_file_that_was_changed_changes_the_hash(
    sbom: ModuleType, packages: Path, system: Path
) -> None:
    before = sbom.bill("x", packages=packages, system=system)
    assert sbom.bill("x", packages=packages, system=system) == before
    (next(packages.iterdir()) / "RECORD").write_text("a.py,sha256=abd,1\n")
    assert sbom.bill("x", packages=packages, system=system) != before


def test_a_distribution_that_lists_no_files_is_an_error(
    sbom: ModuleType, packages: Path, system: Path
) -> None:
    (next(packages.iterdir()) / "RECORD").unlink()
    with pytest.raises(SystemExit, match="has no RECORD"):
        sbom.bill("x", packages=packages, system=system)


def test_every_distribution_of_a_real_environment_is_in_a_valid_document(
    sbom: ModuleType, tmp_path: Path
) -> None:
    folder = Path(pytest.__file__).parents[1]
    document = sbom.bill("metricwatch-tests", packages=folder, system=tmp_path)
    is_valid(document)
    installed = {one.metadata["Name"] for one in distributions(path=[str(folder)])}
    assert set(by_name(document)) == installed
    assert len(installed) > 50
