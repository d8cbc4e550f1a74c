"""Whether a version that was trained may go on: the limits of `spec.qualityGate`, rule by rule.

The trainer counted (`metricwatch.gate`), here it is judged. A version is held to what it must show
at all, and to what the serving version shows on the same samples: a limit that the serving version
breaks as well says something about the data, and would keep an old version for ever.

```
measured? ── no, something broke ──────────► Error         trained again after a while
          ── no, too little to go by ──────► Inconclusive
          ── yes: a rule of LIMITS broken ─► Failed        else Successful
```
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from metricwatch.gate import GateMeasurement, Measured, WatchMeasured, total
from metricwatch.reported import read_report
from metricwatch.resources import QualityGate, Reason
from metricwatch_operator.planning.policies import Chain, Violation, evaluate

SURPRISE = 0.001
"""Chance by which a kept promise may still look broken."""
FAR_ABOVE = 3.0
"""So many times the promised alarms are far above them, whatever chance says."""
NOTICEABLE = 2.0
"""A difference of recalls counts from so many standard errors on: two series show little."""
FEWEST_RECORDED = 5
"""With fewer recorded anomalies one found or missed decides nothing."""
_MOST_NAMED = 3


class Verdict(StrEnum):
    """What a gate says; after the words of Argo Rollouts."""

    # Every rule holds.
    SUCCESSFUL = "Successful"
    # A rule is broken.
    FAILED = "Failed"
    # Measuring went wrong: nothing is known about the version.
    ERROR = "Error"
    # There was too little to go by.
    INCONCLUSIVE = "Inconclusive"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its reason.

    Attributes:
        reason: one word, of the broken rule when one is.
        message: for people.
    """

    verdict: Verdict
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What a version showed, and what it is held to."""

    measured: Measured
    limits: QualityGate

    @property
    def leeway(self) -> float:
        """How many times as much as the serving version shows is still no worse."""
        return 1.0 + self.limits.max_regression


@dataclass(frozen=True, slots=True)
class Reading:
    """What the report of a version says of its measurement.

    Attributes:
        measured: Everything together; zeros when there is nothing.
        inconclusive: Why nothing is known; empty when something is.
        error: Why measuring failed; empty when it did not.
        is_new: The serving version knows nothing of what was measured, and what it knows was taken
            over from it: no better version of this exists.
        watches: What was measured of each watch and shard.
    """

    measured: Measured = field(default_factory=Measured)
    inconclusive: str = ""
    error: str = ""
    is_new: bool = False
    watches: tuple[WatchMeasured, ...] = ()


def read_measurement(report: Mapping[str, Any] | None) -> Reading:
    """The measurement in the report of a version."""
    try:
        found = GateMeasurement.from_report(report)
    except ValidationError as error:
        message = f"the trainer's measurement cannot be read: {error.error_count()} mistakes"
        return Reading(error=message)
    if found is None:
        return Reading(inconclusive="nothing was measured")
    if found.error:
        return Reading(error=f"measuring failed: {found.error}")
    measured = found.total()
    unknown = found.inconclusive or ("" if measured.candidate.samples else "nothing was measured")
    compared = measured.serving is not None and measured.serving.samples > 0
    is_new = not compared and read_report(report).has_taken_over
    return Reading(measured, inconclusive=unknown, is_new=is_new, watches=found.watches)


def judge(reading: Reading, limits: QualityGate, *, is_first: bool = False) -> Judgement:
    """The verdict about a version.

    Args:
        reading: What was measured of it.
        limits: What it is held to.
        is_first: Nothing serves yet. Then only one that cries wolf is refused: nothing better
            exists, and what else is wrong is told.
    """
    if not limits.enabled:
        return Judgement(Verdict.SUCCESSFUL, Reason.GATE_DISABLED, "the quality gate is off")
    if reading.error:
        return Judgement(Verdict.ERROR, Reason.GATE_ERROR, reading.error)
    if reading.inconclusive:
        message = f"too little to judge by: {reading.inconclusive}"
        return Judgement(Verdict.INCONCLUSIVE, Reason.GATE_INCONCLUSIVE, message)
    shown = Shown(reading.measured, limits)
    broken = evaluate(FIRST_LIMITS if is_first or reading.is_new else LIMITS, shown)
    if broken is not None:
        message = broken.message + _where(broken, reading, limits)
        return Judgement(Verdict.FAILED, broken.reason, message)
    told = evaluate(LIMITS, shown)
    message = describe(reading.measured)
    if told is not None:
        where = _where(told, reading, limits)
        message += f"; but {told.message}{where}, and nothing better serves"
    return Judgement(Verdict.SUCCESSFUL, Reason.GATE_PASSED, message)


def _where(broken: Violation, reading: Reading, limits: QualityGate) -> str:
    """The watches to look at: those that break the same rule by themselves."""
    shards: dict[str, list[Measured]] = {}
    for one in reading.watches:
        shards.setdefault(one.name or one.uid, []).append(one)
    if len(shards) == 1:
        return ""
    names = [
        name
        for name, parts in sorted(shards.items())
        if _breaks(Shown(total(parts), limits), broken.reason)
    ]
    if not names:
        return ""
    more = len(names) - _MOST_NAMED
    others = f" and {more} more" if more > 0 else ""
    word = "watch" if len(names) == 1 else "watches"
    return f" ({word} {', '.join(names[:_MOST_NAMED])}{others})"


def _breaks(shown: Shown, reason: str) -> bool:
    found = (rule(shown) for rule in LIMITS)
    return any(one is not None and one.reason == reason for one in found)


def cries_wolf(shown: Shown) -> Violation | None:
    """More of history is anomalous to it than may be, and than to the serving version."""
    rate, limit = shown.measured.candidate.anomaly_rate, shown.limits.max_anomaly_rate
    if rate is None or rate <= limit:
        return None
    serving = shown.measured.serving
    before = serving.anomaly_rate if serving else None
    common = shown.measured.common.anomaly_rate
    if before is not None and common is not None and common <= before * shown.leeway:
        return None
    message = f"{rate:.2%} of the samples held back are anomalous to it, more than {limit:.2%}"
    return Violation(Reason.TOO_MANY_ANOMALIES, message + _beside(before))


def breaks_its_promise(shown: Shown) -> Violation | None:
    """It raised far more alarms than `falseAlarmsPerWeek` promises, and than the serving one."""
    side, serving = shown.measured.candidate, shown.measured.serving
    if side.episodes <= FAR_ABOVE * side.promised:
        return None
    if chance_of(side.episodes, promised=side.promised) >= SURPRISE:
        return None
    if serving is not None and shown.measured.common.episodes <= serving.episodes * shown.leeway:
        return None
    message = f"it raised {side.episodes} alarms where {side.promised:.1f} were promised"
    if serving is not None:
        message += f"; the serving version raised {serving.episodes}"
    return Violation(Reason.ALARM_BUDGET_EXCEEDED, message)


def finds_too_little(shown: Shown) -> Violation | None:
    """It misses too many of the anomalies put in, and more of them than the serving version."""
    recall, limit = shown.measured.candidate.recall, shown.limits.min_synthetic_recall
    if recall is None or recall >= limit:
        return None
    serving = shown.measured.serving
    before, common = serving.recall if serving else None, shown.measured.common.recall
    if serving is not None and before is not None and common is not None:
        least = before * (1.0 - shown.limits.max_regression)
        by_chance = math.hypot(serving.recall_error, shown.measured.common.recall_error)
        if common + NOTICEABLE * by_chance >= least:
            return None
    message = f"it finds {recall:.0%} of the anomalies put in, less than {limit:.0%}"
    kinds = {kind: one.share for kind, one in shown.measured.candidate.injected.items()}
    worst = min((share, kind) for kind, share in kinds.items() if share is not None)
    message += f" ({worst[1]} {worst[0]:.0%})"
    return Violation(Reason.RECALL_TOO_LOW, message + _beside(before))


def misses_recorded(shown: Shown) -> Violation | None:
    """It misses anomalies that were recorded, and that the serving version finds again."""
    serving, side = shown.measured.serving, shown.measured.common.recorded
    if serving is None or min(serving.recorded.of, side.of) < FEWEST_RECORDED:
        return None
    before, now = serving.recorded.share, side.share
    if before is None or now is None or now >= before - shown.limits.max_regression:
        return None
    message = f"it finds {side.found} of {side.of} recorded anomalies again"
    message += f"; the serving version finds {serving.recorded.found} of {serving.recorded.of}"
    return Violation(Reason.MISSES_RECORDED, message)


def errs_more(shown: Shown) -> Violation | None:
    """Its forecasts are further off than those of the serving version."""
    measured = shown.measured
    if measured.error_series == 0:
        return None
    ratio = math.exp(measured.log_error_ratio / measured.error_series)
    if ratio <= shown.leeway:
        return None
    message = f"its error is {ratio:.2f} times that of the serving version"
    return Violation(Reason.ERROR_TOO_LARGE, f"{message}, more than {shown.leeway:.2f} times")


def repeats_dismissed(shown: Shown) -> Violation | None:
    """It raises more of the alarms that people called false than the serving version does."""
    serving, side = shown.measured.serving, shown.measured.common.dismissed
    if serving is None or side.found <= serving.dismissed.found:
        return None
    message = f"it raises {side.found} of {side.of} alarms that people dismissed as false"
    message += f"; the serving version raises {serving.dismissed.found}"
    return Violation(Reason.REPEATS_DISMISSED, message)


LIMITS: Chain[Shown] = (
    cries_wolf,
    breaks_its_promise,
    finds_too_little,
    misses_recorded,
    errs_more,
    repeats_dismissed,
)
"""What a version must show when another one serves; the first broken rule gives the reason."""
FIRST_LIMITS: Chain[Shown] = (cries_wolf,)
"""What it must show when nothing serves."""


def chance_of(count: int, *, promised: float) -> float:
    """The chance of `count` or more alarms when `promised` are to be expected.

    The upper tail of the Poisson distribution, for counts above the expectation.

    >>> round(chance_of(3, promised=1.0), 4)
    0.0803
    """
    if count <= 0:
        return 1.0
    if promised <= 0:
        return 0.0
    term = math.exp(-promised + count * math.log(promised) - math.lgamma(count + 1))
    tail, number = 0.0, count
    while term > tail * 1e-12:
        tail += term
        number += 1
        term *= promised / number
    return min(tail, 1.0)


def describe(measured: Measured) -> str:
    """The numbers in one line, beside those of the serving version when there are any."""
    side, serving = measured.candidate, measured.serving
    parts = []
    if side.anomaly_rate is not None:
        before = serving.anomaly_rate if serving else None
        parts.append(f"anomaly rate {side.anomaly_rate:.2%}{_beside(before)}")
    if side.recall is not None:
        before = serving.recall if serving else None
        parts.append(f"recall {side.recall:.0%}{_beside(before)}")
    if measured.error_series:
        ratio = math.exp(measured.log_error_ratio / measured.error_series)
        parts.append(f"error {ratio:.2f} times the serving version's")
    return ", ".join(parts)


def numbers(measured: Measured) -> dict[str, float]:
    """A measurement as `status.versions[].quality` shows it; empty when there is none."""
    if measured.candidate.samples == 0:
        return {}
    side, common, serving = measured.candidate, measured.common, measured.serving
    shown: dict[str, float | None] = {
        "anomalyRate": side.anomaly_rate,
        "recall": side.recall,
        "episodes": side.episodes,
        "promisedEpisodes": side.promised,
    }
    shown |= {f"recall.{kind}": one.share for kind, one in sorted(side.injected.items())}
    if serving is not None:
        shown |= {
            "anomalyRateBeside": common.anomaly_rate,
            "recallBeside": common.recall,
            "episodesBeside": common.episodes,
            "servingAnomalyRate": serving.anomaly_rate,
            "servingRecall": serving.recall,
            "servingEpisodes": serving.episodes,
        }
    if measured.error_series:
        shown["errorRatio"] = math.exp(measured.log_error_ratio / measured.error_series)
    return {name: round(value, 4) for name, value in shown.items() if value is not None}


def _beside(before: float | None) -> str:
    return "" if before is None else f" (serving version {before:.2%})"
