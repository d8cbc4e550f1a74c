"""Strings and numbers with a form: names, times, cron lines, time zones, quantities, durations.

Where a form is a plain pattern the CRD carries the pattern; where it needs a sentence to be
understood it is a `Rule` with one message on both sides. Two things are checked in Python alone,
because an API server has no calendar: that a time zone exists, and that a cron line has its day.
"""

import re
import zoneinfo
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any

from croniter import CroniterBadDateError, croniter
from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema, WrapValidator
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ValidatorFunctionWrapHandler

from metricwatch.durations import DURATION_PATTERN, Duration
from metricwatch.resources.schema import Rule

_AT_LEAST_A_SECOND = r"[1-9][0-9]*([ywdhs]|m([^s]|$))|[1-9][0-9]{3,}ms"
PositiveDuration = Annotated[
    Duration,
    Rule(
        message="must be at least 1s",
        # Of what is no duration another rule speaks.
        cel=f"self.matches('{_AT_LEAST_A_SECOND}') || !self.matches('{DURATION_PATTERN}')",
        holds=lambda text: re.search(_AT_LEAST_A_SECOND, text) is not None,
    ),
]
WholeSeconds = Annotated[
    PositiveDuration,
    Rule(
        message="must be whole seconds, without ms",
        cel="!self.endsWith('ms')",
        holds=lambda text: not text.endswith("ms"),
    ),
]

ObjectName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    ),
]
LabelName = Annotated[
    str, Field(min_length=1, max_length=128, pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")
]
Word = Annotated[
    str, Field(min_length=1, max_length=63, pattern=r"^[a-zA-Z0-9]([-_.a-zA-Z0-9]*[a-zA-Z0-9])?$")
]
Query = Annotated[str, Field(min_length=1, max_length=8192)]
# Spelled out in ASCII: `\s` means Unicode's spaces to Python and ASCII's to the API server.
# No user part, so that no password gets in.
_SERVER_URL = r"^https?://[A-Za-z0-9._:\[\]-]+(/[!-\"$->@-~]*)?$"
ServerUrl = Annotated[
    str,
    Field(max_length=2048),
    Rule(
        message="must be a URL like http://prometheus.monitoring:9090 (http or https, no user, "
        "no query)",
        cel=f"self.matches('{_SERVER_URL.replace(chr(92), chr(92) * 2)}')",
        holds=lambda text: re.fullmatch(_SERVER_URL, text) is not None,
    ),
]

# Minute, hour, day of month, month, day of week.
_CRON_VALUES = (
    "[0-5]?[0-9]",
    "([01]?[0-9]|2[0-3])",
    "(0?[1-9]|[12][0-9]|3[01])",
    "(0?[1-9]|1[0-2])",
    "[0-7]",
)


def _cron_pattern() -> str:
    fields = []
    for value in _CRON_VALUES:
        item = rf"(\*|{value}(-{value})?)(/[1-9][0-9]?)?"
        fields.append(rf"{item}(,{item})*")
    return "^" + " ".join(fields) + "$"


CRON_PATTERN = _cron_pattern()


def _coming_day(schedule: str) -> str:
    """Refuses `0 0 31 2 *`: whoever waited for it would wait for ever."""
    try:
        if schedule:
            croniter(schedule, datetime(2000, 1, 1, tzinfo=UTC)).get_next(datetime)
    except CroniterBadDateError:
        raise PydanticCustomError(
            "cron_day", "{message}", {"message": f"{schedule!r} names a day that no month has"}
        ) from None
    return schedule


_CRON_MESSAGE = (
    "must be a cron line of five numeric fields, like '0 3 * * *' (minute hour day month weekday)"
)
Cron = Annotated[
    str,
    Field(max_length=128),
    Rule(
        message=_CRON_MESSAGE,
        cel=f"self.matches('{CRON_PATTERN.replace(chr(92), chr(92) * 2)}')",
        holds=lambda text: re.fullmatch(CRON_PATTERN, text) is not None,
    ),
    AfterValidator(_coming_day),
]
OptionalCron = Annotated[
    str,
    Field(max_length=128),
    Rule(
        message=_CRON_MESSAGE,
        cel=f"self == '' || self.matches('{CRON_PATTERN.replace(chr(92), chr(92) * 2)}')",
        holds=lambda text: text == "" or re.fullmatch(CRON_PATTERN, text) is not None,
    ),
    AfterValidator(_coming_day),
]


def _existing_zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise PydanticCustomError(
            "time_zone",
            "{message}",
            {"message": f"no time zone {name!r}: write an IANA name like UTC or Europe/Berlin"},
        ) from None
    return name


TimeZone = Annotated[
    str,
    Field(min_length=1, max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$"),
    AfterValidator(_existing_zone),
]

_QUANTITY = r"^\+?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?[0-9]+))?$"


def _quantity(value: Any) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and len(value) <= 32 and re.fullmatch(_QUANTITY, value):
        return value
    raise PydanticCustomError(
        "quantity",
        "{message}",
        {"message": f"{value!r} is not a quantity: write it like 500m, 2 or 1Gi"},
    )


Quantity = Annotated[
    int | str,
    PlainValidator(_quantity),
    WithJsonSchema(
        {"x-kubernetes-int-or-string": True, "pattern": _QUANTITY, "maxLength": 32, "minimum": 0}
    ),
]

_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def _rfc3339(value: Any, parse: ValidatorFunctionWrapHandler) -> datetime:
    if isinstance(value, str) and _RFC3339.fullmatch(value):
        with suppress(ValueError):
            value = datetime.fromisoformat(value.upper())
    if isinstance(value, datetime) and value.tzinfo is not None:
        with suppress(OverflowError):
            time: datetime = parse(value.astimezone(UTC))
            return time
    raise PydanticCustomError(
        "time",
        "{message}",
        {"message": f"{value!r} is not a time: write it like 2026-11-03T10:00:00Z"},
    )


Time = Annotated[datetime, WrapValidator(_rfc3339)]
# Kubernetes writes times to the second; one that is read back must equal the one that was written.
StatusTime = Annotated[Time, AfterValidator(lambda time: time.replace(microsecond=0))]
