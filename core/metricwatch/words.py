"""Text of others, made fit to be shown: in a condition, an event, a log or a terminal."""

from __future__ import annotations


def visible(text: str) -> str:
    r"""The text with everything that is not to be seen written as an escape.

    Control characters (which clear a terminal or write over a line), characters that turn the
    direction of writing, and halves of surrogate pairs, which no UTF-8 can hold. Lines stay.

    >>> visible("\x1b[31mred\x00 and\u202e back\r\n")
    '\\x1b[31mred\\x00 and\\u202e back\\r\n'
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode()
        for one in text
    )


def in_one_line(text: str) -> str:
    r"""The same for a cell of a table, where a line more would look like a row more.

    >>> in_one_line("up\n1  shop")
    'up\\n1  shop'
    """
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def cut(text: str, *, most: int) -> str:
    """The text, or its beginning of so many bytes of UTF-8 at most, with a mark.

    >>> cut("äöü", most=6), cut("äöüä", most=6)
    ('äöü', 'ä…')
    """
    content = text.encode()
    if len(content) <= most:
        return text
    mark = "…"
    return content[: most - len(mark.encode())].decode(errors="ignore") + mark
