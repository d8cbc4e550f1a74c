"""Processes of the local cluster: started once, found again later, stopped exactly.

A process is known by its id together with the kernel's boot id and its start time, so that an id
the kernel has given to somebody else meanwhile is never signalled.
"""

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """One process that was started."""

    pid: int
    start_ticks: int
    boot_id: str


def start(
    name: str,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    records: Path,
    logs: Path,
) -> ProcessRecord:
    """Start a daemon in a session of its own, its output appended to `<logs>/<name>.log`."""
    records.mkdir(parents=True, exist_ok=True)
    logs.mkdir(parents=True, exist_ok=True)
    log = str(logs / f"{name}.log")
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        arguments[0],
        list(arguments),
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    started = start_time(pid)
    record = ProcessRecord(pid, -1 if started is None else started, _boot_id())
    (records / f"{name}.json").write_text(json.dumps(asdict(record)))
    return record


def find(name: str, *, records: Path) -> ProcessRecord | None:
    """Return the running process of that name, or None when it never ran or has ended."""
    try:
        record = ProcessRecord(**json.loads((records / f"{name}.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return record if is_running(record) else None


def is_running(record: ProcessRecord) -> bool:
    """Return whether this very process, not a later one with its id, still runs."""
    return record.boot_id == _boot_id() and start_time(record.pid) == record.start_ticks


def stop(record: ProcessRecord, *, grace_seconds: float) -> None:
    """Ask the process to end, and kill it when it has not after `grace_seconds`."""
    for number, patience in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 5.0)):
        if not is_running(record):
            return
        with suppress(ProcessLookupError):
            os.kill(record.pid, number)
        deadline = time.monotonic() + patience
        while is_running(record) and time.monotonic() < deadline:
            time.sleep(0.05)


def start_time(pid: int) -> int | None:
    """Return when the process started, in clock ticks since boot; None when it has ended."""
    _reap(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name may hold spaces and parentheses; what follows its last ")" is regular.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        # Started by an earlier command: its parent is init now.
        return


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
