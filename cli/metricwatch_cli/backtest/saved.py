"""Saved models: a folder or a zip file of artifacts and a manifest with their checksums."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from metricwatch import __version__
from metricwatch.artifact import MOST_BYTES, ArtifactError, sha256, unpack
from metricwatch.resources import AnomalyModelSpec
from metricwatch.series import Labels
from metricwatch_cli.backtest.problems import WrongFile
from metricwatch_cli.backtest.staging import refuse_foreign, staged

MANIFEST = "model.json"
ZIP = ".zip"
_MOST_MANIFEST_BYTES = 64 * 1024 * 1024
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The same model gives the same zip file."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    file: Annotated[str, Field(pattern=r"^[0-9]{6}\.safetensors$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=1, le=MOST_BYTES)]
    family: str
    series: Annotated[int, Field(ge=1)]
    interval_seconds: Annotated[int, Field(ge=1)]


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    format: Literal[1]
    metricwatch: str
    trained_at: str
    data: str
    model: dict[str, Any]
    chunks: Annotated[tuple[_Entry, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class SavedModel:
    """What was learned.

    Attributes:
        artifacts: chunks, each with the labels of its series.
    """

    artifacts: tuple[tuple[bytes, frozenset[Labels]], ...]

    def of(self, labels: Sequence[Labels]) -> tuple[bytes, ...]:
        """Returns the artifacts that know one of these series."""
        wanted = frozenset(labels)
        return tuple(content for content, known in self.artifacts if known & wanted)


def save_model(
    out: Path, artifacts: Sequence[bytes], spec: AnomalyModelSpec, *, source: str
) -> Mapping[str, Any]:
    """Writes a folder, or a zip file where `out` ends with .zip; returns the manifest.

    Raises:
        WrongFile: something else is there, or it cannot be written.
    """
    entries = []
    for number, content in enumerate(artifacts):
        chunk = unpack(content)
        entries.append(
            {
                "file": f"{number:06}.safetensors",
                "sha256": sha256(content),
                "bytes": len(content),
                "family": chunk.family,
                "series": chunk.series,
                "intervalSeconds": chunk.interval,
            }
        )
    manifest = {
        "format": 1,
        "metricwatch": __version__,
        "trainedAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "data": source,
        "model": spec.model_dump(mode="json", by_alias=True, exclude_unset=True),
        "chunks": entries,
    }
    files = {MANIFEST: (json.dumps(manifest, indent=2) + "\n").encode()}
    files |= {str(one["file"]): content for one, content in zip(entries, artifacts, strict=True)}
    if out.suffix == ZIP:
        _write_zip(out, files)
    else:
        with staged(out, marker=MANIFEST) as folder:
            for name, content in files.items():
                (folder / name).write_bytes(content)
    return manifest


def check_target(out: Path) -> None:
    """Refuses a place where something else would be lost.

    Raises:
        WrongFile: says what is there.
    """
    if out.suffix == ZIP:
        if out.exists() and not zipfile.is_zipfile(out):
            raise WrongFile(out, "exists and is no zip file: give another name, or remove it")
        return
    refuse_foreign(out, marker=MANIFEST)


def load_model(path: Path) -> SavedModel:
    """Returns a saved model after checking every byte of it.

    Raises:
        WrongFile: it is none, or was damaged.
    """
    manifest = _manifest(path)
    found = []
    for entry in manifest.chunks:
        content = _content(path, entry.file, most=MOST_BYTES)
        try:
            chunk = unpack(content, checksum=entry.sha256)
        except ArtifactError as error:
            raise WrongFile(path / entry.file, f"{error}") from error
        found.append((content, frozenset(chunk.labels)))
    return SavedModel(tuple(found))


def _manifest(path: Path) -> _Manifest:
    text = _content(path, MANIFEST, most=_MOST_MANIFEST_BYTES)
    try:
        return _Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(one) for one in first["loc"])
        raise WrongFile(
            path / MANIFEST, f"is no manifest of a saved model: {place}: {first['msg']}"
        ) from error


def _content(path: Path, name: str, *, most: int) -> bytes:
    """Returns a file of the folder or zip file."""
    try:
        if path.is_dir():
            size = (path / name).stat().st_size
            content = (path / name).read_bytes() if size <= most else b""
        else:
            with zipfile.ZipFile(path) as archive:
                size = archive.getinfo(name).file_size
                content = archive.read(name) if size <= most else b""
    except (KeyError, zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise WrongFile(
            path, f"is no saved model ({error}): make one with `metricwatch train`"
        ) from error
    except FileNotFoundError as error:
        what = f"has no {name}" if path.exists() else "does not exist"
        raise WrongFile(path, f"{what}: make a model with `metricwatch train`") from error
    except OSError as error:
        raise WrongFile(path, error.strerror or str(error)) from error
    if size > most:
        raise WrongFile(path, f"{name} of {size} bytes is larger than {most}")
    return content


def _write_zip(out: Path, files: Mapping[str, bytes]) -> None:
    partial = out.with_name(f".{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in _sorted(files):
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
        partial.replace(out)
    except OSError as error:
        raise WrongFile(out, f"cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _sorted(files: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """The manifest first, so that whoever lists the archive sees what it is."""
    yield from sorted(files.items(), key=lambda one: (one[0] != MANIFEST, one[0]))
