"""Chunks that are alike are scored as one, and say what each would say."""

from collections.abc import Sequence

import numpy as np
import pytest
from tests.unit.test_detector_scoring import POLICY, START, chunk

from metricwatch.artifact import ModelChunk
from metricwatch.scorer import Scorer
from metricwatch_detector import joining
from metricwatch_detector.joining import Joiner


def joined(*chunks: ModelChunk) -> tuple[ModelChunk, ...]:
    joiner = Joiner()
    for one in chunks:
        joiner.add(one)
    return joiner.chunks()


def scores(chunks: Sequence[ModelChunk]) -> dict[object, float]:
    """The score of each series after some ticks, by its labels."""
    scorer = Scorer(chunks, interval=60)
    rng = np.random.default_rng(3)
    noise = {labels: rng.normal(size=45) for labels in sorted(scorer.known)}
    for tick in range(45):
        values = np.array([100 + noise[labels][tick] for labels in scorer.known])
        verdicts = scorer.step(POLICY, time=START + 60 * tick, values=values)
        scorer.learn(excluded=verdicts.score > 1)
    return dict(zip(scorer.known, verdicts.score.tolist(), strict=True))


@pytest.mark.parametrize("family_name", ["seasonal", "autoregressive", "ensemble"])
def test_chunks_of_one_family_become_one_that_scores_the_same(family_name: str) -> None:
    def parts() -> list[ModelChunk]:
        return [chunk(*names, family_name=family_name) for names in ("ab", "cde", "f")]

    (whole,) = joined(*parts())
    assert [labels[0][1] for labels in whole.labels] == list("abcdef")
    assert whole.series == whole.scoring.series == whole.bank.series == 6
    assert scores([whole]) == pytest.approx(scores(parts()), rel=1e-5)


def test_other_families_and_other_parameters_stay_apart() -> None:
    one, other = chunk("a"), chunk("b", family_name="autoregressive")
    third = chunk("c")
    assert [part.family for part in joined(one, other, third)] == ["seasonal", "autoregressive"]
    far = ModelChunk("watch-2", 60, third.labels, third.bank, third.scoring)
    assert joined(one, far) == (one, far)


def test_a_chunk_that_is_alone_is_left_as_it_is() -> None:
    only = chunk("a", "b")
    assert joined(only) == (only,)
    assert joined() == ()


def test_joined_chunks_have_a_size_at_which_it_no_longer_helps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(joining, "MOST_TOGETHER", 4)
    sizes = [part.series for part in joined(chunk("a", "b"), chunk("c", "d"), chunk("e"))]
    assert sizes == [4, 1]
