"""What an image is made of, and the tag that follows from it: same inputs, same tag, no build."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CODE = ("core", "trainer", "detector", "operator", "cli", "migrations")
PYTHON_INPUTS = (
    ".dockerignore",
    "pyproject.toml",
    "LICENSE",
    "images/sbom.py",
    "images/tools.txt",
    *CODE,
)


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """One image: its Dockerfile is `images/<name>/Dockerfile`."""

    name: str
    inputs: tuple[str, ...]
    # Wheels come over TLS; Debian packages do not, and one of them writes where certificates are.
    installs_wheels: bool = True

    @property
    def dockerfile(self) -> str:
        """Return the Dockerfile's path in the repository."""
        return f"images/{self.name}/Dockerfile"


def _with_python(name: str) -> ImageSpec:
    return ImageSpec(name, (*PYTHON_INPUTS, f"images/{name}/requirements.txt"))


IMAGES = {
    "operator": _with_python("operator"),
    "detector": _with_python("detector"),
    "trainer": _with_python("trainer"),
    "dev-services": ImageSpec("dev-services", (".dockerignore",), installs_wheels=False),
}


def content_tag(spec: ImageSpec, *, repository: Path, salt: Iterable[str] = ()) -> str:
    """Return 16 hexadecimal digits over every input file's path, mode and content.

    Args:
        spec: The image.
        repository: Where the inputs are.
        salt: What else decides on the content: the base image, build arguments.
    """
    digest = hashlib.sha256()
    for word in salt:
        digest.update(f"{word}\0".encode())
    for path in input_files(spec, repository=repository):
        digest.update(f"{path.relative_to(repository)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def input_files(spec: ImageSpec, *, repository: Path) -> tuple[Path, ...]:
    """Return the files an image is made of, in a fixed order, without what Python leaves."""
    files: list[Path] = []
    for name in (spec.dockerfile, *spec.inputs):
        path = repository / name
        if path.is_dir():
            files += [
                file
                for file in path.rglob("*")
                if file.is_file() and "__pycache__" not in file.parts
            ]
        elif path.exists():
            files.append(path)
    return tuple(sorted(files))
