"""A detector that catches up in spans says of systems what one says that goes tick by tick."""

from dataclasses import fields

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.system_builders import STEP, channels, learned, recorded

from metricwatch.anomalies import Component, Lifecycle, Policy, Verdicts, advance
from metricwatch.artifact import pack, unpack
from metricwatch.scorer import Scorer

POLICY = Policy(interval=STEP, threshold=3.0)
HISTORY, AHEAD = 300, 70
SYSTEMS = 2
RECORDED = recorded(channels(["x", "y"], 3), HISTORY + AHEAD)
LEARNED = pack(learned(RECORDED.window(RECORDED.grid.part(0, HISTORY)), ("host",)))
Disturbances = list[tuple[int, int, float]]
disturbances = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.integers(0, AHEAD - 1),
        st.sampled_from([np.nan, 5.0, -30.0, 1e9]),
    ),
    max_size=12,
)


def fresh() -> Scorer:
    return Scorer([unpack(LEARNED)], interval=STEP)


def samples(disturbed: Disturbances) -> np.ndarray:
    values = np.vstack([RECORDED.values[:, HISTORY:], np.full((SYSTEMS, AHEAD), np.nan)])
    for series, tick, away in disturbed:
        values[series, tick : tick + 4] += away
    return values


def by_ticks(values: np.ndarray) -> tuple[list[Verdicts], Lifecycle]:
    scorer, life, said = fresh(), Lifecycle.of(len(values)), []
    ahead = RECORDED.grid.part(HISTORY, AHEAD)
    for span in scorer.spans(ahead):
        for tick in range(span.start, span.stop):
            time = ahead.start + tick * STEP
            said.append(scorer.step(POLICY, time=time, values=values[:, tick]))
            advance(POLICY, life, said[-1])
            scorer.learn(excluded=life.open)
    return said, life


def by_spans(values: np.ndarray) -> tuple[list[Verdicts], Lifecycle]:
    scorer, life, said = fresh(), Lifecycle.of(len(values)), []
    ahead = RECORDED.grid.part(HISTORY, AHEAD)
    for span in scorer.spans(ahead):
        count = span.stop - span.start
        part = scorer.judge_span(POLICY, ahead.part(span.start, count), values[:, span])
        excluded = np.zeros((len(values), count), np.bool_)
        for tick, verdicts in enumerate(part):
            advance(POLICY, life, verdicts)
            excluded[:, tick] = life.open
        scorer.learn_span(excluded)
        said += part
    return said, life


def ranked(verdicts: Verdicts) -> list[tuple[Component, ...]]:
    assert verdicts.blame is not None
    return [verdicts.blame.ranked(slot) for slot in (6, 7)]


@settings(deadline=None, max_examples=15)
@given(disturbances)
def test_spans_say_what_ticks_say(disturbed: Disturbances) -> None:
    values = samples(disturbed)
    ticks, life = by_ticks(values)
    spans, after = by_spans(values)
    assert [one.time for one in spans] == [one.time for one in ticks]
    for one, other in zip(ticks, spans, strict=True):
        for entry in fields(Verdicts):
            if entry.name != "blame":
                np.testing.assert_allclose(
                    getattr(one, entry.name), getattr(other, entry.name), rtol=1e-6, atol=1e-9
                )
        assert [[part.labels for part in own] for own in ranked(one)] == [
            [part.labels for part in own] for own in ranked(other)
        ]
    np.testing.assert_array_equal(life.open, after.open)


@settings(deadline=None, max_examples=15)
@given(disturbances)
def test_no_anomaly_is_ever_one_of_a_channel(disturbed: Disturbances) -> None:
    said, life = by_ticks(samples(disturbed))
    assert not life.open[:6].any()
    assert all(np.isnan(one.score[:6]).all() for one in said)


@settings(deadline=None, max_examples=15)
@given(disturbances)
def test_only_channels_with_a_sample_are_to_blame(disturbed: Disturbances) -> None:
    values = samples(disturbed)
    for tick, verdicts in enumerate(by_spans(values)[0]):
        known = {one for row, one in enumerate(RECORDED.labels) if np.isfinite(values[row, tick])}
        named = {part.labels for own in ranked(verdicts) for part in own}
        assert named == known
