"""Both versions of a watch side by side on the tail, a batch of series at a time. No I/O.

The new version has learned from the tail when it was measured: its chunks come back with what the
walk taught them, so that what serves is what was measured, up to date.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import structlog

from metricwatch.algorithms import FitStopped, SystemBank
from metricwatch.anomalies import Policy
from metricwatch.artifact import ModelChunk, pack, unpack
from metricwatch.gate import Measured, Side, WatchMeasured, total
from metricwatch.series import Labels, Panel
from metricwatch.walking import Flags
from metricwatch_trainer.gate.copies import copies_of, copy_of, side_by_side
from metricwatch_trainer.gate.disturbing import Event, disturb
from metricwatch_trainer.gate.sides import compare_errors, finds_of, side_of
from metricwatch_trainer.gate.tail import Tail
from metricwatch_trainer.gate.walks import (
    ShouldStop,
    Walked,
    known_series,
    walk_tail,
    warm_ticks,
)

MOST_INJECTED = 300
"""Series of a watch that anomalies are put into."""
_ENOUGH_SERIES = 24
_MOST_ROUNDS = 3
"""Few series have few anomalies: they get others in another round, so that chance says less."""
_MOST_POINTS = 4_000_000
"""Series times ticks that are walked at once."""
_LEAST_HISTORY = 5000
"""Ticks before the tail that say what is usual, beyond what banks ask for."""
_log = structlog.get_logger("metricwatch_trainer")


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """What the version of one watch is measured on, and against.

    Attributes:
        uid: of the watch.
        name: of the watch.
        policy: of the watch.
        per_week: false alarms that the policy allows a series.
        panel: history and tail; NaN where nothing is to be judged.
        tail: which part is the tail.
        recorded: anomalies of the tail.
        dismissed: alarms of the tail that people called false.
        serving: what the serving version knows of these series; nothing without one.
        note: what a reader should know.
    """

    uid: str
    name: str
    policy: Policy
    per_week: float
    panel: Panel
    tail: Tail
    recorded: tuple[Event, ...] = ()
    dismissed: tuple[Event, ...] = ()
    serving: tuple[ModelChunk, ...] = ()
    note: str = ""


def measure(
    trial: Trial,
    contents: Sequence[bytes],
    *,
    seed: int,
    progress: Callable[[int, int], None],
    should_stop: ShouldStop,
) -> tuple[WatchMeasured, tuple[bytes, ...]]:
    """Returns what was counted, and the chunks again, having learned from the tail.

    Args:
        trial: what to measure on.
        contents: the chunks of the new version, packed; learned from before the tail.
        seed: of the anomalies that are put in.
        progress: called with the chunks measured and the chunks there are.
        should_stop: asked now and then.

    Raises:
        FitStopped: `should_stop` returned true.
    """
    court = _Court(trial, seed, should_stop)
    parts: list[Measured] = []
    taught: list[bytes] = []
    for batch in _batches([unpack(one) for one in contents], trial.panel.grid.count):
        parts.append(court.judge(batch, of=len(contents)))
        taught += (pack(chunk) for chunk in batch)
        progress(len(taught), len(contents))
    whole, grid = total(parts), trial.panel.grid
    row = WatchMeasured(
        uid=trial.uid,
        name=trial.name,
        start=grid.part(trial.tail.head, 1).start,
        end=grid.end,
        note="; ".join(note for note in (trial.note, court.note) if note),
        candidate=whole.candidate,
        common=whole.common,
        serving=whole.serving,
        log_error_ratio=whole.log_error_ratio,
        error_series=whole.error_series,
    )
    return row, tuple(taught)


def _batches(chunks: Sequence[ModelChunk], ticks: int) -> Iterator[list[ModelChunk]]:
    batch: list[ModelChunk] = []
    for chunk in chunks:
        if batch and (sum(one.series for one in batch) + chunk.series) * ticks > _MOST_POINTS:
            yield batch
            batch = []
        batch.append(chunk)
    if batch:
        yield batch


@dataclass(slots=True)
class _Court:
    """Judges batches of one watch, one after the other."""

    trial: Trial
    seed: int
    should_stop: ShouldStop
    injected: int = 0
    note: str = ""

    def judge(self, batch: Sequence[ModelChunk], *, of: int) -> Measured:
        """Returns the counts of some chunks, which have learned from the tail then."""
        chosen = self._chosen(batch, of)
        rounds = _rounds(len(chosen))
        # Before the batch is walked: a part begins with what the chunk knew then.
        few = copies_of(batch, chosen, copies=rounds)
        whole, head = self._panel(batch, known_series(batch))
        walked = self._walk(batch, whole, head)
        there = self._serving(whole, head, known_series(batch))
        measured = [self._clean(walked, there, whole, head)]
        if rounds:
            measured.append(self._disturbed(few, there, chosen, rounds))
        return total(measured)

    def _clean(self, ours: Walked, theirs: Walked | None, whole: Panel, head: int) -> Measured:
        judged = set(ours.judged)
        common = judged & set(theirs.judged) if theirs is not None else set()
        if theirs is None or not common:
            return Measured(candidate=self._side(ours, judged))
        ratio, count = (0.0, 0)
        if not self.trial.tail.was_seen:
            ratio, count = compare_errors(ours, theirs, whole.values[:, head:], whole.labels)
        return Measured(
            candidate=self._side(ours, judged),
            common=self._side(ours, common),
            serving=self._side(theirs, common),
            log_error_ratio=ratio,
            error_series=count,
        )

    def _disturbed(
        self,
        few: Sequence[ModelChunk],
        there: Walked | None,
        chosen: set[Labels],
        rounds: int,
    ) -> Measured:
        """Returns what is found of the anomalies put into some of the series, in all rounds."""
        made, head, events = self._disturb(few, chosen, rounds)
        ours = self._walk(few, made, head)
        candidate = finds_of(ours, set(ours.judged), events)
        theirs = None
        if there is not None:
            theirs = self._serving(made, head, chosen, copies=rounds)
        common = set(ours.judged) & set(theirs.judged) if theirs is not None else set()
        if theirs is None or not common:
            return Measured(candidate=candidate)
        return Measured(
            candidate=candidate,
            common=finds_of(ours, common, events),
            serving=finds_of(theirs, common, events),
        )

    def _disturb(
        self, few: Sequence[ModelChunk], chosen: set[Labels], rounds: int
    ) -> tuple[Panel, int, list[Event]]:
        """Returns the samples of all rounds side by side, their head, and what was put in."""
        clean, head = self._panel(few, chosen)
        owners = system_of(few)
        avoid = self._avoid(clean, head, owners, chosen)
        panels: list[Panel] = []
        events: list[Event] = []
        for number in range(rounds):
            made, put_in = disturb(clean, head, owners, seed=self.seed + number, avoid=avoid)
            panels.append(made)
            events += (replace(one, labels=copy_of(one.labels, number)) for one in put_in)
        return side_by_side(panels), head, events

    def _chosen(self, batch: Sequence[ModelChunk], of: int) -> set[Labels]:
        """Returns series of a batch to put anomalies into, spread evenly, systems whole."""
        share = max(1, MOST_INJECTED // of)
        chosen: set[Labels] = set()
        for chunk in batch:
            left = MOST_INJECTED - self.injected
            if left <= 0:
                break
            count = min(left, max(share, 1), chunk.series)
            rows = np.unique(np.linspace(0, chunk.series - 1, count).astype(np.intp))
            some = chunk.labels if chunk.systems else [chunk.labels[row] for row in rows]
            chosen.update(some)
            self.injected += len(some)
        return chosen

    def _panel(self, chunks: Sequence[ModelChunk], labels: set[Labels]) -> tuple[Panel, int]:
        """Returns the samples of some series as far back as they are needed, and their head."""
        trial = self.trial
        wanted = labels | _companions(trial.serving, labels)
        back = max(_LEAST_HISTORY, warm_ticks(chunks), warm_ticks(trial.serving))
        first = max(0, trial.tail.head - back)
        grid = trial.panel.grid
        window = trial.panel.window(grid.part(first, grid.count - first))
        rows = np.array([one in wanted for one in window.labels], np.bool_)
        return window.select(rows), trial.tail.head - first

    def _walk(self, chunks: Sequence[ModelChunk], panel: Panel, head: int) -> Walked:
        return walk_tail(chunks, panel, head, self.trial.policy, should_stop=self.should_stop)

    def _serving(
        self, panel: Panel, head: int, labels: set[Labels], *, copies: int = 1
    ) -> Walked | None:
        """Returns what the serving version says; None without one, or when it cannot speak."""
        chunks = copies_of(self.trial.serving, labels, copies=copies)
        if not chunks:
            return None
        try:
            return self._walk(chunks, panel, head)
        except FitStopped:
            raise
        except Exception as error:  # noqa: BLE001
            # What is broken in the version that serves must not keep it in its place.
            _log.exception("the serving version cannot be measured", watch=self.trial.name)
            self.note = f"the serving version cannot be measured: {type(error).__name__}: {error}"
            return None

    def _side(self, walked: Walked, among: set[Labels]) -> Side:
        trial = self.trial
        return side_of(
            walked,
            among,
            interval=trial.panel.grid.step,
            per_week=trial.per_week,
            recorded=trial.recorded,
            dismissed=trial.dismissed,
        )

    def _avoid(
        self, panel: Panel, head: int, owners: Mapping[Labels, Labels], chosen: set[Labels]
    ) -> Flags:
        """Returns bool[S, tail], where nothing is put in: recorded anomalies, other series."""
        covered = np.zeros((len(panel.labels), panel.grid.count - head), np.bool_)
        recorded: dict[Labels, list[Event]] = {}
        for one in self.trial.recorded:
            recorded.setdefault(one.labels, []).append(one)
        for row, labels in enumerate(panel.labels):
            covered[row] = labels not in chosen
            for one in (*recorded.get(labels, ()), *recorded.get(owners.get(labels, ()), ())):
                covered[row, one.start : one.end] = True
        return covered


def _rounds(series: int) -> int:
    """Returns how often anomalies are put into so many series."""
    return min(_MOST_ROUNDS, -(-_ENOUGH_SERIES // series)) if series else 0


def _companions(chunks: Sequence[ModelChunk], labels: set[Labels]) -> set[Labels]:
    """Returns the series of systems that have any of these: systems are judged as a whole."""
    found: set[Labels] = set()
    for chunk in chunks:
        if chunk.systems and not labels.isdisjoint(chunk.labels):
            found.update(chunk.labels)
    return found


def system_of(chunks: Sequence[ModelChunk]) -> dict[Labels, Labels]:
    """Returns the system of each series that belongs to one."""
    owners: dict[Labels, Labels] = {}
    for chunk in chunks:
        if isinstance(chunk.bank, SystemBank):
            for labels, system in zip(chunk.labels, chunk.bank.members, strict=True):
                owners[labels] = chunk.systems[system]
    return owners
