"""When an anomaly is over, for any incident: samples are back, and nothing goes on about it."""

from functools import cache
from itertools import pairwise

import numpy as np
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from metricwatch.algorithms.base import RESIDUAL, FloatArray, Horizon, Stream
from metricwatch.algorithms.seasonal import fit
from metricwatch.anomalies import Lifecycle, Policy
from metricwatch.artifact import ModelChunk, pack, unpack
from metricwatch.scorer import Scorer
from metricwatch.scoring import Scoring
from metricwatch.scoring.derived import Derived
from metricwatch.scoring.scales import Heard, Scales
from metricwatch.scoring.tails import LEAST_FLOOR, Tails
from metricwatch.series import Grid
from metricwatch.walking import strides

STREAMS = (RESIDUAL, Stream("distance", Horizon.LONG, signed=False, memory=16))
ALERT = 4.0
STEP, LEARNED, BEFORE = 60, 2000, 60
COOLDOWN = 5 * STEP
# Shrinking takes minutes; what failed is told by the numbers anyway.
FEW = settings(
    max_examples=15, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)
seeds = st.integers(0, 2**32 - 1)
lengths = st.integers(1, 150)
sizes = st.floats(40.0, 200.0) | st.floats(40.0, 1e6)


def noise(seed: int, ticks: int) -> FloatArray:
    """Evidence of one series in which nothing is loud."""
    drawn = np.random.default_rng(seed).standard_normal((2, 1, ticks)).clip(-2.5, 2.5)
    drawn[1] = np.abs(drawn[1])
    return drawn


@cache
def tails() -> Tails:
    history = Derived(0, np.ones(1)).extended(noise(0, 4000))
    rows = len(history)
    return Tails.fit(history, floor=np.full((rows, 1), LEAST_FLOOR), weight=np.full(rows, 30.0))


def hear(evidence: FloatArray, expected: FloatArray, cuts: list[int] | None = None) -> Heard:
    scales, parts = Scales(STREAMS, np.ones(1)), []
    edges = [0, *(cuts or []), evidence.shape[2]]
    for first, end in pairwise(edges):
        parts.append(
            scales.hear(
                evidence[..., first:end],
                expected[:, first:end],
                tails(),
                factor=None,
                alert=np.full(1, ALERT),
            )
        )
    names = Heard.__slots__
    return Heard(*(np.concatenate([getattr(p, n) for p in parts], axis=-1) for n in names))


@FEW
@given(seed=seeds, size=sizes, down=st.booleans(), length=lengths, shift=st.floats(-2.0, 2.0))
def test_what_follows_an_incident_is_heard_as_if_it_had_not_been(
    seed: int, size: float, down: bool, length: int, shift: float
) -> None:
    end = BEFORE + length
    loud = noise(seed, end + 100)
    loud[0, :, end:] = loud[0, :, end:].clip(-1.0, 1.0) + shift
    calm = loud.copy()
    calm[0, 0, BEFORE:end] = 0.0
    loud[0, 0, BEFORE:end] = -size if down else size
    level = np.zeros((1, end + 100))
    one, other = hear(loud, level), hear(calm, level)
    np.testing.assert_array_equal(one.short[:, end:], other.short[:, end:])
    np.testing.assert_allclose(
        one.counted[2:, :, end:], other.counted[2:, :, end:], atol=1e-3, rtol=1e-3
    )


@FEW
@given(
    seed=seeds,
    used=st.floats(0.0, 1.0),
    cuts=st.sets(st.integers(1, 199), max_size=8).map(sorted),
)
def test_how_time_is_cut_makes_no_difference(seed: int, used: float, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    evidence, level = noise(seed, 200), np.zeros((1, 200))
    for _ in range(4):
        first, last = np.sort(rng.integers(0, 200, 2))
        evidence[0, 0, first:last] += rng.choice([-30.0, 8.0, 30.0])
        # A forecast that gets used to it, all at once and in part.
        moved = used * evidence[0, 0, first:last]
        level[0, first + 1 : last] += moved[1:]
        evidence[0, 0, first + 1 : last] -= moved[1:]
    evidence[:, :, rng.random(200) < 0.05] = np.nan
    whole, parts = hear(evidence, level), hear(evidence, level, cuts)
    for name in Heard.__slots__:
        np.testing.assert_allclose(
            getattr(parts, name), getattr(whole, name), atol=1e-4, rtol=1e-4, err_msg=name
        )


@cache
def learned() -> bytes:
    grid = Grid(0, STEP, LEARNED)
    values = 100 + np.random.default_rng(1).standard_normal((1, LEARNED))
    bank = fit(values, grid)
    said = fit(values, grid).backtest(grid, values)
    scoring = Scoring.fit(bank.streams, said.evidence, grid, value_step=np.full(1, 1e-3))
    return pack(ModelChunk("watch", STEP, ((("pod", "a"),),), bank, scoring))


@FEW
@given(seed=seeds, size=sizes, down=st.booleans(), length=lengths)
@example(seed=6, size=60.0, down=False, length=40)  # over an hour in which much is forgiven
def test_an_anomaly_ends_with_the_incident_and_the_cooldown(
    seed: int, size: float, down: bool, length: int
) -> None:
    end = BEFORE + length
    grid = Grid(LEARNED * STEP, STEP, end + 60)
    values = 100 + 0.3 * noise(seed, grid.count)[0]
    values[:, BEFORE:end] += -size if down else size
    policy = Policy(interval=STEP, threshold=4.3, cooldown=COOLDOWN)
    scorer, lifecycle = Scorer([unpack(learned())], interval=STEP), Lifecycle()
    changes = [
        change
        for stride in strides(scorer, policy, lifecycle, grid, values)
        for change in stride.changes
    ]
    ended = [one for one in changes if one.action == "closed"]
    assert [one.anomaly.started_at for one in ended] == [grid.start + BEFORE * STEP]
    back = grid.start + end * STEP
    assert ended[0].anomaly.ended_at == back
    assert ended[0].time == back + COOLDOWN
