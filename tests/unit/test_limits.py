"""Everything that others decide the size of has a limit: it may be reached, and not passed.

What docs/security.md says of limits is held against what the code does.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.version_builders import make_content, write_archive

from metricwatch import artifact
from metricwatch.artifact import ArtifactError, unpack
from metricwatch.resources import API_VERSION, MOST_WATCHES, InvalidResource, parse_watch
from metricwatch.resources.crd import build_crds
from metricwatch.sources.config import SourceConfig
from metricwatch.sources.decode import MOST_LABEL_BYTES, LabelOrder
from metricwatch.sources.decompression import read_bounded
from metricwatch.sources.errors import SourceRefused, quote
from metricwatch.words import cut
from metricwatch_cli.backtest.problems import WrongFile
from metricwatch_cli.versions import archive, archive_limits
from metricwatch_detector.exposition import LONGEST_VALUE, WatchLabels, render_labels
from metricwatch_detector.http import HttpServer, Response
from metricwatch_operator.planning.conditions import (
    LONGEST_MESSAGE,
    ConditionType,
    Finding,
    next_conditions,
    parse_time,
)

SECURITY = Path(__file__).parents[2] / "docs/security.md"
MIB = 2**20
NOW = parse_time("2026-03-01T12:00:00Z")


def documented_limits() -> dict[str, str]:
    """The table under `## Limits`: of what, and the limit."""
    section = SECURITY.read_text().partition("\n## Limits\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return {row[0].strip(): row[1].strip() for row in rows[2:]}


def test_the_documented_limits_are_those_of_the_code() -> None:
    most_bytes = SourceConfig(url="http://vm:8428").max_response_bytes
    assert documented_limits() == {
        "watches of a model": f"{MOST_WATCHES}",
        "series of a watch": "`maxSeries`, at most 100,000",
        "every string, list and map of a spec": (
            "`maxLength`, `maxItems`, `maxProperties` in the CRD"
        ),
        "a manifest": "1,000,000 characters, if everything in it is as long as it may be",
        "a query": "8,192 characters, 32 queries in a watch",
        "an answer of a source": f"{most_bytes // MIB} MiB, decompressed (gzip, once)",
        "the labels of a series": f"{MOST_LABEL_BYTES:,} bytes",
        "what a server is quoted with": "300 characters, one line",
        "a label value in `/metrics`": f"{LONGEST_VALUE} characters",
        "a request to a detector": "16 KiB, 64 at a time, 10 s each",
        "a condition's message": f"{LONGEST_MESSAGE:,} characters",
        "an event's note": "1,024 bytes",
        "an artifact": (
            f"{artifact.MOST_BYTES // MIB} MiB, {artifact.MOST_SERIES:,} series, "
            f"{artifact.MOST_HEADER_BYTES // MIB} MiB of description"
        ),
        "an exported version": (
            f"{archive_limits.MOST_MANIFEST_BYTES // MIB} MiB of `model.json`, "
            f"{archive_limits.MOST_CHUNKS:,} files"
        ),
    }


def _watch(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "MetricWatch",
        "metadata": {"name": "latency", "namespace": "shop"},
        "spec": {"modelRef": {"name": "checkout"}, **spec},
    }


def _queries(count: int) -> list[dict[str, str]]:
    return [{"name": f"q{number}", "expr": "up"} for number in range(count)]


@pytest.mark.parametrize(
    ("most", "beyond", "named"),
    [
        ({"query": "x" * 8192}, {"query": "x" * 8193}, "spec.query"),
        ({"queries": _queries(32)}, {"queries": _queries(33)}, "spec.queries"),
        (
            {"query": "up", "maxSeries": 100_000},
            {"query": "up", "maxSeries": 100_001},
            "spec.maxSeries",
        ),
        (
            {"query": "up", "source": {"headers": {f"X-{n}": "x" * 1024 for n in range(16)}}},
            {"query": "up", "source": {"headers": {"X-1": "x" * 1025}}},
            "spec.source.headers",
        ),
        (
            {"query": "up", "groupBy": [f"l{n}" for n in range(16)]},
            {"query": "up", "groupBy": [f"l{n}" for n in range(17)]},
            "spec.groupBy",
        ),
    ],
)
def test_a_manifest_may_be_so_large_and_is_refused_beyond(
    most: Mapping[str, Any], beyond: Mapping[str, Any], named: str
) -> None:
    parse_watch(_watch(**most))
    with pytest.raises(InvalidResource) as caught:
        parse_watch(_watch(**beyond))
    assert any(path.startswith(named) for path, _ in caught.value.problems)


def _longest(schema: Mapping[str, Any]) -> int:
    """Characters of the longest JSON that a schema lets in, names of maps aside."""
    kind = schema.get("type")
    if "enum" in schema:
        return max(len(str(word)) for word in schema["enum"]) + 2
    if kind == "string" or "x-kubernetes-int-or-string" in schema:
        return int(schema.get("maxLength", 64)) + 2
    if kind == "array":
        return int(schema["maxItems"]) * (_longest(schema["items"]) + 1) + 2
    if "additionalProperties" in schema:
        return int(schema["maxProperties"]) * (320 + _longest(schema["additionalProperties"]))
    if kind == "object":
        fields = schema.get("properties", {})
        return sum(len(name) + 4 + _longest(field) for name, field in fields.items()) + 2
    return 24


def test_the_largest_spec_that_the_schema_lets_in_fits_into_etcd() -> None:
    for crd in build_crds().values():
        schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        assert 50_000 < _longest(schema["properties"]["spec"]) < 1_000_000


async def _parts(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_an_answer_is_read_up_to_its_limit_and_one_byte_further(encoding: str) -> None:
    def sent(count: int) -> AsyncIterator[bytes]:
        body = b"x" * count
        packed = gzip.compress(body) if encoding else body
        return _parts(packed[:7], packed[7:])

    for length, read in ((999, 999), (1000, 1000), (1001, 1001), (100_000, 1001)):
        body = await read_bounded(sent(length), encoding=encoding, most=1000)
        assert len(body) == read


async def test_no_more_of_an_endless_answer_is_asked_for_than_its_limit() -> None:
    asked = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield b"x" * 100

    await read_bounded(endless(), encoding="", most=1000)
    assert asked == 11


def test_labels_may_be_so_long() -> None:
    def metric(size: int) -> bytes:
        return b'{"pod":"' + b"x" * (size - 10) + b'"}'

    LabelOrder().arrange([metric(MOST_LABEL_BYTES)])
    with pytest.raises(SourceRefused, match="aggregate the query, or drop its long labels"):
        LabelOrder().arrange([metric(MOST_LABEL_BYTES + 1)])


def test_words_are_cut_where_their_limit_is() -> None:
    assert quote("x" * 300) == "x" * 300
    assert quote("x" * 301) == "x" * 299 + "…"
    assert cut("x" * 1024, most=1024) == "x" * 1024
    assert len(cut("x" * 1025, most=1024).encode()) == 1024

    def message(length: int) -> str:
        finding = Finding(ConditionType.READY, False, "Pending", "x" * length)
        (condition,) = next_conditions((), [finding], generation=1, now=NOW)
        return str(condition["message"])

    assert message(LONGEST_MESSAGE) == "x" * LONGEST_MESSAGE
    assert message(LONGEST_MESSAGE + 1) == "x" * (LONGEST_MESSAGE - 1) + "…"


def test_a_label_value_is_shown_up_to_its_limit() -> None:
    def shown(length: int) -> str:
        watch = WatchLabels("shop", "latency", "checkout")
        return render_labels(watch, (("q", "x" * length),)).rpartition('q="')[2].rstrip('"')

    assert shown(LONGEST_VALUE) == "x" * LONGEST_VALUE
    beyond = shown(LONGEST_VALUE + 1)
    assert len(beyond) == LONGEST_VALUE
    assert "~" in beyond


def _described(content: bytes, length: int) -> bytes:
    """The artifact with its description filled up with blanks to so many bytes."""
    own = int.from_bytes(content[:8], "little")
    description = content[8 : 8 + own].ljust(length)
    return length.to_bytes(8, "little") + description + content[8 + own :]


def test_the_description_of_an_artifact_may_be_so_long() -> None:
    content = make_content()
    assert unpack(_described(content, artifact.MOST_HEADER_BYTES)).series == 2
    with pytest.raises(ArtifactError, match="description of 33554440 bytes is larger than"):
        unpack(_described(content, artifact.MOST_HEADER_BYTES + 8))


def test_an_artifact_may_be_so_large(monkeypatch: pytest.MonkeyPatch) -> None:
    content = make_content()
    monkeypatch.setattr(artifact, "MOST_BYTES", len(content))
    assert unpack(content).series == 2
    monkeypatch.setattr(artifact, "MOST_BYTES", len(content) - 1)
    with pytest.raises(ArtifactError, match=f"{len(content)} bytes is larger than"):
        unpack(content)


def test_an_artifact_may_hold_so_many_series(monkeypatch: pytest.MonkeyPatch) -> None:
    content = make_content(series=2)
    monkeypatch.setattr(artifact, "MOST_SERIES", 2)
    assert unpack(content).series == 2
    monkeypatch.setattr(artifact, "MOST_SERIES", 1)
    with pytest.raises(ArtifactError, match="holds 2 series"):
        unpack(content)


def test_an_exported_version_may_be_so_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_archive(tmp_path / "version", chunks=2)
    size = (folder / "model.json").stat().st_size

    def read(*, most: int, files: int) -> int:
        monkeypatch.setattr(archive, "MOST_MANIFEST_BYTES", most)
        monkeypatch.setattr(archive, "MOST_CHUNKS", files)
        with archive.open_archive(folder) as opened:
            return len(list(opened.chunks()))

    assert read(most=size, files=2) == 2
    with pytest.raises(WrongFile, match=f"more than the {size - 1} it may have"):
        read(most=size - 1, files=2)
    with pytest.raises(WrongFile, match="holds more than 1 files"):
        read(most=size, files=1)


async def test_a_request_to_a_detector_may_be_so_long() -> None:
    server = await HttpServer({"/x": lambda: Response(b"ok\n")}).start(port=0, host="127.0.0.1")
    line = b"GET /x HTTP/1.1\r\nX: "
    try:
        for length, status in ((16 * 1024, b"200"), (16 * 1024 + 1, b"431")):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(line.ljust(length, b"x") + b"\r\n\r\n")
            assert (await reader.read()).split(b" ")[1] == status
            writer.close()
    finally:
        await server.close()


async def test_so_many_may_ask_a_detector_at_a_time() -> None:
    server = await HttpServer({"/x": lambda: Response(b"ok\n")}).start(port=0, host="127.0.0.1")
    opened = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(64)]
    try:
        # Who comes when all are waited for is let go without a word.
        reader, late = await asyncio.open_connection("127.0.0.1", server.port)
        assert await reader.read() == b""
        late.close()
        first, writer = opened[0]
        writer.write(b"GET /x HTTP/1.1\r\n\r\n")
        assert (await first.read()).startswith(b"HTTP/1.1 200")
    finally:
        for _, writer in opened:
            writer.close()
        await server.close()
