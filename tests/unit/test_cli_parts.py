"""What the commands are made of: progress, thinning, staging, sources, blocks."""

import io
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.spread_work import doubled, until_stopped

from metricwatch.resources import Source
from metricwatch.series import Grid
from metricwatch_cli.backtest.meter import Meter, format_left
from metricwatch_cli.backtest.problems import WrongFile, WrongInput
from metricwatch_cli.backtest.queries import (
    file_names,
    grid_between,
    parse_moment,
    source_config,
)
from metricwatch_cli.backtest.recordings import Recording, Rows, blocks_of, stack
from metricwatch_cli.backtest.session import guarded
from metricwatch_cli.backtest.spreading import spread
from metricwatch_cli.backtest.staging import staged
from metricwatch_cli.backtest.thinning import thin


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_terminal_sees_one_line_with_the_time_left() -> None:
    clock, stream = Clock(), Terminal()
    meter = Meter("backtest", 100.0, stream, clock=clock)
    meter.show(0.0)
    clock.now = 30.0
    meter.show(25.0)
    meter.end()
    assert stream.getvalue().startswith("\rbacktest:   0%\rbacktest:  25%, 1:30 left")
    assert stream.getvalue().endswith(" \r")
    assert "\n" not in stream.getvalue()


def test_a_log_gets_a_line_now_and_then_and_silence_nothing() -> None:
    clock, stream = Clock(), io.StringIO()
    meter = Meter("train", 10.0, stream, clock=clock)
    for clock.now in (0.0, 1.0, 2.0, 6.0):
        meter.show(clock.now)
    meter.end()
    assert stream.getvalue().splitlines() == ["train:   0%", "train:  60%, 0:04 left"]
    Meter("train", 10.0, None).show(5.0)


def test_hours_are_shown_where_there_are_any() -> None:
    assert (format_left(59.6), format_left(3599), format_left(7322)) == (
        "1:00",
        "59:59",
        "2:02:02",
    )


@given(
    count=st.integers(0, 3000),
    most=st.integers(20, 400),
    spike=st.integers(0, 2999),
    seed=st.integers(0, 9),
)
def test_thinning_keeps_spikes_and_ends_and_stays_small(
    count: int, most: int, spike: int, seed: int
) -> None:
    values = np.random.default_rng(seed).normal(size=count)
    score = np.zeros(count)
    if count:
        values[spike % count] = 100.0
        score[(spike * 7) % count] = 5.0
    at = thin(values, score, np.zeros(count, np.bool_), most=most)
    assert (np.diff(at) > 0).all()
    assert len(at) <= max(most + 5, min(count, most))
    if count:
        assert {0, count - 1, spike % count, (spike * 7) % count} <= set(at.tolist())


def test_thinning_keeps_all_samples_of_what_is_important() -> None:
    values = np.zeros(10_000)
    important = np.zeros(10_000, np.bool_)
    important[5000:5040] = True
    at = set(thin(values, values, important, most=400).tolist())
    assert set(range(4995, 5045)) <= at
    everything = thin(values, values, ~important, most=400)
    assert len(everything) <= 405


def test_thinning_passes_over_missing_samples() -> None:
    values = np.full(1000, np.nan)
    values[::10] = 1.0
    values[500] = 9.0
    assert 500 in thin(values, np.full(1000, np.nan), np.zeros(1000, np.bool_), most=40)


def test_a_result_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "result"
    with pytest.raises(RuntimeError), staged(out, marker="report.json") as folder:  # noqa: PT012
        (folder / "half").write_text("")
        raise RuntimeError
    assert list(out.parent.iterdir()) == []
    with staged(out, marker="report.json") as folder:
        (folder / "report.json").write_text("{}")
    assert [path.name for path in out.parent.iterdir()] == ["result"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(WrongFile, match="cannot be written"),
        staged(tmp_path / "file" / "out", marker="x"),
    ):
        pass


@pytest.mark.parametrize("jobs", [1, 2])
def test_work_comes_back_in_order_and_what_is_wrong_is_told(jobs: int) -> None:
    meter = Meter("work", 3.0, None)
    assert spread(doubled, [3, 1, 2], jobs=jobs, meter=meter) == [6, 2, 4]
    with pytest.raises(WrongInput, match="-1 is below zero"):
        spread(doubled, [1, -1, 2], jobs=jobs, meter=meter)


