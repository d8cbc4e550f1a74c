"""A model, its children and its database played through time, for tests of the life of versions.

The store refuses what the real one refuses; trainers and detectors do what a test says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from tests.unit.operator_builders import (
    CONFIG,
    NOW,
    NOW_SECONDS,
    available,
    carry_out,
    make_model,
    make_overview,
    make_row,
    make_watch,
)

from metricwatch.gate import Found, GateMeasurement, Side, WatchMeasured
from metricwatch.resources import VersionState
from metricwatch.store.models import _FOLLOWS
from metricwatch.store.rows import Comparison, ModelOverview, TakeOver, Version
from metricwatch.store.serving import _MAY_SERVE
from metricwatch_operator.observed import Observed, Problem
from metricwatch_operator.planning.actions import CreateVersion, MarkReady, Plan, Serve, SetState
from metricwatch_operator.planning.comparing import wanted_comparison
from metricwatch_operator.planning.names import child_labels
from metricwatch_operator.planning.plan import plan

TICK = 10
SERIES = 5
LATE = {"conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]}


class Refused(Exception):
    """The store does not take a write."""


def gate_report(kind: str = "good", *, compared: bool = True) -> dict[str, Any]:
    """The report of a trainer whose version is good, bad, could not be measured, or is unclear."""
    if kind == "error":
        return {"gate": {"error": "out of memory"}}
    if kind == "unclear":
        return {"gate": {"inconclusive": "a short history"}}
    found = {"spike": Found(found=9, of=10)}
    well = Side(series=5, samples=1000, anomalous=5, episodes=1, promised=1.0, injected=found)
    side = well if kind == "good" else well.model_copy(update={"anomalous": 500})
    watch = WatchMeasured(
        uid="uid-latency", candidate=side, common=side, serving=well if compared else None
    )
    return {"gate": GateMeasurement(serving=1 if compared else None, watches=(watch,)).to_row()}


@dataclass
class World:
    """One model in time.

    Attributes:
        now: Unix seconds, by the clock of the database.
        ahead: How many seconds the operator's clock is ahead of it.
        spec: Of the model.
        annotations: Of the model.
        detectors: What those of a version do: ready, starting, crashing or late.
        scores: What a version scores: well, stormily or silently.
        usual_detectors: What those of any other version do.
        usual_scores: What any other version scores.
        plans: That were made, newest last.
        served: Versions that served, oldest first, each with what made it serve.
    """

    now: int = NOW_SECONDS
    ahead: int = 0
    spec: dict[str, Any] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    detectors: dict[int, str] = field(default_factory=dict)
    scores: dict[int, str] = field(default_factory=dict)
    usual_detectors: str = "ready"
    usual_scores: str = "well"
    is_store_away: bool = False
    plans: list[Plan] = field(default_factory=list)
    served: list[tuple[int, TakeOver]] = field(default_factory=list)

    def __post_init__(self) -> None:
        model, watch = make_model(**self.spec), make_watch()
        overview = make_overview(model, (), (make_row(watch),))
        self.state = Observed("shop", "checkout", model=model, watches=(watch,), overview=overview)

    @property
    def overview(self) -> ModelOverview:
        """What the database holds."""
        assert self.state.overview is not None
        return self.state.overview

    @property
    def versions(self) -> dict[int, Version]:
        """By number."""
        return {one.version: one for one in self.overview.versions}

    @property
    def serving(self) -> int | None:
        """The number of the version that serves."""
        return self.overview.serving_version

    def states(self) -> dict[int, str]:
        """State of each version."""
        return {number: str(one.state) for number, one in sorted(self.versions.items())}

    def deployed(self) -> set[int]:
        """Versions that have detectors."""
        return {
            int(one["metadata"]["labels"]["metricwatch.io/version"])
            for one in self.state.deployments
        }

    def look(self) -> Observed:
        """What the operator finds now."""
        model = make_model(**self.spec)
        model["metadata"]["annotations"] = dict(self.annotations)
        model["status"] = (self.state.model or {}).get("status") or {}
        deployments, pods = [], []
        for one in self.state.deployments:
            number = int(one["metadata"]["labels"]["metricwatch.io/version"])
            kind = self.detectors.get(number, self.usual_detectors)
            deployments.append(_deployment(one, kind))
            if kind == "crashing":
                pods.append(_crashing_pod(number))
        seen = replace(
            self.state,
            model=model,
            deployments=tuple(deployments),
            pods=(*self.state.pods, *pods),
        )
        if self.is_store_away:
            away = Problem("StoreUnavailable", "refused")
            return replace(seen, overview=None, store_problem=away)
        return replace(seen, comparison=self._compare(seen))

    def plan(self) -> Plan:
        """What the operator does about it."""
        when = NOW + timedelta(seconds=self.now - NOW_SECONDS + self.ahead)
        made = plan(self.look(), now=when, config=CONFIG)
        self.plans.append(made)
        return made

    def do(self, steps: Plan, *, most: int | None = None) -> None:
        """Carries out a plan; with `most`, the operator dies after so many writes."""
        writes = steps.writes if most is None else steps.writes[:most]
        for step in writes:
            self.write(step)
        if most is None:
            rest = replace(steps, writes=())
            self.state = carry_out(self.state, rest, now=self.now)

    def step(self) -> Plan:
        """One look and what follows from it."""
        steps = self.plan()
        self.do(steps)
        return steps

    def settle(self, *, rounds: int = 12) -> None:
        """As many looks as it takes until nothing is left to do now."""
        for _ in range(rounds):
            if self.step().is_empty:
                return
        raise AssertionError(f"there is always something to do: {self.plans[-1]}")

    def wait(self, seconds: float) -> None:
        """Lets time go by."""
        self.now += int(seconds)

    def train(self, kind: str = "good") -> bool:
        """Ends the training run that is under way; False when there is none.

        Args:
            kind: good, bad, error or unclear are results; hopeless and broken are failed runs.
        """
        for version in self.versions.values():
            jobs = [job for job in self.state.jobs if _number(job) == version.version]
            if version.state is VersionState.TRAINING and jobs and not _is_over(jobs[0]):
                self._end(version, jobs[0], kind)
                return True
        return False

    def bring(self, kind: str = "good") -> None:
        """Trains whatever is wanted, and lets the operator do what follows."""
        self.settle()
        assert self.train(kind), f"nothing is being trained: {self.states()}"
        self.settle()

    def ask_for_training(self) -> None:
        """Sets the annotation, now."""
        self.annotations["metricwatch.io/retrain-requested-at"] = _utc(self.now)

    def lose_jobs(self) -> None:
        """Somebody deletes the trainer Jobs."""
        self.state = replace(self.state, jobs=(), pods=())

    def _end(self, version: Version, job: Any, kind: str) -> None:
        failed = kind in ("hopeless", "broken")
        told = {
            "type": "Failed" if failed else "Complete",
            "status": "True",
            "reason": "PodFailurePolicy",
            "message": "exit code",
            "lastTransitionTime": f"{_utc(self.now)}",
        }
        jobs = [one for one in self.state.jobs if one is not job]
        ended = {**job, "status": {"conditions": [told]}}
        pods = self.state.pods
        if failed:
            pods = (*pods, _failed_pod(version.version, 10 if kind == "hopeless" else 20))
        else:
            report = gate_report(kind, compared=self.serving is not None)
            self._put(replace(version, trained_at=self.now, report=report))
        self.state = replace(self.state, jobs=(*jobs, ended), pods=pods)

    def _put(self, version: Version) -> None:
        versions = self.versions | {version.version: version}
        ordered = tuple(versions[number] for number in sorted(versions, reverse=True))
        self.state = replace(self.state, overview=replace(self.overview, versions=ordered))

    def write(self, step: Any) -> None:
        """One write, as the store takes it.

        Raises:
            Refused: It does not.
        """
        check(self.overview, step)
        if isinstance(step, Serve):
            self.served.append((step.version, step.how))
        self.state = carry_out(self.state, Plan(writes=(step,)), now=self.now)

    def _compare(self, seen: Observed) -> Comparison | None:
        when = NOW + timedelta(seconds=self.now - NOW_SECONDS + self.ahead)
        wanted = wanted_comparison(seen, now=when)
        if wanted is None:
            return None
        kinds = [
            self.scores.get(number, self.usual_scores)
            for number in (wanted.version, wanted.against)
        ]
        each = SERIES * max(0, (self.now - wanted.since) // TICK)
        samples = [0 if kind == "silently" else each for kind in kinds]
        common = min(samples)
        found = [common if kind == "stormily" else 0 for kind in kinds]
        return Comparison(
            version=wanted.version,
            against=wanted.against,
            since=wanted.since,
            until=self.now if common else None,
            series=SERIES if common else 0,
            common=common,
            samples=samples[0],
            samples_against=samples[1],
            anomalous=found[0],
            anomalous_against=found[1],
            both=min(found),
            stormy=SERIES if found[0] > found[1] else 0,
        )


def check(overview: ModelOverview, step: Any) -> None:
    """Refuses what the store would refuse.

    Raises:
        Refused: It would.
    """
    versions = {one.version: one for one in overview.versions}
    match step:
        case CreateVersion():
            if step.version in versions:
                raise Refused(f"version {step.version} exists")
        case SetState():
            before = versions.get(step.version)
            if before is None or before.state not in (step.state, *_FOLLOWS.get(step.state, ())):
                raise Refused(f"{before and before.state} cannot become {step.state}")
        case MarkReady():
            if step.version not in versions or versions[step.version].trained_at is None:
                raise Refused(f"version {step.version} is not trained")
        case Serve():
            _check_serve(overview, versions, step)


def _check_serve(overview: ModelOverview, versions: dict[int, Version], step: Serve) -> None:
    taking, before = versions.get(step.version), versions.get(overview.serving_version or 0)
    if before is not None and before.version == step.version:
        raise Refused(f"version {step.version} serves already")
    if taking is None or taking.trained_at is None or taking.state not in _MAY_SERVE[step.how]:
        raise Refused(f"version {step.version} cannot serve ({step.how})")
    is_back = step.how is TakeOver.ROLLED_BACK
    if is_back and (before is None or before.replaced != step.version):
        raise Refused(f"there is no way back to version {step.version}")


def serves_of(plans: Iterable[Plan]) -> list[Serve]:
    """Every take-over that was planned."""
    return [step for one in plans for step in one.writes if isinstance(step, Serve)]


def _deployment(one: Any, kind: str) -> dict[str, Any]:
    made = available(dict(one))
    if kind != "ready":
        made["status"] |= {"availableReplicas": 0}
    if kind == "late":
        made["status"] |= LATE
    return made


def _crashing_pod(number: int) -> dict[str, Any]:
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off"}
    return {
        "kind": "Pod",
        "metadata": {
            "name": f"detector-{number}",
            "uid": f"uid-detector-{number}",
            "labels": child_labels("checkout", component="detector", version=number, shard=0),
        },
        "status": {
            "containerStatuses": [
                {
                    "name": "detector",
                    "restartCount": 4,
                    "state": {"waiting": waiting},
                    "lastState": {"terminated": {"exitCode": 1}},
                }
            ]
        },
    }


def _failed_pod(number: int, code: int) -> dict[str, Any]:
    ended = {"exitCode": code, "message": "", "finishedAt": "2026-02-01T00:00:00Z"}
    return {
        "kind": "Pod",
        "metadata": {
            "name": f"trainer-{number}",
            "uid": f"uid-trainer-{number}",
            "labels": child_labels("checkout", component="trainer", version=number),
        },
        "status": {"containerStatuses": [{"name": "trainer", "state": {"terminated": ended}}]},
    }


def _number(manifest: Any) -> int:
    return int(manifest["metadata"]["labels"]["metricwatch.io/version"])


def _is_over(job: Any) -> bool:
    return bool((job.get("status") or {}).get("conditions"))


def _utc(seconds: int) -> str:
    return (NOW + timedelta(seconds=seconds - NOW_SECONDS)).strftime("%Y-%m-%dT%H:%M:%SZ")
