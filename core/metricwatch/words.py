"""Text of others, made fit to be shown: in a condition, an event, a log or a terminal."""

from __future__ import annotations


def visible(text: str) -> str:
    r"""The text with everything that is not to be seen written as an escape.

    Control characters (which clear a terminal or forge a line), characters that turn the direction
    of writing, and halves of surrogate pairs, which no UTF-8 can hold. White space stays.

    >>> visible("\x1b[31mred\x00 and\u202e back\n")
    '\\x1b[31mred\\x00 and\\u202e back\n'
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one.isspace() else one.encode("unicode_escape").decode()
        for one in text
    )


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
