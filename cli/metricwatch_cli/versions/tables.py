"""Values as lines of text: columns that line up, times, shares and sizes for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from metricwatch.words import in_one_line


def lined_up(rows: Sequence[Sequence[str]], *, indent: str = "") -> str:
    """Rows of cells as a table.

    >>> print(lined_up([["A", "LONG"], ["1", "2"], ["333", ""]]))
    A    LONG
    1    2
    333
    """
    shown = [[in_one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in shown
    )
    return "\n".join(f"{indent}{line}".rstrip() for line in lines)


def time_of(seconds: int | None) -> str | None:
    """A time in RFC 3339.

    >>> time_of(1700000000)
    '2023-11-14T22:13:20Z'
    """
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def percent(share: float | None) -> str:
    """A share with as many digits as small ones need.

    >>> percent(0.5), percent(0.00123), percent(None)
    ('50.0 %', '0.12 %', '-')
    """
    if share is None:
        return "-"
    return f"{100 * share:.1f} %" if share >= 0.1 or share == 0 else f"{100 * share:.2f} %"


def size(count: int) -> str:
    """So many bytes, in a unit that suits.

    >>> size(512), size(3 * 1024 * 1024)
    ('512 B', '3.0 MiB')
    """
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
