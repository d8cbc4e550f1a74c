"""`model.json` of an archive: everything about a version but its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from metricwatch.artifact import MOST_BYTES, MOST_SERIES
from metricwatch.assignments import TrainingRequest
from metricwatch.gate import GateMeasurement
from metricwatch.reported import read_report
from metricwatch_cli.backtest.problems import WrongFile
from metricwatch_cli.versions.archive_limits import CHUNK_PATTERN, FORMAT, MOST_CHUNKS

_Seconds = Annotated[int, Field(ge=0, le=253_402_300_799)]


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        # "model" is a word of ours.
        protected_namespaces=(),
    )


class ArchivedModel(_Part):
    """Where the version came from."""

    namespace: str
    name: str
    version: Annotated[int, Field(ge=1)]


class ArchivedChunk(_Part):
    """One file of parameters.

    Attributes:
        watch: uid of the watch whose series they are.
    """

    file: Annotated[str, Field(pattern=CHUNK_PATTERN)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=1, le=MOST_BYTES)]
    shard: Annotated[int, Field(ge=0, lt=2**31)]
    family: str
    watch: str
    series: Annotated[int, Field(ge=1, le=MOST_SERIES)]


class _Report(BaseModel):
    """What readers of a report rely on; the rest of it is theirs who wrote it."""

    watches: tuple[dict[str, Any], ...] = ()
    series: tuple[dict[str, Any], ...] = ()
    families: dict[str, int] = {}
    seconds: dict[str, float] = {}
    trained: int | None = None
    gate: GateMeasurement | None = None


class Manifest(_Part):
    """`model.json`.

    Attributes:
        description: for people and other programs; what is imported is in the other fields.
    """

    format: Literal[1]
    metricwatch: str
    exported_at: str
    model: ArchivedModel
    description: dict[str, Any]
    code_version: Annotated[str, Field(max_length=200)]
    window_start: _Seconds
    window_end: _Seconds
    data_hash: Annotated[str, Field(max_length=200)]
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)]
    trained_at: _Seconds
    request: dict[str, Any]
    report: dict[str, Any]
    chunks: Annotated[tuple[ArchivedChunk, ...], Field(min_length=1, max_length=MOST_CHUNKS)]

    def asked(self) -> TrainingRequest:
        """What the version was trained for."""
        return TrainingRequest.from_row(self.request)

    def to_json(self) -> bytes:
        """The content of the file."""
        row = self.model_dump(mode="json", by_alias=True)
        return msgspec.json.format(msgspec.json.encode(row), indent=2) + b"\n"


def read_manifest(content: bytes, *, path: Path) -> Manifest:
    """The manifest in a file.

    Args:
        content: of the file.
        path: of the file, for messages.

    Raises:
        WrongFile: it is none, or of a format that this release does not know.
    """
    try:
        row = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WrongFile(path, f"is no JSON: {error}") from error
    if not isinstance(row, dict) or "format" not in row:
        raise WrongFile(path, "has no format: it is not of `metricwatch versions export`")
    if row["format"] != FORMAT:
        raise WrongFile(
            path, f"has format {row['format']!r}, this release reads {FORMAT}: export it anew"
        )
    try:
        manifest = Manifest.model_validate(row)
        manifest.asked()
        _Report.model_validate(manifest.report)
        problems = read_report(manifest.report).problems
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(one) for one in first["loc"])
        raise WrongFile(path, f"{place}: {first['msg']}") from error
    if problems:
        raise WrongFile(path, f"report.{problems[0]}")
    files = [one.file for one in manifest.chunks]
    if len({*files}) < len(files):
        raise WrongFile(path, "chunks: a file is named twice")
    return manifest
