"""Reading an archive that may come from anywhere.

Nothing is unpacked to a disk and no name in it is ever used as a path: files are looked up by the
names that an archive may have, one at a time, after their kind and size were checked. A .tar is
read as it is; a compressed one is refused, so that no size is a surprise.
"""

from __future__ import annotations

import re
import stat
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from metricwatch.artifact import MOST_BYTES, ArtifactError, ModelChunk, unpack
from metricwatch_cli.backtest.problems import WrongFile
from metricwatch_cli.versions.archive_limits import (
    CHUNK_PATTERN,
    MANIFEST,
    MOST_CHUNKS,
    MOST_MANIFEST_BYTES,
)
from metricwatch_cli.versions.manifest import ArchivedChunk, Manifest, read_manifest

_CHUNK = re.compile(CHUNK_PATTERN)


class _Files(Protocol):
    """The files of an archive by name, with their sizes."""

    sizes: Mapping[str, int]

    def read(self, name: str) -> bytes:
        """The content of one."""


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive whose manifest was read and whose files are all there.

    Attributes:
        path: of the folder or file, for messages.
        manifest: what it says.
    """

    path: Path
    manifest: Manifest
    _files: _Files

    def chunks(self) -> Iterator[tuple[ArchivedChunk, ModelChunk]]:
        """Each chunk, checked byte by byte; one in memory at a time.

        Raises:
            WrongFile: one is not what the manifest says, or cannot be used.
        """
        for entry in self.manifest.chunks:
            yield entry, self._chunk(entry)

    def _chunk(self, entry: ArchivedChunk) -> ModelChunk:
        place = self.path / entry.file
        try:
            chunk = unpack(self._files.read(entry.file), checksum=entry.sha256)
        except ArtifactError as error:
            raise WrongFile(place, f"{error}") from error
        found = (chunk.family, chunk.watch_uid, chunk.series)
        if found != (entry.family, entry.watch, entry.series):
            raise WrongFile(
                place,
                f"holds {chunk.series} series of family {chunk.family} and watch "
                f"{chunk.watch_uid}, which is not what {MANIFEST} says",
            )
        return chunk


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """The archive in a folder or .tar file.

    Raises:
        WrongFile: says which file cannot be used, and what is wrong with it.
    """
    with _open(path) as files:
        if MANIFEST not in files.sizes:
            raise WrongFile(path, f"has no {MANIFEST}: it is not of `metricwatch versions export`")
        manifest = read_manifest(files.read(MANIFEST), path=path / MANIFEST)
        named = {one.file: one.bytes for one in manifest.chunks}
        for name in sorted({*named, *files.sizes} - {MANIFEST}):
            if name not in files.sizes:
                raise WrongFile(path / name, f"is missing, although {MANIFEST} names it")
            if name not in named:
                raise WrongFile(path / name, f"is not named by {MANIFEST}")
            if named[name] != files.sizes[name]:
                raise WrongFile(
                    path / name, f"has {files.sizes[name]} bytes, {MANIFEST} says {named[name]}"
                )
        yield Archive(path, manifest, files)


@contextmanager
def _open(path: Path) -> Iterator[_Files]:
    if path.is_dir():
        yield _Folder(path)
        return
    if not path.is_file():
        what = "is no folder and no file" if path.exists() else "does not exist"
        raise WrongFile(path, f"{what}: give what `metricwatch versions export` wrote")
    try:
        with tarfile.open(path, "r:") as archive:
            yield _Tar(path, archive)
    except (tarfile.TarError, EOFError) as error:
        raise WrongFile(path, f"is no uncompressed tar file, or was cut short: {error}") from error
    except OSError as error:
        raise WrongFile(path, error.strerror or str(error)) from error


def _admit(path: Path, name: str, size: int, *, count: int) -> None:
    """Refuses a file that no archive has.

    Raises:
        WrongFile: says which, and why.
    """
    if name != MANIFEST and not _CHUNK.fullmatch(name):
        raise WrongFile(path, f"holds {name[:200]!r}, which is no part of an exported version")
    most = MOST_MANIFEST_BYTES if name == MANIFEST else MOST_BYTES
    if size > most:
        raise WrongFile(path / name, f"has {size} bytes, more than the {most} it may have")
    if count > MOST_CHUNKS:
        raise WrongFile(path, f"holds more than {MOST_CHUNKS} files")


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path
        sizes: dict[str, int] = {}
        for entry in sorted(path.iterdir()):
            found = entry.lstat()
            if not stat.S_ISREG(found.st_mode):
                raise WrongFile(entry, "is a link, a folder or something else, but no file")
            _admit(path, entry.name, found.st_size, count=len(sizes))
            sizes[entry.name] = found.st_size
        self.sizes: Mapping[str, int] = sizes

    def read(self, name: str) -> bytes:
        try:
            with (self._path / name).open("rb") as file:
                return file.read(self.sizes[name])
        except OSError as error:
            raise WrongFile(self._path / name, error.strerror or str(error)) from error


class _Tar:
    def __init__(self, path: Path, archive: tarfile.TarFile) -> None:
        self._path, self._archive = path, archive
        members: dict[str, tarfile.TarInfo] = {}
        for member in archive:
            if member.name in members:
                raise WrongFile(path, f"holds {member.name[:200]!r} twice")
            if not member.isreg() or member.issparse():
                raise WrongFile(
                    path, f"{member.name[:200]!r} is a link, a folder or something else, no file"
                )
            _admit(path, member.name, member.size, count=len(members))
            members[member.name] = member
        self._members = members
        self.sizes: Mapping[str, int] = {name: one.size for name, one in members.items()}

    def read(self, name: str) -> bytes:
        file = self._archive.extractfile(self._members[name])
        content = b"" if file is None else file.read()
        if len(content) != self.sizes[name]:
            raise WrongFile(self._path / name, "is cut short")
        return content
