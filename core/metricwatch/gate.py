"""What a trainer measures of a version before it may serve, as rows hold it (`report.gate`).

The trainer counts, the operator judges: limits can change without measuring again, and the numbers
can be shown for ever. Everything is a count or a sum, so the parts of a run that several pods
shared add up.

```
history ──┬─ head ──► learned from
          └─ tail ──► walked by the candidate and by the serving version, as detectors would
                      once as it was, once with anomalies put in
```
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class _Row(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Itself: nothing changes it. Pydantic copies each default row on each use otherwise."""
        return self


class Found(_Row):
    """How many of something were found.

    Attributes:
        found: how many were.
        of: how many there were.
    """

    found: int = 0
    of: int = 0

    def __add__(self, other: Found) -> Found:
        return Found(found=self.found + other.found, of=self.of + other.of)

    @property
    def share(self) -> float | None:
        """The share found; None when there was nothing to find."""
        return self.found / self.of if self.of else None


class Side(_Row):
    """One version on the tail of some series, after the policy of their watch.

    Attributes:
        series: how many.
        samples: scored.
        anomalous: samples that were part of an anomaly.
        episodes: anomalies that opened.
        promised: anomalies that `falseAlarmsPerWeek` lets one expect on so many samples.
        injected: of the anomalies put in, by kind.
        recorded: of the anomalies that were recorded in the tail, by whatever version.
        dismissed: of the recorded anomalies that people called false alarms, those it would raise.
    """

    series: int = 0
    samples: int = 0
    anomalous: int = 0
    episodes: int = 0
    promised: float = 0.0
    injected: Mapping[str, Found] = Field(default_factory=dict)
    recorded: Found = Found()
    dismissed: Found = Found()

    @property
    def anomaly_rate(self) -> float | None:
        """The share of samples in an anomaly; None without a sample."""
        return self.anomalous / self.samples if self.samples else None

    @property
    def recall(self) -> float | None:
        """The share found of all anomalies put in, every kind counting the same."""
        shares = [one.share for one in self.injected.values() if one.share is not None]
        return sum(shares) / len(shares) if shares else None

    @property
    def recall_error(self) -> float:
        """Standard error of `recall`: how much of it is the chance of few anomalies put in.

        Of each kind's share after Laplace's rule of succession, so that none found of four does
        not count as certain.
        """
        parts = [one for one in self.injected.values() if one.of]
        likely = [(one.found + 1) / (one.of + 2) for one in parts]
        spread = sum(p * (1 - p) / one.of for p, one in zip(likely, parts, strict=True))
        return math.sqrt(spread) / len(parts) if parts else 0.0

    def __add__(self, other: Side) -> Side:
        kinds = sorted({*self.injected, *other.injected})
        none = Found()
        return Side(
            series=self.series + other.series,
            samples=self.samples + other.samples,
            anomalous=self.anomalous + other.anomalous,
            episodes=self.episodes + other.episodes,
            promised=self.promised + other.promised,
            injected={
                kind: self.injected.get(kind, none) + other.injected.get(kind, none)
                for kind in kinds
            },
            recorded=self.recorded + other.recorded,
            dismissed=self.dismissed + other.dismissed,
        )


class Measured(_Row):
    """What was measured of one watch, or of several together.

    Attributes:
        candidate: the new version, over all series that were measured.
        common: the new version, over the series that the serving one knows as well.
        serving: the serving version over the same series; None when there is none to compare with.
        log_error_ratio: sum over `error_series` of ln(error of the candidate / of the serving
            version), each clipped to ±ln 10; an error is the root mean square of the residual.
        error_series: series with an error of both.
    """

    candidate: Side = Side()
    common: Side = Side()
    serving: Side | None = None
    log_error_ratio: float = 0.0
    error_series: int = 0

    def __add__(self, other: Measured) -> Measured:
        both = [one for one in (self.serving, other.serving) if one is not None]
        return Measured(
            candidate=self.candidate + other.candidate,
            common=self.common + other.common,
            serving=sum(both[1:], both[0]) if both else None,
            log_error_ratio=self.log_error_ratio + other.log_error_ratio,
            error_series=self.error_series + other.error_series,
        )


class WatchMeasured(Measured):
    """What was measured of one watch.

    Attributes:
        uid: of the watch.
        name: of the watch.
        start: first tick of the tail, unix seconds.
        end: last tick of the tail.
        note: why less was measured than could have been; empty otherwise.
    """

    uid: str
    name: str = ""
    start: int = 0
    end: int = 0
    note: str = ""


class GateMeasurement(_Row):
    """What was measured of a version.

    Attributes:
        serving: the version it was compared with, None without one.
        watches: one entry for each watch and shard of the run that could be measured.
        inconclusive: why nothing was measured although nothing went wrong, such as a short
            history; empty otherwise.
        error: why measuring failed; empty otherwise.
    """

    serving: int | None = None
    watches: tuple[WatchMeasured, ...] = ()
    inconclusive: str = ""
    error: str = ""

    @classmethod
    def from_report(cls, report: Mapping[str, Any] | None) -> Self | None:
        """From the report of a version; None when its trainer measured nothing.

        Raises:
            pydantic.ValidationError: it is not of this type.
        """
        row = (report or {}).get("gate")
        return None if row is None else cls.model_validate(row)

    def to_row(self) -> dict[str, Any]:
        """The JSON for a report."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def total(self) -> Measured:
        """All watches together."""
        return total(self.watches)


def total(parts: Iterable[Measured]) -> Measured:
    """Several measurements added up.

    >>> one = Measured(candidate=Side(series=2, samples=10, anomalous=1))
    >>> total([one, one]).candidate.anomaly_rate
    0.1
    """
    each = tuple(parts)
    # Building an empty one to add to costs more than most sums do.
    return sum(each[1:], each[0]) if each else Measured()
