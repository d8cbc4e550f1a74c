"""What commands write, whoever wrote the words: labels, messages of servers, names of files.

Nothing of it may move a cursor, change a colour, turn the direction of writing or forge a line of
a table. JSON stays JSON: there the same is escaped in its own way.
"""

from __future__ import annotations

import json
import sys

from metricwatch.words import visible


def say(text: str) -> None:
    """Writes lines to standard output, and sends them on at once."""
    sys.stdout.write(f"{visible(text)}\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """Writes lines to standard error."""
    sys.stderr.write(f"{visible(text)}\n")


def as_json(value: object) -> str:
    r"""A value as JSON for people and programs.

    >>> print(as_json("ü\u202e\x9b"))
    "ü\u202e\u009b"
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if text.replace("\n", "").isprintable():
        return text
    return "".join(
        one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text
    )
