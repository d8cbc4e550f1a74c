"""`metricwatch versions export`: a version as a folder or a .tar file."""

from __future__ import annotations

import argparse
import io
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from metricwatch import __version__
from metricwatch.artifact import ArtifactError, unpack
from metricwatch.store.artifacts import read_artifacts
from metricwatch.store.pool import Database
from metricwatch.store.rows import Artifact, ModelOverview, Version
from metricwatch_cli.backtest.problems import WrongFile, WrongInput
from metricwatch_cli.backtest.staging import refuse_foreign, staged
from metricwatch_cli.terminal import as_json
from metricwatch_cli.versions.archive_limits import FORMAT, MANIFEST, TAR
from metricwatch_cli.versions.asking import find_model, full_version, opened
from metricwatch_cli.versions.describing import describe
from metricwatch_cli.versions.manifest import ArchivedChunk, ArchivedModel, Manifest
from metricwatch_cli.versions.tables import size, time_of

_EPOCH = 315_532_800
"""1980-01-01: the same version gives the same file."""


async def run(options: argparse.Namespace) -> str:
    """Write the archive and say what is in it."""
    async with opened(options) as database:
        overview = await find_model(database, options)
        version = await full_version(database, overview, options.version)
        if version.trained_at is None:
            raise WrongInput(f"version {version.version} is {version.state}: it was not trained")
        with _target(options.out) as folder:
            chunks = [one async for one in _write_chunks(database, version, folder)]
            manifest = describe_archive(overview, version, chunks)
            (folder / MANIFEST).write_bytes(manifest.to_json())
    written = sum(one.bytes for one in chunks)
    if options.output == "json":
        return as_json({"out": str(options.out), "chunks": len(chunks), "bytes": written})
    return (
        f"version {version.version} of {overview.namespace}/{overview.name}: "
        f"{len(chunks)} chunks, {size(written)} in {options.out}"
    )


def describe_archive(
    overview: ModelOverview, version: Version, chunks: list[ArchivedChunk]
) -> Manifest:
    """The manifest of a version.

    Raises:
        WrongInput: it has no parameters.
    """
    if not chunks:
        raise WrongInput(f"version {version.version} has no parameters in the database")
    return Manifest(
        format=FORMAT,
        metricwatch=__version__,
        exported_at=time_of(int(time.time())) or "",
        model=ArchivedModel(
            namespace=overview.namespace, name=overview.name, version=version.version
        ),
        description=describe(version),
        code_version=version.code_version,
        window_start=version.window_start or 0,
        window_end=version.window_end or 0,
        data_hash=version.data_hash or "",
        seed=version.seed or 0,
        trained_at=version.trained_at or 0,
        request=dict(version.request),
        report=dict(version.report or {}),
        chunks=tuple(chunks),
    )


async def _write_chunks(
    database: Database, version: Version, folder: Path
) -> AsyncIterator[ArchivedChunk]:
    async with _reading(database, version) as artifacts:
        number = 0
        async for one in artifacts:
            checksum = one.sha256.hex()
            try:
                unpack(one.content, checksum=checksum)
            except ArtifactError as error:
                raise WrongInput(
                    f"version {version.version}, shard {one.shard} chunk {one.chunk}: {error}"
                ) from error
            file = f"{number:06}.safetensors"
            (folder / file).write_bytes(one.content)
            number += 1
            yield ArchivedChunk(
                file=file,
                sha256=checksum,
                bytes=len(one.content),
                shard=one.shard,
                family=one.family,
                watch=one.watch_uid,
                series=one.series,
            )


@asynccontextmanager
async def _reading(database: Database, version: Version) -> AsyncIterator[AsyncIterator[Artifact]]:
    async with database.acquire() as connection:
        yield read_artifacts(connection, version_id=version.id)


@contextmanager
def _target(out: Path) -> Iterator[Path]:
    """A folder to write to; it becomes `out`, or a .tar file of that name."""
    if out.suffix != TAR:
        refuse_foreign(out, marker=MANIFEST)
        with staged(out, marker=MANIFEST) as folder:
            yield folder
        return
    if out.exists() and not (out.is_file() and tarfile.is_tarfile(out)):
        raise WrongFile(out, "exists and is no tar file: give another name, or remove it")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=f".{out.name}.partial-", dir=out.parent)
    except OSError as error:
        raise WrongFile(out, f"cannot be written: {error.strerror or error}") from error
    with temporary as folder_name:
        folder = Path(folder_name) / "content"
        folder.mkdir()
        yield folder
        packed = Path(folder_name) / "packed"
        _pack(folder, packed)
        packed.replace(out)


def _pack(folder: Path, packed: Path) -> None:
    """The manifest first, so that whoever lists the archive sees what it is."""
    names = sorted(path.name for path in folder.iterdir())
    with tarfile.open(packed, "w:", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(names, key=lambda one: (one != MANIFEST, one)):
            content = (folder / name).read_bytes()
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(content), _EPOCH, 0o644
            archive.addfile(member, io.BytesIO(content))
