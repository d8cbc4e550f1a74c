"""Ordered rules that decide: the first one that is broken says why, in a word and in a sentence.

A decision is a tuple of named functions over one frozen input, so that it can be read line by
line, shown in a table and tested rule by rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

Input = TypeVar("Input")


@dataclass(frozen=True, slots=True)
class Violation:
    """What the first broken rule says.

    Attributes:
        reason: one word, for a condition or a column.
        message: one sentence for people.
    """

    reason: str
    message: str


Rule = Callable[[Input], Violation | None]
Chain = tuple[Rule[Input], ...]


def evaluate(chain: Iterable[Rule[Input]], given: Input) -> Violation | None:
    """What the first broken rule of a chain says; None when all of them hold."""
    return next((broken for rule in chain if (broken := rule(given)) is not None), None)
