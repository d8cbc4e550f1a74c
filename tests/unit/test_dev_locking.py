"""A lock between processes is held for as long as anything works that it protects."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

from metricwatch_dev.locking import file_lock

HOLDER = """
import subprocess, sys
from pathlib import Path
from metricwatch_dev.locking import file_lock
with file_lock(Path(sys.argv[1]), waiting_for="a test") as lock:
    child = subprocess.Popen([sys.executable, "-c", "input()"], pass_fds=(lock,))
    print(child.pid, flush=True)
    child.wait()
"""


def is_free(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def test_a_lock_is_free_again_after_its_block(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    with file_lock(path, waiting_for="a test"):
        assert not is_free(path)
    assert is_free(path)


def test_what_a_killed_process_started_keeps_its_lock_while_it_works(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert not is_free(path)
        os.kill(child, signal.SIGKILL)
        with file_lock(path, waiting_for="a test"):
            assert not is_free(path)
