"""One group of series: fitted, calibrated on what was not fitted on, described, packed."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.algorithms import FAMILIES, Bank, Family, Progress
from metricwatch.algorithms.base import FitStopped
from metricwatch.artifact import sha256, unpack
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid, Panel
from metricwatch_trainer import choosing
from metricwatch_trainer.choosing import Choice
from metricwatch_trainer.learning import FOLDS, Lesson, as_artifact, calibrate, learn_group
from metricwatch_trainer.preparation import Group, head_of

STEP = 300
TICKS = 600
Values = NDArray[np.float64]


def history(series: int = 2, ticks: int = TICKS, *, seed: int = 0) -> Values:
    return 100 + np.random.default_rng(seed).standard_normal((series, ticks))


def group_of(values: Values) -> Group:
    labels = tuple((("pod", str(row)),) for row in range(len(values)))
    panel = Panel(grid=Grid(0, STEP, values.shape[1]), labels=labels, values=values)
    return Group(panel=panel, head=head_of(values.shape[1]))


def lesson(family: Family | str = "autoregressive", *, choose: bool = False) -> Lesson:
    own = FAMILIES[family] if isinstance(family, str) else family
    return Lesson(family=own, parameters=None, scaling=Scaling.ROBUST, seed=0, choose=choose)


def learn(group: Group, own: Lesson) -> Any:
    return learn_group(
        group, own, watch_uid="watch-1", progress=lambda _: None, should_stop=lambda: False
    )


def spying(name: str = "autoregressive", **changes: Any) -> tuple[Family, list[Values]]:
    """A family that notes what each of its fits may see."""
    family, seen = FAMILIES[name], list[Values]()

    def fit(values: Values, grid: Grid, *arguments: Any, **options: Any) -> Bank:
        seen.append(values.copy())
        return family.fit(values, grid, *arguments, **options)

    return replace(family, fit=fit, **changes), seen


def test_a_cheap_family_is_fitted_once_for_each_fold_and_once_on_everything() -> None:
    family, seen = spying()
    calibrated = calibrate(group_of(history()), lesson(family))
    assert len(seen) == FOLDS + 1
    assert np.isfinite(seen[0]).all()
    blanked = np.stack([np.isnan(values[0]) for values in seen[1:]])
    assert (blanked.sum(axis=0) == 1).all()
    assert blanked.sum(axis=1).tolist() == [TICKS // FOLDS] * FOLDS
    # Only the first few samples, before which there is nothing, say nothing.
    assert np.isfinite(calibrated.residual[:, 40:]).all()


def test_what_calibrates_was_not_fitted_on() -> None:
    # A family that knows its history by heart would have no residual there.
    values = history()
    values[:, TICKS // 2 :] += 50
    calibrated = calibrate(group_of(values), lesson("seasonal"))
    assert np.nanmax(np.abs(calibrated.residual)) > 20


def test_a_family_that_is_not_cheap_is_fitted_once_and_calibrated_on_the_tail() -> None:
    family, seen = spying(cheap=False)
    group = group_of(history())
    calibrated = calibrate(group, lesson(family))
    assert [values.shape[1] for values in seen] == [group.head]
    assert np.isnan(calibrated.residual[:, : group.head]).all()
    assert np.isfinite(calibrated.residual[:, group.head :]).all()


def test_a_history_too_short_for_folds_is_calibrated_on_its_tail() -> None:
    family, seen = spying("seasonal")
    group = group_of(history(ticks=80))
    calibrated = calibrate(group, lesson(family))
    assert [values.shape[1] for values in seen] == [group.head, 80]
    assert np.isfinite(calibrated.residual[:, group.head :]).all()


def test_labels_reach_a_family_that_learns_from_them() -> None:
    told: list[NDArray[np.bool_] | None] = []
    family = FAMILIES["autoregressive"]

    def fit(*arguments: Any, labels: NDArray[np.bool_] | None, **options: Any) -> Bank:
        told.append(labels)
        return family.fit(*arguments, **options)

    flags = np.zeros((2, TICKS), np.bool_)
    flags[:, 5] = True
    own = lesson(replace(family, fit=fit, cheap=False))
    calibrate(replace(group_of(history()), labels=flags), own)
    (labels,) = told
    assert labels is not None
    assert labels[:, 5].all()


def test_the_bank_has_a_fresh_state_and_the_scoring_knows_ordinary_samples() -> None:
    values = history()
    calibrated = calibrate(group_of(values), lesson("seasonal"))
    np.testing.assert_allclose(calibrated.scoring.typical(), 1.0, rtol=0.2)
    assert calibrated.scoring.series == calibrated.bank.series == 2


def test_a_chunk_holds_the_series_in_their_order_and_the_report_describes_them() -> None:
    values = history()
    values[1] *= 10
    values[1, 100:120] = np.nan
    (chunk,), learned = learn(group_of(values), lesson())
    assert (chunk.watch_uid, chunk.interval, chunk.family) == ("watch-1", STEP, "autoregressive")
    assert chunk.labels == tuple(one.labels for one in learned)
    assert [one.samples for one in learned] == [TICKS, TICKS - 20]
    first, second = learned
    assert first.rmse == pytest.approx(1.0, rel=0.15)
    assert second.rmse == pytest.approx(10.0, rel=0.15)
    assert first.persistence_rmse == pytest.approx(np.sqrt(2), rel=0.1)
    assert first.normal_within is not None
    assert first.normal_within > 2.5
    assert first.gain is None


def test_a_series_without_samples_is_described_without_numbers() -> None:
    values = history()
    values[0] = np.nan
    _, (first, second) = learn(group_of(values), lesson("seasonal"))
    assert (first.samples, first.rmse, first.persistence_rmse) == (0, None, None)
    assert second.rmse is not None


def test_an_artifact_is_what_was_learned_and_its_checksum() -> None:
    (chunk,), _ = learn(group_of(history()), lesson())
    row = as_artifact(chunk, shard=2, number=7)
    assert (row.shard, row.chunk, row.family, row.series) == (2, 7, "autoregressive", 2)
    assert row.sha256.hex() == sha256(row.content)
    again = unpack(row.content)
    grid, values = Grid(TICKS * STEP, STEP, 20), history(ticks=20, seed=1)
    for one in (chunk, again):
        one.scoring.warm(grid.start, one.bank.backtest(grid, values).evidence)
    evidence = np.ones((len(chunk.bank.streams), 2, 1)) * 5
    np.testing.assert_array_equal(
        chunk.scoring.score(0, evidence).rarity, again.scoring.score(0, evidence).rarity
    )


def test_the_same_seed_learns_the_same() -> None:
    one, other = (
        as_artifact(learn(group_of(history()), lesson())[0][0], shard=0, number=0)
        for _ in range(2)
    )
    assert one.content == other.content


def test_what_is_chosen_gives_a_chunk_for_each_family_and_says_by_how_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def choose(*_: Any, **__: Any) -> tuple[Choice, ...]:
        return (
            Choice(np.array([1]), FAMILIES["autoregressive"], None, (0.25,)),
            Choice(np.array([0, 2]), FAMILIES["seasonal"], None, (0.0, None)),
        )

    monkeypatch.setattr(choosing, "choose", choose)
    chunks, learned = learn(group_of(history(3)), lesson("ensemble", choose=True))
    assert [chunk.family for chunk in chunks] == ["autoregressive", "seasonal"]
    assert [len(chunk.labels) for chunk in chunks] == [1, 2]
    told = {dict(one.labels)["pod"]: (one.family, one.gain) for one in learned}
    assert told == {
        "1": ("autoregressive", 0.25),
        "0": ("seasonal", 0.0),
        "2": ("seasonal", None),
    }


def test_a_lesson_that_is_to_stop_stops() -> None:
    with pytest.raises(FitStopped):
        calibrate(group_of(history()), lesson(), should_stop=lambda: True)


def test_progress_is_told() -> None:
    told: list[Progress] = []
    calibrate(group_of(history()), lesson(), progress=told.append)
    assert told[-1].of == 2
