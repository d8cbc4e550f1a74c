"""What readers rely on of the report of a training run (`models.report`).

A trainer writes it, but an imported archive brings one too, and so may whoever can write to the
database. What cannot be read is left out and named, so that one bad row spoils neither the others
nor the model: a report is told and estimated from, nothing is decided by it alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

_Count = Annotated[int, Field(ge=0, lt=2**53)]
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_MOST_PROBLEMS = 3


class _Row(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )


class ReportedSearch(_Row):
    """The search for the parameters of a watch."""

    seconds: _Seconds = 0.0


class ReportedWatch(_Row):
    """What came of one watch in one run.

    Attributes:
        uid: of the watch.
        found: series that its queries gave.
        start: first tick that was asked for, unix seconds.
        end: last tick.
        interval_seconds: between two ticks.
        error_to_persistence: median error, as a share of that of taking the last sample for the
            next.
        tuning: the search for its parameters.
        taken_from: the version that learned it, when it was taken over.
    """

    uid: str = ""
    found: _Count = 0
    start: _Count | None = None
    end: _Count | None = None
    interval_seconds: Annotated[int, Field(gt=0)] | None = None
    error_to_persistence: Annotated[float, Field(allow_inf_nan=False)] | None = None
    tuning: ReportedSearch | None = None
    taken_from: int | None = Field(default=None, alias="from")

    @property
    def samples(self) -> int | None:
        """How many it was learned from, with those that were missing; None when it does not say.

        >>> ReportedWatch(found=2, start=0, end=540, interval_seconds=60).samples
        20
        """
        if self.start is None or self.end is None or self.interval_seconds is None:
            return None
        ticks = (self.end - self.start) // self.interval_seconds + 1
        return self.found * max(ticks, 0)


class _Total(_Row):
    total: _Seconds = 0.0


class _Report(_Row):
    family: str = ""
    families: dict[str, _Count] = {}
    trained: _Count | None = None
    left_out: _Count | None = None
    shards: Annotated[int, Field(gt=0)] = 1
    peak_bytes: _Count = 0
    seconds: _Total | None = None
    watches: tuple[ReportedWatch, ...] = ()


@dataclass(frozen=True, slots=True)
class RunReport:
    """A report as far as it can be read.

    Attributes:
        family: of all series, or what was asked for when there are several.
        families: how many series each learned.
        trained: series in the version; None when it does not say.
        left_out: series that are not.
        shards: pods that shared the run.
        peak_bytes: most memory that one of them held, 0 when it does not say.
        total_seconds: that the run took; None when it does not say.
        watches: one row for each watch, without those that cannot be read.
        problems: what cannot be read, and why.
    """

    family: str = ""
    families: Mapping[str, int] = field(default_factory=dict)
    trained: int | None = None
    left_out: int | None = None
    shards: int = 1
    peak_bytes: int = 0
    total_seconds: float | None = None
    watches: tuple[ReportedWatch, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def has_taken_over(self) -> bool:
        """Whether a watch was not learned in this run."""
        return any(watch.taken_from is not None for watch in self.watches)


def read_report(report: Mapping[str, Any] | None) -> RunReport:
    """A report as far as it can be read.

    >>> bad = {"trained": 3, "watches": [{"uid": "a"}, {"uid": "b", "start": "yesterday"}]}
    >>> found = read_report(bad)
    >>> found.trained, [watch.uid for watch in found.watches], found.problems[0][:15]
    (3, ['a'], 'watches.1.start')
    """
    if report is None:
        return RunReport()
    if not isinstance(report, Mapping):
        return RunReport(problems=("it is no object",))
    try:
        return _told(_Report.model_validate(report), ())
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False)
    rest = _without(report, [one["loc"] for one in mistakes])
    problems = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in mistakes]
    return _told(_Report.model_validate(rest), problems)


def _without(report: Mapping[str, Any], places: Sequence[tuple[int | str, ...]]) -> dict[str, Any]:
    """The report without the rows and fields that hold a mistake."""
    rows = {place[1] for place in places if place[0] == "watches" and len(place) > 1}
    fields = {place[0] for place in places if len(place) == 1 or place[0] != "watches"}
    rest = {name: value for name, value in report.items() if name not in fields}
    if rows and "watches" in rest:
        kept = enumerate(rest["watches"])
        rest["watches"] = [row for index, row in kept if index not in rows]
    return rest


def _told(read: _Report, problems: Sequence[str]) -> RunReport:
    more = len(problems) - _MOST_PROBLEMS
    shown = (*problems[:_MOST_PROBLEMS], *((f"and {more} more",) if more > 0 else ()))
    return RunReport(
        family=read.family,
        families=read.families,
        trained=read.trained,
        left_out=read.left_out,
        shards=read.shards,
        peak_bytes=read.peak_bytes,
        total_seconds=read.seconds.total if read.seconds else None,
        watches=read.watches,
        problems=shown,
    )
