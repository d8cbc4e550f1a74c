"""Two time scales that do not go on about what is over."""

import numpy as np
import pytest

from metricwatch.algorithms.base import RESIDUAL, FloatArray, Horizon, Stream
from metricwatch.scoring.derived import Derived
from metricwatch.scoring.scales import Heard, Scales
from metricwatch.scoring.tails import LEAST_FLOOR, Tails

TICKS = 150
FIRST, END = 40, 60
DISTANCE = Stream("distance", Horizon.LONG, signed=False, memory=8)
ENDLESS = Stream("shape", Horizon.LONG, signed=False)
ALERT = np.full(1, 6.0)
LEVEL = np.full((1, TICKS), 100.0)


def noise(seed: int = 1, *, streams: int = 1, ticks: int = TICKS) -> FloatArray:
    """Evidence of one series, within three deviations: nothing of it is loud."""
    drawn = np.random.default_rng(seed).standard_normal((streams, 1, ticks)).clip(-3, 3)
    drawn[1:] = np.abs(drawn[1:])
    return drawn


def tails(streams: tuple[Stream, ...]) -> Tails:
    history = noise(0, streams=len(streams), ticks=4000)
    if RESIDUAL in streams:
        history = Derived(0, np.ones(1)).extended(history)
    rows = len(history)
    return Tails.fit(history, floor=np.full((rows, 1), LEAST_FLOOR), weight=np.full(rows, 30.0))


def hear(
    evidence: FloatArray,
    *streams: Stream,
    expected: FloatArray | None = LEVEL,
    alert: FloatArray = ALERT,
) -> Heard:
    """All of it at once."""
    scales = Scales(streams or (RESIDUAL,), np.ones(1))
    return scales.hear(evidence, expected, tails(streams or (RESIDUAL,)), factor=None, alert=alert)


def incident(size: float = 50.0, *, end: int = END, streams: int = 1) -> FloatArray:
    evidence = noise(streams=streams)
    evidence[0, 0, FIRST:end] += size
    return evidence


def never(end: int = END) -> FloatArray:
    """The same as if nothing had been known during the incident."""
    evidence = noise()
    evidence[..., FIRST:end] = 0.0
    return evidence


@pytest.mark.parametrize("size", [20.0, 50.0, -50.0, 1e9])
@pytest.mark.parametrize("end", [FIRST + 1, FIRST + 4, FIRST + 12, FIRST + 70])
def test_an_incident_that_is_over_leaves_nothing_on_either_scale(size: float, end: int) -> None:
    after, rest = hear(incident(size, end=end)), hear(never(end))
    np.testing.assert_array_equal(after.short[:, end:], rest.short[:, end:])
    np.testing.assert_allclose(after.long[:, end:], rest.long[:, end:], atol=1e-4)
    assert (after.both[:, end:] <= rest.both[:, end:] + 1e-4).all()


def test_while_it_lasts_it_is_loud_and_the_ranking_remembers_it() -> None:
    heard = hear(incident())
    assert (heard.short[0, FIRST:END] > ALERT[0]).all()
    assert (heard.rarity[1, 0, END : END + 11] > 3.0).all()
    assert (heard.counted[1, 0, END : END + 11] < 2.0).all()


def test_a_forecast_that_got_used_to_it_does_not_end_it() -> None:
    evidence = noise()
    evidence[0, 0, FIRST] += 50.0
    moved = LEVEL.copy()
    moved[0, FIRST + 1 :] += 50.0
    used, back = hear(evidence, expected=moved), hear(evidence)
    lasts = slice(FIRST + 1, FIRST + 12)
    assert (used.long[0, lasts] > back.long[0, lasts] + 1.0).all()
    plain = hear(evidence, alert=np.full(1, np.inf))
    np.testing.assert_array_equal(used.long, plain.long)
    np.testing.assert_array_equal(used.both, plain.both)


def test_a_shift_too_small_to_be_loud_is_heard_as_ever() -> None:
    evidence = noise().clip(-1.5, 1.5)
    evidence[..., FIRST:] += 1.5
    shifted, plain = hear(evidence), hear(evidence, alert=np.full(1, np.inf))
    np.testing.assert_array_equal(shifted.long, plain.long)
    np.testing.assert_array_equal(shifted.both, plain.both)
    assert shifted.long[0, FIRST + 20 :].max() > 4.0


def test_a_shift_that_an_incident_leaves_behind_is_heard_as_if_there_had_been_none() -> None:
    lasting, alone = incident(), never()
    for evidence in (lasting, alone):
        evidence[..., END:] = evidence[..., END:].clip(-1.5, 1.5) + 1.5
    np.testing.assert_allclose(hear(lasting).long[:, END:], hear(alone).long[:, END:], atol=1e-4)
    assert hear(lasting).long[0, END + 20 :].max() > 4.0


def test_windows_of_the_bank_say_nothing_while_they_may_hold_what_is_over() -> None:
    evidence = incident(streams=3)
    evidence[1:, 0, FIRST : END + 7] += 20.0
    heard = hear(evidence, RESIDUAL, DISTANCE, ENDLESS)
    silent = np.isnan(heard.counted[1, 0])
    assert np.flatnonzero(silent).tolist() == list(range(END, END + 7))
    assert not np.isnan(heard.counted[2]).any()
    assert np.isfinite(heard.long).all()


def test_where_nothing_else_speaks_a_silent_window_leaves_the_newest_sample_to_decide() -> None:
    deviation = Stream("deviation", Horizon.SHORT, signed=True)
    evidence = incident(streams=2)
    heard = hear(evidence, deviation, DISTANCE, expected=None)
    assert np.isnan(heard.long[0, END : END + 7]).all()
    assert np.isfinite(heard.long[0, END + 7 :]).all()
    assert (heard.both[0, END : END + 11] < 2.0).all()


def test_a_bank_of_windows_alone_is_never_loud() -> None:
    evidence = np.abs(noise())
    evidence[..., FIRST:END] += 50.0
    heard = hear(evidence, DISTANCE, expected=None)
    assert heard.counted is heard.rarity


def test_series_that_join_have_empty_windows() -> None:
    scales = Scales((RESIDUAL,), np.ones(1))
    known = tails((RESIDUAL,))
    scales.hear(incident()[..., :END], LEVEL[:, :END], known, factor=None, alert=ALERT)
    scales.grow(1)
    known.grow(1)
    both = np.concatenate([noise()[..., :1], np.zeros((1, 1, 1))], axis=1)
    heard = scales.hear(both, np.full((2, 1), 100.0), known, factor=None, alert=np.full(2, 6.0))
    assert heard.both.shape == (2, 1)
    assert np.isnan(heard.evidence[1:, 1]).all()
