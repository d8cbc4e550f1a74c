"""Which events a plan tells: what became of versions, and conditions that turned into something.

Who reads events wants each thing said once. A run that failed turns several conditions at once or
one after the other, and all of them repeat its reason; its own event has said it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal

from metricwatch.resources import ConditionType, VersionState
from metricwatch_operator.objects import Manifest, Ref
from metricwatch_operator.observed import Observed
from metricwatch_operator.planning.actions import News, Plan
from metricwatch_operator.planning.answering import newest_of
from metricwatch_operator.planning.conditions import edges
from metricwatch_operator.planning.versions import Decision

_WARNINGS = frozenset({"TrainingFailed", "RolloutFailed", "VersionRejected", "RolledBack"})


def version_news(model: Manifest, decision: Decision) -> tuple[News, ...]:
    """What became of the versions of a model."""
    return tuple(
        News(model, reason, message, "Warning" if reason in _WARNINGS else "Normal")
        for reason, message in decision.news
    )


def tell(observed: Observed, steps: Plan) -> Plan:
    """Adds an event for each condition that turned into something a person should hear of."""
    live = {Ref.of(one).uid: one for one in (*filter(None, (observed.model,)), *observed.watches)}
    news = list(steps.news)
    failure = _failure(observed)
    for status in steps.statuses:
        subject = live[status["metadata"]["uid"]]
        before = (subject.get("status") or {}).get("conditions") or ()
        for condition in edges(before, status["status"]["conditions"]):
            kind = _news_type(condition)
            if kind is None or (subject is observed.model and _repeats(condition, news, failure)):
                continue
            news.append(News(subject, condition["reason"], condition["message"], kind))
    return replace(steps, news=_each_once(news))


def _failure(observed: Observed) -> str:
    """Why the newest version failed, which its own event told when it did."""
    newest = newest_of(observed.overview.versions) if observed.overview else None
    return newest.message if newest and newest.state is VersionState.FAILED else ""


def _repeats(condition: Mapping[str, str], news: Iterable[News], failure: str) -> bool:
    message = condition["message"]
    if failure and failure in message:
        return True
    return any(one.reason == "TrainingFailed" and message in one.message for one in news)


def _each_once(news: Iterable[News]) -> tuple[News, ...]:
    """What two conditions say in the same words is told once."""
    said = {(one.subject["metadata"]["uid"], one.reason, one.message): one for one in news}
    return tuple(said.values())


def _news_type(condition: Mapping[str, str]) -> Literal["Normal", "Warning"] | None:
    match condition["type"], condition["status"]:
        case ConditionType.READY, "True":
            return "Normal"
        case (ConditionType.STALLED, "True") | (ConditionType.STORE_AVAILABLE, "False"):
            return "Warning"
        case ((ConditionType.DATA_AVAILABLE | ConditionType.MODEL_RESOLVED), "False"):
            return "Warning"
    return None
