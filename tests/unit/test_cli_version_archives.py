"""Archives of versions: what was exported can be read, and nothing else."""

import contextlib
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.version_builders import make_report, write_archive

from metricwatch_cli.backtest.problems import WrongFile
from metricwatch_cli.versions import archive as reading
from metricwatch_cli.versions.archive import open_archive

FIRST = "000000.safetensors"


def read(path: Path) -> list[int]:
    """Series of each chunk, after everything was checked."""
    with open_archive(path) as archive:
        return [chunk.series for _, chunk in archive.chunks()]


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    manifest = json.loads((folder / "model.json").read_text())
    change(manifest)
    (folder / "model.json").write_text(json.dumps(manifest))


def pack(folder: Path, out: Path, *more: tuple[tarfile.TarInfo, bytes], mode: str = "w:") -> Path:
    with tarfile.open(out, mode) as archive:  # type: ignore[call-overload]
        for path in sorted(folder.iterdir()):
            archive.add(path, arcname=path.name)
        for member, content in more:
            archive.addfile(member, io.BytesIO(content))
    return out


def member(name: str, **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    content = changes.pop("content", b"")
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, content


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "version")


def test_a_folder_and_a_tar_of_it_can_be_read(folder: Path, tmp_path: Path) -> None:
    assert read(folder) == [2, 2]
    assert read(pack(folder, tmp_path / "version.tar")) == [2, 2]
    with open_archive(folder) as archive:
        assert archive.manifest.model.version == 3
        assert [one.expr for one in archive.manifest.asked().watches[0].queries] == ["up"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format=2), "model.json: has format 2, this release reads 1"),
        (lambda m: m.pop("format"), "model.json: has no format"),
        (lambda m: m.update(extra=1), "model.json: extra: Extra inputs are not permitted"),
        (lambda m: m.update(chunks=[]), "model.json: chunks: .*at least 1"),
        (lambda m: m.update(trainedAt=-1), "model.json: trainedAt: "),
        (lambda m: m["request"].update(watches=[]), "model.json: watches: "),
        (lambda m: m["report"].update(watches="all"), "model.json: watches: "),
        (
            lambda m: m["report"]["watches"][0].update(start="yesterday"),
            r"model.json: report\.watches\.0\.start: ",
        ),
        (lambda m: m["report"].update(gate={"watches": [{}]}), "model.json: gate.watches.0.uid"),
        (lambda m: m["chunks"][0].update(file="../../etc/passwd"), "chunks.0.file: .*pattern"),
        (lambda m: m["chunks"][0].update(file="/etc/passwd"), "chunks.0.file: .*pattern"),
        (lambda m: m["chunks"][0].update(bytes=2**40), "chunks.0.bytes: .*less than"),
        (lambda m: m["chunks"][0].update(series=10**6), "chunks.0.series: .*less than"),
        (lambda m: m["chunks"].append(m["chunks"][0]), "chunks: a file is named twice"),
        (lambda m: m["chunks"].pop(), "000001.safetensors: is not named by model.json"),
        (
            lambda m: m["chunks"][1].update(file="000007.safetensors"),
            "000001.safetensors: is not named",
        ),
        (
            lambda m: m["chunks"].append(m["chunks"][0] | {"file": "000002.safetensors"}),
            "000002.safetensors: is missing, although model.json names it",
        ),
        (lambda m: m["chunks"][0].update(bytes=1), "000000.safetensors: has .* says 1"),
        (
            lambda m: m["chunks"][0].update(sha256="0" * 64),
            "000000.safetensors: artifact does not match its checksum",
        ),
        (
            lambda m: m["chunks"][1].update(watch="watch-2"),
            "000001.safetensors: holds 2 series of family zscore and watch watch-1",
        ),
        (lambda m: m["chunks"][1].update(family="lstm"), "000001.safetensors: holds 2 series"),
    ],
)
def test_a_manifest_that_is_not_right_is_refused_with_the_place(
    folder: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    change_manifest(folder, change)
    with pytest.raises(WrongFile, match=message):
        read(folder)


@pytest.mark.parametrize(
    "text", ["", "[", "null", "[1]", '"x"', "{}", '{"format": NaN}', '{"a": ' + "[" * 100_000]
)
def test_what_is_no_manifest_is_refused(folder: Path, text: str) -> None:
    (folder / "model.json").write_text(text)
    with pytest.raises(WrongFile, match=r"model\.json: (is no JSON|has no format)"):
        read(folder)


def test_a_chunk_that_was_damaged_is_refused(folder: Path) -> None:
    content = bytearray((folder / FIRST).read_bytes())
    content[-1] ^= 1
    (folder / FIRST).write_bytes(content)
    with pytest.raises(WrongFile, match=f"{FIRST}: .*checksum: it was damaged or replaced"):
        read(folder)


def test_a_chunk_that_is_no_model_is_refused_whatever_its_checksum(tmp_path: Path) -> None:
    folder = write_archive(tmp_path / "version", chunks=1)
    content = b"import os" * 10
    (folder / FIRST).write_bytes(content)
    change_manifest(
        folder,
        lambda m: m["chunks"][0].update(
            bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
        ),
    )
    with pytest.raises(WrongFile, match=f"{FIRST}: artifact"):
        read(folder)


def test_a_folder_with_something_else_in_it_is_refused(folder: Path) -> None:
    (folder / "run.sh").write_text("#!/bin/sh")
    with pytest.raises(WrongFile, match=r"holds 'run\.sh', which is no part"):
        read(folder)


def test_links_are_never_followed(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes((folder / FIRST).read_bytes())
    (folder / FIRST).unlink()
    (folder / FIRST).symlink_to(secret)
    with pytest.raises(WrongFile, match=f"{FIRST}: is a link"):
        read(folder)


def test_a_pipe_is_no_file(folder: Path) -> None:
    (folder / FIRST).unlink()
    os.mkfifo(folder / FIRST)
    with pytest.raises(WrongFile, match=f"{FIRST}: is a link, a folder or something else"):
        read(folder)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (member("../evil.safetensors"), "'../evil.safetensors', which is no part"),
        (member("/etc/cron.d/evil"), "'/etc/cron.d/evil', which is no part"),
        (member("a/000005.safetensors"), "which is no part"),
        (member("000005.safetensors\n"), "which is no part"),
        (member("000005.safetensors", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is a link"),
        (member("000005.safetensors", type=tarfile.LNKTYPE, linkname="model.json"), "is a link"),
        (member("000005.safetensors", type=tarfile.CHRTYPE), "is a link, a folder or something"),
        (member("folder", type=tarfile.DIRTYPE), "is a link, a folder"),
        (member(FIRST, content=b"again"), "holds '000000.safetensors' twice"),
        (member("model.json", content=b"{}"), r"holds 'model\.json' twice"),
        (member("000005.safetensors", content=b"more"), "is not named by model.json"),
    ],
)
def test_a_hostile_tar_is_refused(
    folder: Path, tmp_path: Path, more: tuple[tarfile.TarInfo, bytes], message: str
) -> None:
    out = pack(folder, tmp_path / "version.tar", more)
    with pytest.raises(WrongFile, match=message):
        read(out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["version", "version.tar"]


def test_a_tar_that_claims_to_be_huge_is_refused_before_it_is_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MOST_BYTES", 100)
    with pytest.raises(WrongFile, match=r"000000\.safetensors: has \d+ bytes, more than the 100"):
        read(pack(folder, tmp_path / "version.tar"))
    monkeypatch.undo()
    monkeypatch.setattr(reading, "MOST_MANIFEST_BYTES", 10)
    with pytest.raises(WrongFile, match="more than the 10 it may have"):
        read(folder)


def test_a_tar_with_very_many_files_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MOST_CHUNKS", 1)
    with pytest.raises(WrongFile, match="holds more than 1 files"):
        read(pack(folder, tmp_path / "version.tar"))


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w:bz2"])
def test_a_compressed_tar_is_refused(folder: Path, tmp_path: Path, mode: str) -> None:
    with pytest.raises(WrongFile, match="is no uncompressed tar file"):
        read(pack(folder, tmp_path / "version.tar", mode=mode))


def test_a_tar_that_was_cut_short_is_refused(folder: Path, tmp_path: Path) -> None:
    out = pack(folder, tmp_path / "version.tar")
    content = out.read_bytes()
    for end in (0, 100, 600, len(content) // 3):
        out.write_bytes(content[:end])
        with pytest.raises(WrongFile):
            read(out)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    return pack(write_archive(folder / "version", chunks=1), folder / "version.tar")


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 10**6), value=st.integers(0, 255))
def test_no_changed_byte_does_more_harm_than_a_message(
    packed: Path, place: int, value: int
) -> None:
    content = bytearray(packed.read_bytes())
    content[place % len(content)] = value
    out = packed.with_name("changed.tar")
    out.write_bytes(content)
    # Anything else is raised and fails the test.
    with contextlib.suppress(WrongFile):
        read(out)


@pytest.mark.parametrize("name", ["nothing", "nothing.tar"])
def test_what_is_not_there_is_said_to_be_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(WrongFile, match="does not exist"):
        read(tmp_path / name)


def test_a_folder_without_a_manifest_is_no_archive(tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match=r"has no model\.json"):
        read(tmp_path)


def test_what_a_report_says_beyond_what_is_known_is_let_in(tmp_path: Path) -> None:
    folder = write_archive(tmp_path / "v", report=make_report("a") | {"later": {"x": [1]}})
    assert read(folder) == [2, 2]
