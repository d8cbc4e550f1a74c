"""`metricwatch backtest`, as a user runs it."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli_data import SPIKES, START, STEP, TICKS, write_csv

from metricwatch_cli.main import main

Printed = pytest.CaptureFixture[str]
SEASONAL = ["--algorithm", "seasonal"]
QUICK = ["--no-plots", "--jobs", "1"]


def report_of(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((out / "report.json").read_text())
    return loaded


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All there is of a labelled file, plots and page included."""
    folder = tmp_path_factory.mktemp("backtest")
    data = write_csv(folder / "requests.csv", labels=True)
    out = folder / "result"
    command = ["backtest", str(data), "--out", str(out), "--jobs", "1", "--inject", "6", *SEASONAL]
    assert main(command) == 0
    return out


def test_every_row_after_the_history_gets_a_score_and_the_spikes_an_alarm(result: Path) -> None:
    rows = rows_of(result / "requests.csv")
    assert len(rows) == TICKS // 2
    assert int(rows[0]["timestamp"]) == START + STEP * TICKS // 2
    alarms = {int(row["timestamp"]) for row in rows if row["is_anomaly"] == "1"}
    assert {START + STEP * spike for spike in SPIKES} <= alarms
    for row in rows:
        assert float(row["score"]) >= 0
    assert all(float(rows[spike - TICKS // 2]["alert_score"]) > 1 for spike in SPIKES)


def test_the_report_counts_events_and_made_up_anomalies_by_kind(result: Path) -> None:
    report = report_of(result)
    assert (report["format"], report["command"]) == (1, "backtest")
    (series,) = report["series"]
    assert (series["series"], series["historyTicks"]) == ("requests", TICKS // 2)
    assert series["labelled"]["events"] == series["labelled"]["detected"] == 2
    assert series["labelled"]["delaySeconds"] == 0
    kinds = {"spike", "levelShift", "drift", "flatLine", "changedSeason", "dropout"}
    injected = report["total"]["injected"]
    assert set(injected) <= kinds | {"all"}
    assert injected["all"]["events"] == sum(
        tally["events"] for kind, tally in injected.items() if kind != "all"
    )
    assert 0 < injected["all"]["detected"] <= injected["all"]["events"] <= 6
    assert report["total"]["samples"] == TICKS // 2


def test_anomalies_are_written_for_spreadsheets_and_programs_alike(result: Path) -> None:
    rows = rows_of(result / "anomalies.csv")
    values = json.loads((result / "anomalies.json").read_text())
    assert [row["startedAt"] for row in rows] == [one["startedAt"] for one in values]
    assert {"2023-11-18T01:15:00Z"} <= {row["startedAt"] for row in rows}
    assert "is above the expected" in values[0]["summary"]
    assert values[0]["column"] == "value"


def test_plots_are_pictures_and_the_page_asks_no_other_host(result: Path) -> None:
    picture = (result / "plots" / "requests.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    page = (result / "report.html").read_text()
    assert "http://" not in page
    assert "https://" not in page
    start = page.index('id="data">') + len('id="data">')
    data = json.loads(page[start : page.index("</script>", start)])
    assert data["series"][0]["title"] == "requests"
    assert data["about"]["report"]["total"] == report_of(result)["total"]
    assert not (result / ".page").exists()


def test_the_table_has_a_line_for_each_series_and_the_total(
    tmp_path: Path, capsys: Printed
) -> None:
    for name in ("one", "two"):
        write_csv(tmp_path / "data" / "shop" / f"{name}.csv", labels=True, part=True)
    out = tmp_path / "out"
    command = ["backtest", str(tmp_path / "data"), "--out", str(out), *QUICK, *SEASONAL]
    assert main(command) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split()[:4] == ["series", "samples", "family", "anomalies"]
    assert [line.split()[0] for line in printed[1:4]] == ["shop/one", "shop/two", "total"]
    assert len({len(line) for line in printed[:4]}) == 1
    assert (out / "shop" / "one.csv").is_file()
    assert not (out / "report.html").exists()


@pytest.fixture(scope="module")
def pump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pump")
    return write_csv(folder / "pump.csv", columns=("flow", "heat", "noise"))


def test_several_columns_are_one_system_and_the_one_to_blame_is_named_first(
    pump: Path, tmp_path: Path
) -> None:
    command = ["backtest", str(pump), "--out", str(tmp_path / "out"), *QUICK, "--inject", "6"]
    assert main(command) == 0
    rows = rows_of(tmp_path / "out" / "pump.csv")
    spike = rows[SPIKES[0] - TICKS // 2]
    assert spike["components"].split(";")[0] == "flow"
    assert sorted(spike["components"].split(";")) == ["flow", "heat", "noise"]
    ranked = sorted(rows, key=lambda row: -float(row["score"]))
    assert spike in ranked[:20]
    (series,) = report_of(tmp_path / "out")["series"]
    assert series["families"] == {"system": 3}
    assert series["weeks"] == pytest.approx(TICKS / 2 * STEP / 604_800, rel=1e-4)
    assert series["injected"]["all"]["events"] > 0


def test_several_columns_can_be_scored_each_by_itself(pump: Path, tmp_path: Path) -> None:
    command = ["backtest", str(pump), "--out", str(tmp_path / "out"), *QUICK, *SEASONAL]
    assert main([*command, "--multivariate", "no"]) == 0
    spike = rows_of(tmp_path / "out" / "pump.csv")[SPIKES[0] - TICKS // 2]
    assert spike["components"].split(";")[0] == "flow"
    assert spike["is_anomaly"] == "1"
    (series,) = report_of(tmp_path / "out")["series"]
    assert [one["column"] for one in series["columns"]] == ["flow", "heat", "noise"]
    assert series["weeks"] == pytest.approx(3 * TICKS / 2 * STEP / 604_800, rel=1e-4)


def test_json_on_standard_output_is_the_report(tmp_path: Path, capsys: Printed) -> None:
    data = write_csv(tmp_path / "requests.csv", ticks=700, spikes=())
    out = tmp_path / "out"
    assert main(["backtest", str(data), "--out", str(out), "--output", "json", *QUICK]) == 0
    assert json.loads(capsys.readouterr().out) == report_of(out)


def test_manifests_and_options_say_how_to_learn_and_judge(tmp_path: Path) -> None:
    manifests = tmp_path / "manifests.yaml"
    manifests.write_text(
        "apiVersion: metricwatch.io/v1alpha1\n"
        "kind: AnomalyModel\n"
        "metadata: {name: shop}\n"
        "spec: {algorithm: {type: zscore}, training: {minSamples: 50, window: 1d}}\n"
        "---\n"
        "apiVersion: metricwatch.io/v1alpha1\n"
        "kind: MetricWatch\n"
        "metadata: {name: shop}\n"
        "spec: {modelRef: {name: shop}, query: up, detection: {direction: below}}\n"
    )
    data = write_csv(tmp_path / "requests.csv", labels=True)
    given = ["--model", str(manifests), "--watch", str(manifests)]
    out = tmp_path / "out"
    command = ["backtest", str(data), "--out", str(out), *given, *QUICK]
    assert main([*command, "--false-alarms-per-week", "2"]) == 0
    report = report_of(out)
    assert report["settings"]["direction"] == "below"
    assert report["settings"]["falseAlarmsPerWeek"] == 2
    assert report["total"]["families"] == {"zscore": 1}
    assert report["total"]["labelled"]["detected"] == 0


def test_a_short_history_is_scored_as_a_new_series_is_and_the_report_says_so(
    tmp_path: Path, capsys: Printed
) -> None:
    data = write_csv(tmp_path / "requests.csv", ticks=120, spikes=(110,))
    assert main(["backtest", str(data), "--out", str(tmp_path / "out"), *QUICK]) == 0
    assert "it is scored as a new series is" in capsys.readouterr().out


def test_every_bad_file_is_named_and_nothing_is_written(tmp_path: Path, capsys: Printed) -> None:
    good = write_csv(tmp_path / "data" / "shop" / "good.csv")
    good.with_name("bad.csv").write_text(good.read_text() + "soon,1\n")
    good.with_name("worse.csv").write_text(good.read_text().replace("timestamp", "time"))
    out = tmp_path / "out"
    assert main(["backtest", str(tmp_path / "data"), "--out", str(out), *QUICK]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert f"bad.csv:{TICKS + 2}: 'soon' is no time" in said[0]
    assert "worse.csv:1: there is no column 'timestamp'" in said[1]
    assert list(tmp_path.iterdir()) == [tmp_path / "data"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--time-zone", "Mars"], "there is no time zone 'Mars'"),
        (["--algorithm", "oracle"], "--algorithm: "),
        (["--false-alarms-per-week", "0"], "--false-alarms-per-week: "),
        (["--train-until", "soon"], "--train-until: 'soon' is no time"),
        (["--url", "http://localhost:1"], "give DATA or --url and --query, not both"),
        (["--model", "nowhere.yaml"], "nowhere.yaml: No such file or directory"),
    ],
)
def test_options_that_cannot_be_used_are_refused(
    tmp_path: Path, capsys: Printed, options: list[str], said: str
) -> None:
    data = write_csv(tmp_path / "requests.csv", ticks=50, spikes=())
    out = tmp_path / "out"
    assert main(["backtest", str(data), "--out", str(out), *QUICK, *options]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_an_earlier_result_is_replaced_and_anything_else_is_kept(
    tmp_path: Path, capsys: Printed
) -> None:
    data = write_csv(tmp_path / "requests.csv", ticks=200, spikes=())
    out = tmp_path / "out"
    command = ["backtest", str(data), "--out", str(out), *QUICK]
    assert main(command) == 0
    (out / "old.csv").write_text("")
    assert main(command) == 0
    assert not (out / "old.csv").exists()
    (out / "report.json").unlink()
    assert main(command) == 2
    assert "is no earlier result" in capsys.readouterr().err
    assert (out / "requests.csv").exists()


def test_processes_give_what_one_process_gives(tmp_path: Path) -> None:
    for seed in range(3):
        write_csv(tmp_path / "data" / "shop" / f"{seed}.csv", ticks=400, spikes=(300,), seed=seed)
    for jobs in ("1", "2"):
        out = str(tmp_path / jobs)
        command = ["backtest", str(tmp_path / "data"), "--out", out, "--no-plots", *SEASONAL]
        assert main([*command, "--jobs", jobs]) == 0
    for seed in range(3):
        one, other = (rows_of(tmp_path / jobs / f"shop/{seed}.csv") for jobs in ("1", "2"))
        assert [row["is_anomaly"] for row in one] == [row["is_anomaly"] for row in other]
        scores = [[float(row["alert_score"]) for row in rows] for rows in (one, other)]
        # A product of more rows may round differently.
        assert scores[0] == pytest.approx(scores[1], rel=1e-4)


def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path) -> None:
    for seed in range(6):
        write_csv(tmp_path / "data" / "shop" / f"{seed}.csv", ticks=20_000, seed=seed)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "metricwatch_cli.main", "backtest", str(tmp_path / "data")]
    process = subprocess.Popen(
        [*command, "--out", str(out), "--jobs", "2", "--no-plots"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    # Two workers and who looks after what they share. Most of their work is to be done yet.
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None and len(children.read_text().split()) < 3:
        time.sleep(0.02)
    assert list(tmp_path.glob(".out.partial-*"))
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "interrupted, nothing was written" in said
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
