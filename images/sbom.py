"""Print the bill of materials of this image: what is installed in it, as CycloneDX JSON.

It runs in the image when it is built, with nothing but the standard library, over what is really
there: the distributions of the virtual environment and the packages of the base image. A
component's hash is that of the list its installer keeps of its files and their hashes: `RECORD` of
a Python distribution, `md5sums` of a Debian package. The same contents give the same bytes.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

SPECIFICATION = "1.6"


def bill(name: str, *, packages: Path, system: Path) -> dict[str, Any]:
    """The whole document.

    Args:
        name: Of the image.
        packages: The folder that Python's distributions are in.
        system: The root that Debian packages are installed in.
    """
    found = {one["bom-ref"]: one for one in (*_python(packages), *_debian(system))}
    components = [found[ref] for ref in sorted(found)]
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPECIFICATION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name, "bom-ref": name}},
        "components": components,
    }


def _python(folder: Path) -> Iterator[dict[str, Any]]:
    for found in distributions(path=[str(folder)]):
        name, version = found.metadata["Name"], found.version
        normal = name.lower().replace("_", "-").replace(".", "-")
        address = f"pkg:pypi/{quote(normal)}@{quote(version)}"
        yield _component(name, version, address, _record(found), hash_of="RECORD")


def _record(found: Distribution) -> str:
    text = found.read_text("RECORD")
    if text is None:
        raise SystemExit(f"error: {found.metadata['Name']} has no RECORD of its files")
    return text


def _debian(root: Path) -> Iterator[dict[str, Any]]:
    status = root / "var/lib/dpkg/status"
    if not status.exists():
        return
    for paragraph in status.read_text(encoding="utf-8").split("\n\n"):
        # A line that begins with a space goes on with the one before.
        lines = [line for line in paragraph.splitlines() if line[:1].strip()]
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        if fields.get("Status", "").split()[-1:] != ["installed"]:
            continue
        name, version, machine = (
            fields[key].strip() for key in ("Package", "Version", "Architecture")
        )
        address = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={machine}"
        yield _component(name, version, address, _sums(root, name, machine), hash_of="md5sums")


def _sums(root: Path, name: str, machine: str) -> str:
    folder = root / "var/lib/dpkg/info"
    for file in (f"{name}.md5sums", f"{name}:{machine}.md5sums"):
        if (folder / file).exists():
            return (folder / file).read_text(encoding="utf-8")
    # A package without files of its own, like a metapackage.
    return ""


def _component(
    name: str, version: str, address: str, files: str, *, hash_of: str
) -> dict[str, Any]:
    digest = hashlib.sha256(files.encode()).hexdigest()
    return {
        "type": "library",
        "bom-ref": address,
        "name": name,
        "version": version,
        "purl": address,
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "properties": [{"name": "metricwatch:hash-of", "value": hash_of}],
    }


if __name__ == "__main__":
    document = bill(sys.argv[1], packages=Path(sys.argv[2]), system=Path("/"))
    print(json.dumps(document, indent=1))
