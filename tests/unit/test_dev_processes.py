"""Processes of the local cluster are found again, and only they are stopped."""

import dataclasses
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from metricwatch_dev.cluster import processes
from metricwatch_dev.cluster.processes import ProcessRecord

DEAF = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)"


def start(directory: Path, program: str, *, name: str = "sleeper") -> ProcessRecord:
    return processes.start(
        name,
        (sys.executable, "-c", program),
        environment={"WORD": "hello"},
        records=directory / "records",
        logs=directory / "logs",
    )


def wait_for_log(directory: Path, text: str, *, name: str = "sleeper") -> None:
    log = directory / "logs" / f"{name}.log"
    deadline = time.monotonic() + 20
    while text not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


@pytest.fixture
def sleeper(tmp_path: Path) -> ProcessRecord:
    return start(tmp_path, "import time; time.sleep(600)")


def test_a_started_process_is_found_again_and_stopped(
    tmp_path: Path, sleeper: ProcessRecord
) -> None:
    assert processes.find("sleeper", records=tmp_path / "records") == sleeper
    processes.stop(sleeper, grace_seconds=10)
    assert processes.find("sleeper", records=tmp_path / "records") is None
    assert processes.start_time(sleeper.pid) is None


def test_a_process_that_has_the_id_of_an_ended_one_is_not_signalled(
    sleeper: ProcessRecord,
) -> None:
    stranger = dataclasses.replace(sleeper, start_ticks=sleeper.start_ticks - 1)
    assert not processes.is_running(stranger)
    processes.stop(stranger, grace_seconds=0)
    assert processes.is_running(sleeper)
    processes.stop(sleeper, grace_seconds=10)


def test_a_record_of_before_the_last_boot_names_no_process(sleeper: ProcessRecord) -> None:
    earlier = dataclasses.replace(sleeper, boot_id="00000000-0000-0000-0000-000000000000")
    assert not processes.is_running(earlier)
    processes.stop(sleeper, grace_seconds=10)


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    record = start(tmp_path, f"{DEAF}; time.sleep(600)")
    wait_for_log(tmp_path, "up")
    processes.stop(record, grace_seconds=0.2)
    assert not processes.is_running(record)


def test_an_ended_process_that_nobody_has_waited_for_does_not_run(tmp_path: Path) -> None:
    record = start(tmp_path, "pass")
    deadline = time.monotonic() + 20
    while processes.find("sleeper", records=tmp_path / "records") is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not processes.is_running(record)


def test_output_is_appended_to_a_log_only_its_owner_reads(tmp_path: Path) -> None:
    for _ in range(2):
        record = start(tmp_path, "import os; print(os.environ['WORD'], flush=True)")
        while processes.is_running(record):
            time.sleep(0.02)
    log = tmp_path / "logs" / "sleeper.log"
    assert log.read_text() == "hello\nhello\n"
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_daemon_is_no_part_of_the_callers_session(sleeper: ProcessRecord) -> None:
    assert os.getsid(sleeper.pid) == sleeper.pid
    os.kill(sleeper.pid, signal.SIGKILL)


def test_a_damaged_record_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    assert processes.find("x", records=tmp_path) is None
    assert processes.find("never-started", records=tmp_path) is None
