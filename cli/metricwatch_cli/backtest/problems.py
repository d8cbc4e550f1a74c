"""What is wrong with what a user gave, and what to do about it."""

from __future__ import annotations

from pathlib import Path

WRONG_INPUT = 2
"""Exit status of a command that could not use what it was given; nothing was written."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


class WrongInput(Exception):
    """Data, a manifest, a model or an option cannot be used; the message says what to do."""


class WrongFile(WrongInput):
    """A file cannot be used.

    The message begins like that of a compiler, `FILE:LINE: `, so that editors find the place.
    """

    def __init__(self, path: Path | str, message: str, *, line: int | None = None) -> None:
        self.line = line
        place = f"{path}:{line}" if line is not None else f"{path}"
        super().__init__(f"{place}: {message}")
