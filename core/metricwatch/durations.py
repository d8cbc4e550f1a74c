"""Prometheus durations: `90s`, `1h30m`, `2w`.

The grammar is the one of Prometheus and of prometheus-operator: units in falling order, each at
most once. Only the number of digits is bounded, so that no duration reaches Prometheus's own limit
of 292 years and the pattern alone, in the CRD as in Python, keeps arithmetic on times in range.
"""

import re
from typing import Any, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

DURATION_PATTERN = (
    r"^(0|([0-9]{1,2}y)?([0-9]{1,3}w)?([0-9]{1,4}d)?([0-9]{1,5}h)?"
    r"([0-9]{1,7}m)?([0-9]{1,9}s)?([0-9]{1,12}ms)?)$"
)
MAX_LENGTH = 48
HINT = "is not a duration: write it like 90s, 5m, 1h30m or 2w, largest unit first"

_UNIT_SECONDS = {
    "y": 365 * 86400.0,
    "w": 7 * 86400.0,
    "d": 86400.0,
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 0.001,
}
_WHOLE = re.compile(DURATION_PATTERN)
_PART = re.compile(r"([0-9]+)(ms|[ywdhms])")


def parse_duration(text: str) -> float:
    """Seconds in a Prometheus duration; a year has 365 days.

    Raises:
        ValueError: `text` is no duration. The message says how one looks.

    >>> parse_duration("1h30m")
    5400.0
    """
    if not text or not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} {HINT}")
    return sum(int(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(text))


def format_duration(seconds: float) -> str:
    """A Prometheus duration of `seconds`, to the millisecond; weeks and years only when whole.

    Raises:
        ValueError: `seconds` is negative, not finite, or longer than a duration can be.

    >>> format_duration(5400)
    '1h30m'
    >>> format_duration(14 * 86400)
    '2w'
    """
    if not 0 <= seconds < 99 * _UNIT_SECONDS["y"]:
        raise ValueError(f"{seconds} seconds cannot be written as a duration")
    left = round(seconds * 1000)
    if left == 0:
        return "0s"
    for unit in ("y", "w"):
        whole = round(_UNIT_SECONDS[unit] * 1000)
        if left % whole == 0:
            return f"{left // whole}{unit}"
    parts = []
    # Days have four digits at most.
    years = ("y",) if left >= 10_000 * 86_400_000 else ()
    for unit in (*years, "d", "h", "m", "s", "ms"):
        count, left = divmod(left, round(_UNIT_SECONDS[unit] * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


class Duration(str):
    """A Prometheus duration that keeps the way its author wrote it.

    >>> Duration("2w").seconds
    1209600.0
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Check `text` and keep it.

        Raises:
            ValueError: `text` is no duration.
        """
        parse_duration(text)
        return super().__new__(cls, text)

    @classmethod
    def from_seconds(cls, seconds: float) -> Self:
        """The duration of so many seconds."""
        return cls(format_duration(seconds))

    @property
    def seconds(self) -> float:
        """Its length in seconds."""
        return parse_duration(self)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Validate a string; serialise as the same string."""
        return core_schema.no_info_after_validator_function(
            _checked, core_schema.str_schema(), serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """A bounded string with the pattern, as a rule: a bare pattern tells people nothing."""
        rule = {"rule": f"self.matches('{DURATION_PATTERN}')", "message": HINT}
        return {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_LENGTH,
            "x-kubernetes-validations": [rule],
        }


def _checked(text: str) -> Duration:
    try:
        return Duration(text)
    except ValueError as error:
        raise PydanticCustomError("duration", "{message}", {"message": str(error)}) from None
