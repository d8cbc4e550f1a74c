"""CSV files as the command line reads them: what they become, and what is said of bad ones."""

import gzip
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from metricwatch_cli.backtest.discovery import find_files
from metricwatch_cli.backtest.problems import WrongFile, WrongInput
from metricwatch_cli.backtest.reading import Layout, read_recording
from metricwatch_cli.backtest.recordings import Recording
from metricwatch_cli.backtest.timestamps import TimeReading, find_zone

START = 1_700_000_040


def lines(count: int = 20, step: int = 60) -> list[str]:
    return [f"{START + step * number},{number}.5" for number in range(count)]


class Csv:
    """A file in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "requests.csv"

    def read(self, *rows: str, header: str = "timestamp,value", **layout: object) -> Recording:
        self.path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        return read_recording(self.path, Layout(**layout), dataset="", name="requests")

    def problem(self, *rows: str, header: str = "timestamp,value", **layout: object) -> str:
        with pytest.raises(WrongFile) as caught:
            self.read(*rows, header=header, **layout)
        return str(caught.value).removeprefix(f"{self.path}:")


@pytest.fixture
def csv(tmp_path: Path) -> Csv:
    return Csv(tmp_path)


def test_the_first_half_is_history_and_the_rest_is_walked_through(csv: Csv) -> None:
    recording = csv.read(*lines(20))
    assert (recording.grid.start, recording.grid.step, recording.grid.count) == (START, 60, 20)
    assert recording.history == 10
    assert recording.walked.values.tolist() == [[number + 0.5 for number in range(10, 20)]]
    assert recording.rows.times[0] == START + 600
    assert recording.rows.truth is None
    assert recording.labels == ((("column", "value"),),)


def test_history_ends_at_a_time_when_one_is_given(csv: Csv) -> None:
    assert csv.read(*lines(20), split=START + 301).history == 6
    assert csv.read(*lines(20), split=START + 99_999).rows.count == 0
    assert csv.read(*lines(20), split=None).history == 0


def test_a_part_column_says_what_is_history_and_a_label_column_what_is_odd(csv: Csv) -> None:
    rows = [
        f"{row},{int(number == 9)},{'train' if number < 7 else 'test'}"
        for number, row in enumerate(lines(12))
    ]
    recording = csv.read(*rows, header="timestamp,value,label,part")
    assert recording.history == 7
    assert recording.columns == ("value",)
    assert recording.rows.truth is not None
    assert recording.rows.truth.tolist() == [False, False, True, False, False]


def test_several_columns_empty_cells_and_infinities(csv: Csv) -> None:
    rows = [f"{START},1,2", f"{START + 60},,4", f"{START + 120},inf,nan", f"{START + 180},7,8"]
    recording = csv.read(*rows, header="timestamp,a,b")
    np.testing.assert_array_equal(recording.values, [[1, np.nan, np.nan, 7], [2, 4, np.nan, 8]])
    assert recording.columns == ("a", "b")
    assert recording.notes == ("1 infinite values count as missing",)


def test_only_the_named_columns_are_values(csv: Csv) -> None:
    rows = [f"{row},pod-{number}" for number, row in enumerate(lines(4))]
    recording = csv.read(*rows, header="timestamp,value,pod", columns=("value",))
    assert recording.columns == ("value",)
    assert csv.problem(*rows, header="timestamp,value,pod").startswith(
        "2: 'pod-0' in column 'pod' is no number"
    )


def test_rows_are_put_on_a_regular_grid_and_gaps_are_missing(csv: Csv) -> None:
    times = [0, 61, 119, 300, 362]
    recording = csv.read(*[f"{START + at},{at}" for at in times])
    np.testing.assert_array_equal(recording.values, [[0, 61, 119, np.nan, np.nan, 300, 362]])
    assert recording.rows.ticks.tolist() == [2, 5, 6]


def test_of_rows_that_share_a_tick_the_last_is_sampled(csv: Csv) -> None:
    times = [0, 60, 120, 180, 182, 184, 240, 300, 360, 420]
    recording = csv.read(*[f"{START + at},{at}" for at in times], split=None)
    assert recording.rows.ticks.tolist() == [0, 1, 2, 3, 3, 3, 4, 5, 6, 7]
    assert recording.rows.sampled.tolist() == [at not in (180, 182) for at in times]
    assert recording.values[0, 3] == 184


def test_jitter_loses_no_row(csv: Csv) -> None:
    times = [0, 60, 121, 148, 240, 300]
    recording = csv.read(*[f"{START + at},{at}" for at in times], split=None)
    assert recording.rows.ticks.tolist() == [0, 1, 2, 3, 4, 5]
    late = [0, 60, 120, 149, 151, 300]
    recording = csv.read(*[f"{START + at},{at}" for at in late], split=None, interval=60)
    assert recording.rows.ticks.tolist() == [0, 1, 2, 2, 3, 5]
    twice = [0, 60, 120, 145, 240, 300]
    assert csv.read(*[f"{START + at},{at}" for at in twice], split=None).values[0, 3] == 145


def test_times_may_be_rfc_3339_with_any_offset_or_milliseconds(csv: Csv) -> None:
    utc = csv.read("2023-11-14T22:14:00Z,1", "2023-11-14T23:15:00+01:00,2")
    assert utc.grid.start == START
    assert utc.grid.step == 60
    in_ms = csv.read(f"{START}000,1", f"{START + 60}000,2", times=TimeReading(unit="ms"))
    assert in_ms.grid == utc.grid


def test_times_without_a_zone_are_read_in_the_one_that_is_given(csv: Csv) -> None:
    rows = ["2023-11-14 23:14:00,1", "2023-11-14 23:15:00,2"]
    berlin = TimeReading(zone=ZoneInfo("Europe/Berlin"))
    assert csv.read(*rows, times=berlin).grid.start == START
    assert csv.problem(*rows).startswith(
        "2: '2023-11-14 23:14:00' does not say in which time zone"
    )


def test_the_hour_that_clocks_show_twice_passes_twice(csv: Csv) -> None:
    berlin = TimeReading(zone=ZoneInfo("Europe/Berlin"))
    hours = ["01:30", "02:00", "02:30", "02:00", "02:30", "03:00"]
    recording = csv.read(*[f"2024-10-27 {hour}:00,1" for hour in hours], times=berlin)
    assert recording.grid.step == 1800
    assert recording.grid.count == 6
    assert not np.isnan(recording.values).any()


def test_a_time_that_never_was_in_the_zone_is_named(csv: Csv) -> None:
    berlin = TimeReading(zone=ZoneInfo("Europe/Berlin"))
    hours = ["01:00", "01:30", "02:00", "02:30"]
    problem = csv.problem(*[f"2024-03-31 {hour}:00,1" for hour in hours], times=berlin)
    assert problem.startswith("4: '2024-03-31 02:00:00' never was in Europe/Berlin")


def test_an_unknown_zone_is_refused() -> None:
    assert find_zone(None) is None
    with pytest.raises(
        WrongInput, match=r"no time zone 'Berlin': use a name like .*Europe/Berlin"
    ):
        find_zone("Berlin")


@pytest.mark.parametrize(
    ("place", "row", "said"),
    [
        (
            5,
            "x,1",
            "7: 'x' is no time like the others: write unix seconds like 1700000000 or RFC 3339",
        ),
        (5, ",1", "7: the row has no time"),
        (5, f"{START + 300},one", "7: 'one' in column 'value' is no number"),
        (5, f'{START + 300},"1,5"', "7: '1,5' in column 'value' is no number: write numbers with"),
        (5, f"{START + 240},1", "7: the row has the same time as the row before"),
        (5, f"{START + 60},1", "7: the row is 180 s earlier than the row before: sort the file"),
        (5, f"{START + 300},1,2", "7: the row has 3 cells, but line 1 names 2 columns"),
        (0, f"{START},1,2", "2: the row has 3 cells, but line 1 names 2 columns"),
        (0, f"{START}000,1", f"2: {START}000 is no time in unix seconds: pass --time-unit ms"),
        (0, "-5,1", "2: -5 is no time in unix seconds: correct it"),
        (5, "", "7: the row has no time"),
    ],
)
def test_what_is_wrong_with_a_row_is_said_with_its_line(
    csv: Csv, place: int, row: str, said: str
) -> None:
    rows = lines()
    rows[place] = row
    assert csv.problem(*rows).startswith(said)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("time,value", "1: there is no column 'timestamp', only 'time', 'value': name the right"),
        ("timestamp,label", "1: there is no column with values beside 'timestamp', 'label'"),
        ("timestamp;value", "1: columns seem to be separated by ';': pass --separator ';'"),
        ("", "1: the file is empty: its first line must name the columns"),
    ],
)
def test_what_is_wrong_with_the_first_line_is_said(csv: Csv, header: str, said: str) -> None:
    rows = [row.replace(",", ";") for row in lines()] if ";" in header else lines()
    assert csv.problem(*(rows if header else ()), header=header).startswith(said)


def test_a_column_that_is_there_twice_is_refused(csv: Csv) -> None:
    problem = csv.problem(f"{START},1,2", header="timestamp,value,value")
    assert problem == "1: 'value' is there twice: rename one"


def test_labels_and_parts_must_be_what_they_can_be(csv: Csv) -> None:
    labels = [f"{row},{label}" for row, label in zip(lines(3), ["0", "1", "2"], strict=True)]
    problem = csv.problem(*labels, header="timestamp,value,label")
    assert problem.startswith("4: the label is '2': write 1 for a row that is anomalous")
    parts = [f"{row},{part}" for row, part in zip(lines(3), ["train", "test", "x"], strict=True)]
    assert csv.problem(*parts, header="timestamp,value,part").startswith("4: the part is 'x'")
    back = [f"{row},{part}" for row, part in zip(lines(2), ["test", "train"], strict=True)]
    assert csv.problem(*back, header="timestamp,value,part").startswith(
        "3: a row of part train follows one of part test"
    )


def test_a_file_without_rows_or_with_one_is_refused(csv: Csv) -> None:
    assert "there are no rows" in csv.problem()
    assert "a single row has no interval" in csv.problem(f"{START},1")


def test_an_interval_that_changes_within_the_file_is_refused_unless_one_is_given(csv: Csv) -> None:
    fine = [f"{START + 60 * number},1" for number in range(60)]
    coarse = [f"{START + 3600 + 300 * number},1" for number in range(40)]
    problem = csv.problem(*fine, *coarse)
    line, _, said = problem.partition(": ")
    assert 57 <= int(line) <= 67
    assert said.startswith("around here rows are 5m apart, but 1m in most of the file")
    recording = csv.read(*fine, *coarse, interval=300, split=None)
    assert recording.grid.step == 300
    assert not np.isnan(recording.values).any()


def test_gaps_do_not_change_the_interval(csv: Csv) -> None:
    times = [60 * number for number in range(200) if not 50 <= number < 120]
    assert csv.read(*[f"{START + at},1" for at in times]).grid.count == 200


def test_less_than_a_second_apart_needs_an_interval(csv: Csv) -> None:
    rows = [f"{START + number / 4},{number}" for number in range(40)]
    assert "rows are 0.25 s apart" in csv.problem(*rows)
    assert csv.read(*rows, interval=1).grid.count == 11


def test_a_time_far_away_is_not_ten_million_ticks(csv: Csv) -> None:
    problem = csv.problem(*lines(), "9999999999,1")
    assert problem.startswith("22: from first to last row there are")


def test_few_times_that_repeat_can_be_mended_and_are_noted(csv: Csv) -> None:
    rows = lines(300)
    rows.insert(10, rows[9])
    recording = csv.read(*rows, mend=True)
    assert recording.notes[0].startswith("1 row repeats a time or go back, first in line 12")
    assert (np.diff(recording.rows.ticks) >= 0).all()
    many = [row for row in lines(20) for _ in range(2)]
    assert "same time" in csv.problem(*many, mend=True)


def test_compressed_files_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    text = "\ufeff" + "\n".join(["timestamp,value", *lines()]) + "\n\n"
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    assert read_recording(path, Layout(), dataset="d", name="a").grid.count == 20


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "timestamp,größe\n1,2\n".encode("latin-1"), "is no UTF-8 text"),
        ("a.csv.gz", b"timestamp,value\n1,2\n", "cannot be read as CSV: Not a gzipped file"),
        ("a.csv.gz", gzip.compress(b"timestamp,value\n" * 99)[:40], "cannot be read as CSV"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(WrongFile, match=said):
        read_recording(path, Layout(), dataset="", name="a")


def test_a_folder_means_its_files_and_those_of_its_folders(tmp_path: Path) -> None:
    for name in ("b/two.csv.gz", "a/one.csv", "a/dataset.json", "three.csv"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    found = find_files(tmp_path / "data")
    assert [file.title for file in found] == ["data/three", "a/one", "b/two"]
    assert [file.title for file in find_files(tmp_path / "data", only="b/*")] == ["b/two"]
    (alone,) = find_files(tmp_path / "data" / "a" / "one.csv")
    assert (alone.dataset, alone.name) == ("", "one")


def test_nothing_to_read_and_names_that_are_there_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match="does not exist"):
        find_files(tmp_path / "nowhere")
    with pytest.raises(WrongFile, match=r"no DATASET/SERIES.csv or .csv.gz is in it"):
        find_files(tmp_path)
    (tmp_path / "a.csv").write_text("")
    (tmp_path / "a.csv.gz").write_text("")
    with pytest.raises(WrongInput, match=r"are both .*/a: remove one"):
        find_files(tmp_path)
