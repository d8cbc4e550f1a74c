"""A clock that is wrong, for one process, and that a test can set while the process runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from metricwatch_dev.binaries import WRONG_CLOCK
from metricwatch_dev.paths import cache_directory


@dataclass(slots=True)
class WrongClock:
    """The time of processes started with `variables`; monotonic clocks go on as they are."""

    file: Path

    def set(self, seconds: int) -> None:
        """Ahead of the true time by so many seconds; within a second processes see it."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        fresh.rename(self.file)

    @property
    def variables(self) -> dict[str, str]:
        """Of the environment of a process."""
        return {
            "LD_PRELOAD": str(cache_directory() / "services" / "bin" / WRONG_CLOCK),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
