"""The choices of the detection engine, and what each could be instead."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

from metricwatch.scoring import combining, rates, recurrence, tails

MODULES: dict[str, ModuleType] = {
    "combining": combining,
    "rates": rates,
    "recurrence": recurrence,
    "tails": tails,
}
FOLDED, IN_SAMPLE, NO_LEAD = "folds", "in sample", "no autoregressive"


@dataclass(frozen=True)
class Alternative:
    """Another value of a choice: of a module's constant, a member left out, or other evidence."""

    name: str
    constant: str = ""
    value: float = 0.0
    without: str = ""
    evidence: str = FOLDED
    excludes: bool = True


@dataclass(frozen=True)
class Choice:
    """One decision: what it is by default, and what it could be."""

    name: str
    default: str
    others: tuple[Alternative, ...]


DEFAULT = Alternative("default")
CHOICES = (
    Choice(
        "share of what recurs that is expected",
        "0.7",
        (
            Alternative("0 (off)", "recurrence._EXPECTED_SHARE", 0.0),
            Alternative("1.0", "recurrence._EXPECTED_SHARE", 1.0),
        ),
    ),
    Choice(
        "long votes that count",
        "largest 3",
        (
            Alternative("largest 1", "combining._LARGEST_LONG", 1),
            Alternative("all", "combining._LARGEST_LONG", 99),
        ),
    ),
    Choice(
        "short and long together",
        "vote",
        (Alternative("do not", "combining._BOTH_AHEAD", -1e6),),
    ),
    Choice(
        "members",
        "all five",
        (
            Alternative("no autoregressive", evidence=NO_LEAD),
            Alternative("no seasonal", without="seasonal"),
            Alternative("no subspacePca", without="subspacePca"),
            Alternative("no difference", without="difference"),
            Alternative("no level", without="level"),
        ),
    ),
    Choice(
        "measured share of the slope",
        "0.6",
        (
            Alternative("0.4", "tails._MEASURED_SHARE", 0.4),
            Alternative("0.8", "tails._MEASURED_SHARE", 0.8),
        ),
    ),
    Choice(
        "excess winsorised at, slopes",
        "6",
        (
            Alternative("4", "tails._MOST_EXCESS_IN_SLOPES", 4.0),
            Alternative("10", "tails._MOST_EXCESS_IN_SLOPES", 10.0),
        ),
    ),
    Choice("evidence that calibrates", "4 folds", (Alternative(IN_SAMPLE, evidence=IN_SAMPLE),)),
    Choice(
        "belief in the usual rates",
        "60",
        (
            Alternative("20", "rates._BELIEF", 20.0),
            Alternative("250", "rates._BELIEF", 250.0),
            Alternative("usual line only", "rates._BELIEF", 1e9),
        ),
    ),
    Choice("open anomalies teach", "no", (Alternative("yes", excludes=False),)),
    Choice(
        "least weight of a tail",
        "6",
        (
            Alternative("0.3", "tails._LEAST_WEIGHT", 0.3),
            Alternative("1", "tails._LEAST_WEIGHT", 1.0),
            Alternative("2", "tails._LEAST_WEIGHT", 2.0),
        ),
    ),
)


@contextmanager
def instead(alternative: Alternative) -> Iterator[None]:
    """Gives a module's constant another value for as long as it is entered."""
    if not alternative.constant:
        yield
        return
    name, attribute = alternative.constant.split(".")
    module = MODULES[name]
    before = getattr(module, attribute)
    setattr(module, attribute, alternative.value)
    try:
        yield
    finally:
        setattr(module, attribute, before)


def key_of(choice: Choice, alternative: Alternative) -> str:
    return f"{choice.name}: {alternative.name}"
