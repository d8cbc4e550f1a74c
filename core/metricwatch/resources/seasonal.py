"""Parameters of type seasonal: periods, trend, clock, holidays and events."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from metricwatch.resources.formats import PositiveDuration, Time, TimeZone, Word
from metricwatch.resources.schema import ApiModel


class EventRepeat(StrEnum):
    """After what an event comes back, by the wall clock."""

    NEVER = "never"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"


class SeasonalTrend(StrEnum):
    """How the level of a series moves over days and weeks."""

    NONE = "none"
    LINEAR = "linear"
    CHANGEPOINTS = "changepoints"


class SeasonalEvent(ApiModel):
    """A known time at which a series is different."""

    name: Word = Field(
        description="name of the event. Entries of one name are occurrences of one event, and "
        "what they do to a series is learned together."
    )
    start: Time = Field(
        description="start of one occurrence, RFC 3339; when it repeats, it does so at this "
        "wall-clock time of timeZone, before as well as after it."
    )
    duration: PositiveDuration = Field(
        default="1d", validate_default=True, description="duration of each occurrence."
    )
    repeat: EventRepeat = Field(
        default=EventRepeat.NEVER,
        description="repeat is never, daily, weekly (same weekday), monthly (same day of the "
        "month) or yearly. A month without that day has no occurrence.",
    )


class SeasonalParameters(ApiModel):
    """Profiles by the clock and the calendar, a trend, and the spread by hour of the day."""

    periods: Annotated[tuple[PositiveDuration, ...], Field(min_length=1, max_length=4)] = Field(
        default=("1d", "1w"),
        validate_default=True,
        description="periods after which the metric repeats itself. One that the history does not "
        "cover one and a half times is left out.",
    )
    monthly: bool = Field(
        default=False,
        description="monthly adds what depends on the day of the calendar month, once the history "
        "covers two and a half months.",
    )
    trend: SeasonalTrend = Field(
        default=SeasonalTrend.CHANGEPOINTS,
        description="trend is none (the level is followed only), linear, or changepoints "
        "(straight lines that bend where the history says so).",
    )
    time_zone: TimeZone = Field(
        default="UTC",
        description="timeZone, like Europe/Berlin, by whose clock days, weeks, months, holidays "
        "and events come; the rhythm then keeps to that clock when it is put forward or back.",
    )
    country: Annotated[str, Field(max_length=6, pattern=r"^([A-Z]{2}(-[A-Z0-9]{1,3})?)?$")] = (
        Field(
            default="",
            description="country whose public holidays count, an ISO code like DE or DE-BY. "
            "Empty: no holidays.",
        )
    )
    events: Annotated[tuple[SeasonalEvent, ...], Field(max_length=64)] = Field(
        default=(), description="events at which series are different, like a sale."
    )
