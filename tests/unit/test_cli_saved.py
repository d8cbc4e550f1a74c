"""`metricwatch train` and `metricwatch evaluate`: models that are kept."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli_data import SPIKES, START, STEP, TICKS, write_csv

from metricwatch_cli.backtest.problems import WrongFile
from metricwatch_cli.backtest.saved import load_model
from metricwatch_cli.main import main

Printed = pytest.CaptureFixture[str]
QUICK = ["--jobs", "1"]
LEARN = [*QUICK, "--algorithm", "seasonal"]


def report_of(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((out / "report.json").read_text())
    return loaded


def evaluate(model: Path, data: Path, out: Path, *options: str) -> int:
    return main(
        ["evaluate", str(model), str(data), "--out", str(out), "--no-plots", *QUICK, *options]
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    data = write_csv(folder / "past.csv", spikes=(), seed=1)
    assert main(["train", str(data), "--out", str(folder / "shop.model"), *LEARN]) == 0
    return folder / "shop.model"


def test_a_model_scores_another_file_with_the_same_columns(model: Path, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "now.csv", labels=True)
    assert evaluate(model, data, tmp_path / "out") == 0
    report = report_of(tmp_path / "out")
    assert report["command"] == "evaluate"
    assert report["total"]["samples"] == TICKS
    assert report["total"]["families"] == {"seasonal": 1}
    assert report["total"]["labelled"]["detected"] == len(SPIKES)


def test_rows_before_a_time_are_not_scored(model: Path, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "now.csv")
    begin = str(START + STEP * 1000)
    assert evaluate(model, data, tmp_path / "out", "--from", begin) == 0
    assert report_of(tmp_path / "out")["total"]["samples"] == TICKS - 1000


def test_columns_that_the_model_does_not_know_are_scored_as_new_ones(
    model: Path, tmp_path: Path
) -> None:
    data = write_csv(tmp_path / "now.csv", columns=("value", "other"))
    assert evaluate(model, data, tmp_path / "out") == 0
    (series,) = report_of(tmp_path / "out")["series"]
    families = {one["column"]: one["family"] for one in series["columns"]}
    assert families["value"] == "seasonal"
    assert families["other"] != "seasonal"


def test_a_model_of_another_interval_is_refused(
    model: Path, tmp_path: Path, capsys: Printed
) -> None:
    data = write_csv(tmp_path / "now.csv")
    assert evaluate(model, data, tmp_path / "out", "--interval", "10m") == 2
    assert "pass --interval 300s, or train on such data" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_manifest_names_every_file_with_its_checksum(model: Path) -> None:
    manifest = json.loads((model / "model.json").read_text())
    names = {entry["file"] for entry in manifest["chunks"]}
    assert names | {"model.json"} == {path.name for path in model.iterdir()}
    assert sum(entry["series"] for entry in manifest["chunks"]) == 1


def test_a_zip_file_holds_the_same(model: Path, tmp_path: Path, capsys: Printed) -> None:
    archive = tmp_path / "shop.zip"
    data = write_csv(tmp_path / "past.csv", spikes=(), seed=1)
    assert main(["train", str(data), "--out", str(archive), "--output", "json", *LEARN]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["leftOut"] == []
    assert zipfile.ZipFile(archive).namelist()[0] == "model.json"
    assert load_model(archive).artifacts == load_model(model).artifacts


def test_only_history_is_learned_of_files_that_say_what_is(tmp_path: Path) -> None:
    for name, spikes in (("a", ()), ("b", (TICKS - 10,))):
        write_csv(tmp_path / name / "shop" / "value.csv", spikes=spikes, part=True)
        command = ["train", str(tmp_path / name), "--out", str(tmp_path / f"{name}.model")]
        assert main([*command, *LEARN]) == 0
    assert load_model(tmp_path / "a.model").artifacts == load_model(tmp_path / "b.model").artifacts


def test_too_little_to_learn_is_refused_and_nothing_is_written(
    tmp_path: Path, capsys: Printed
) -> None:
    data = write_csv(tmp_path / "past.csv", ticks=20, spikes=())
    assert main(["train", str(data), "--out", str(tmp_path / "m"), *LEARN]) == 2
    assert "no series can be learned: past value has 20 samples" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_what_is_no_model_is_not_replaced(tmp_path: Path, capsys: Printed) -> None:
    data = write_csv(tmp_path / "past.csv", spikes=())
    (tmp_path / "letters.zip").write_text("dear")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one.txt").write_text("dear")
    for name in ("letters", "letters.zip"):
        assert main(["train", str(data), "--out", str(tmp_path / name), *LEARN]) == 2
        assert "exists and" in capsys.readouterr().err
    assert (tmp_path / "letters" / "one.txt").read_text() == "dear"


def damaged(model: Path, folder: Path, name: str, content: bytes | None) -> Path:
    copy = folder / "copy"
    copy.mkdir()
    for path in model.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    if content is None:
        (copy / name).unlink()
    else:
        (copy / name).write_bytes(content)
    return copy


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("000000.safetensors", b"x" * 100, "does not match its checksum"),
        ("000000.safetensors", None, "has no 000000.safetensors"),
        ("model.json", b"{}", "model.json: is no manifest of a saved model: format"),
        ("model.json", b"[", "is no manifest of a saved model"),
        ("model.json", None, "has no model.json"),
    ],
)
def test_a_damaged_model_is_refused(
    model: Path, tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    with pytest.raises(WrongFile, match=said):
        load_model(damaged(model, tmp_path, name, content))


def test_a_manifest_cannot_lead_out_of_its_folder(model: Path, tmp_path: Path) -> None:
    manifest = json.loads((model / "model.json").read_text())
    manifest["chunks"][0]["file"] = "../../etc/passwd"
    copy = damaged(model, tmp_path, "model.json", json.dumps(manifest).encode())
    with pytest.raises(WrongFile, match=r"chunks\.0\.file"):
        load_model(copy)


def test_no_model_and_no_archive_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match="does not exist: make a model with `metricwatch train`"):
        load_model(tmp_path / "nowhere")
    (tmp_path / "a.zip").write_bytes(b"PK nothing")
    with pytest.raises(WrongFile, match="is no saved model"):
        load_model(tmp_path / "a.zip")
