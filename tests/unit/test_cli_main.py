"""How the command ends when nobody listens any more, or somebody has had enough."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pytest

from metricwatch.resources import Source
from metricwatch_cli import main as command
from metricwatch_cli import validate
from metricwatch_cli.backtest.problems import WrongInput
from metricwatch_cli.backtest.queries import source_config
from metricwatch_cli.database_commands import DatabaseCommands


def _closed_pipe() -> int:
    """The descriptor of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize("arguments", [["--help"], ["validate", os.devnull]])
def test_who_closes_the_pipe_hears_no_complaint(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with os.fdopen(_closed_pipe(), "w") as nobody:
        monkeypatch.setattr(sys, "stdout", nobody)
        assert command.main(arguments) == command.CLOSED_PIPE
        # What is written on the way out goes nowhere, and does not fail.
        nobody.write("more")
        nobody.flush()
    assert capsys.readouterr().err == ""


def test_ctrl_c_ends_a_command_with_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(validate, "run", interrupted)
    assert command.main(["validate", os.devnull]) == 130
    assert capsys.readouterr().err == "metricwatch: interrupted\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["crds", "--output", "{file}/below"], "metricwatch: {file}/below: Not a directory"),
        (["crds", "--output", "{file}"], "metricwatch: {file}: File exists"),
        (["crds", "--reference", "{folder}"], "metricwatch: {folder}: Is a directory"),
    ],
)
def test_a_place_that_cannot_be_written_is_a_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"file": str(tmp_path / "file"), "folder": str(tmp_path / "folder")}
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    # Never where this is run.
    given = [one.format(**places) for one in arguments]
    if "--output" not in given:
        given += ["--output", str(tmp_path / "crds")]
    assert command.main(given) == 1
    assert capsys.readouterr().err == said.format(**places) + "\n"


def test_what_is_no_text_is_no_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "image.yaml").write_bytes(b"\x89PNG\x80")
    assert command.main(["validate", str(tmp_path)]) == 1
    assert (
        capsys.readouterr().out == f"{tmp_path}/image.yaml: is no text in UTF-8, so no manifest\n"
    )


def test_a_command_that_wants_a_package_of_another_image_names_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def draw(_: argparse.Namespace) -> str:
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")

    parser = argparse.ArgumentParser()
    group = DatabaseCommands("versions", examples="")
    commands = group.register(parser.add_subparsers(), help_text="", description="")
    group.add(commands, "show", draw, "show it")
    options = parser.parse_args(["versions", "show"])
    assert options.run(options) == 2
    assert capsys.readouterr().err == (
        "metricwatch versions show: the package matplotlib is not installed here: "
        "pip install 'metricwatch[cli]'\n"
    )


@pytest.mark.parametrize(
    ("url", "tenant", "said"),
    [
        ("nonsense", None, "write --url like http://prometheus.monitoring:9090"),
        ("http://me@vm:8428", None, "write --url like http://prometheus.monitoring:9090"),
        ("http://vm:8428", "mine", "write --tenant like 12 or 12:3"),
        ("http://vm:99999", None, "Port out of range"),
    ],
)
def test_a_source_that_cannot_be_read_is_refused_with_how_to_write_it(
    url: str, tenant: str | None, said: str
) -> None:
    with pytest.raises(WrongInput, match=said):
        source_config(url, None, None, tenant, Source())