class Interrupted(list[Path]):
    """Ctrl-C comes while the second of these is handed to a worker."""

    def __iter__(self) -> Iterator[Path]:
        for number, item in enumerate(super().__iter__()):
            if number == 1:
                signal.pthread_kill(threading.get_ident(), signal.SIGINT)
            yield item


def test_ctrl_c_while_workers_start_ends_them(tmp_path: Path) -> None:
    told = [tmp_path / "one", tmp_path / "two"]
    with pytest.raises(KeyboardInterrupt):
        spread(until_stopped, Interrupted(told), jobs=2, meter=Meter("work", 2.0, None))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1700000000", 1_700_000_000),
        ("2023-11-14T22:13:20Z", 1_700_000_000),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000),
        ("now", 1_700_000_000),
        ("now-1d", 1_700_000_000 - 86_400),
    ],
)
def test_moments_can_be_written_in_several_ways(text: str, moment: int) -> None:
    assert parse_moment(text, "--start", now=1_700_000_000.0) == moment


@pytest.mark.parametrize("text", ["yesterday", "now-", "now-1x", "2023-11-14T22:13:20", "-5"])
def test_what_is_no_moment_is_refused_by_the_name_of_its_option(text: str) -> None:
    with pytest.raises(WrongInput, match=r"^--start: "):
        parse_moment(text, "--start")


def test_a_range_has_ticks_at_multiples_of_the_interval() -> None:
    assert grid_between(100, 400, 60) == Grid(120, 60, 5)
    with pytest.raises(WrongInput, match="--end must be after --start"):
        grid_between(400, 400, 60)
    with pytest.raises(WrongInput, match="change --interval"):
        grid_between(0, 1_000_000_000, 1)


def test_a_source_of_the_options_takes_nothing_from_the_manifests() -> None:
    base = Source(url="http://there:1", headers={"X-Scope": "a"})
    inherited = source_config(None, None, None, None, base)
    assert (inherited.url, inherited.headers) == ("http://there:1", {"X-Scope": "a"})
    own = source_config("http://here:2", None, None, None, base)
    assert (own.url, own.headers) == ("http://here:2", {})
    with pytest.raises(WrongInput, match="needs a url"):
        source_config(None, None, None, None, Source())


def test_names_of_files_are_safe_and_all_different() -> None:
    labels = [
        (("__name__", "up"), ("pod", "a/../b")),
        (("__name__", "up"), ("pod", "a?..?b")),
        (("__name__", "up"), ("pod", "c")),
    ]
    names = file_names(labels)
    assert len(set(names)) == 3
    assert all("/" not in name for name in names)
    assert names[2] == "up,pod=c"


def recording(name: str, columns: int, *, start: int = 0) -> Recording:
    grid = Grid(start, 60, 10)
    ticks = np.arange(5, 10, dtype=np.int64)
    return Recording(
        dataset="",
        name=name,
        columns=tuple(f"{name}{column}" for column in range(columns)),
        labels=tuple((("column", f"{name}{column}"),) for column in range(columns)),
        grid=grid,
        values=np.full((columns, 10), float(len(name))),
        known=np.zeros((columns, 10), np.bool_),
        history=5,
        rows=Rows(times=grid.timestamps()[5:], ticks=ticks, truth=None),
    )


def test_recordings_of_one_grid_make_blocks_for_all_processes() -> None:
    alike = [recording(str(number), 1) for number in range(5)]
    other = recording("late", 2, start=600)
    assert blocks_of([*alike, other], jobs=2) == [[0, 1, 2], [3, 4], [5]]
    assert blocks_of([*alike, other], jobs=1) == [[0, 1, 2, 3, 4], [5]]
    whole = stack(alike[:2])
    assert whole.values.shape == (2, 10)
    assert whole.columns == ("00", "10")


def test_a_package_that_is_not_installed_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> int:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    assert guarded("train", run) == 2
    assert "the package torch is not installed: in a checkout run make" in capsys.readouterr().err
