"""Families that learn from labelled anomalies: the same answers as what grew them, in NumPy."""

import subprocess
import sys
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.algorithms import FAMILIES, boosted_trees, extreme_learning, random_forest
from metricwatch.algorithms.base import FitStopped, Horizon, Progress
from metricwatch.algorithms.decision_trees import Tree, Trees, at_most, restore_trees
from metricwatch.algorithms.labelled import Examples, examples
from metricwatch.resources.algorithm import (
    HelmParameters,
    RandomForestParameters,
    XgboostParameters,
)
from metricwatch.resources.schema import ApiModel
from metricwatch.series import Grid

Values = NDArray[np.float64]
Labels = NDArray[np.bool_]
LABELLED = ("randomForest", "xgboost", "helm")
STEP = 300
SERIES = 4
TRAIN = Grid(start=0, step=STEP, count=1200)
TEST = Grid(start=TRAIN.end + STEP, step=STEP, count=600)
SMALL: dict[str, ApiModel] = {
    "randomForest": RandomForestParameters(trees=16, window=32),
    "xgboost": XgboostParameters(rounds=20, window=32),
    "helm": HelmParameters(layers=(16,), hidden=64, window=32),
}


def incidents(grid: Grid, *, seed: int, every: int = 100) -> tuple[Values, Labels]:
    """Noise of several sizes; for eight samples of every hundred it is three times as wild."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((SERIES, grid.count))
    labels = np.zeros(values.shape, dtype=np.bool_)
    for start in range(70, grid.count - 8, every):
        values[:, start : start + 8] *= 6.0
        labels[:, start : start + 8] = True
    return np.array([[1e-6], [1.0], [50.0], [1e9]]) * (10.0 + values), labels


@cache
def parts(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    values, labels = incidents(TRAIN, seed=0)
    bank = FAMILIES[name].fit(values, TRAIN, SMALL[name], labels=labels, seed=2)
    return bank.header(), bank.tensors()


def restored(name: str) -> Any:
    header, tensors = parts(name)
    return FAMILIES[name].restore(dict(header), dict(tensors))


def taught(seed: int = 0) -> Examples:
    values, labels = incidents(TRAIN, seed=seed)
    return examples(
        values,
        TRAIN,
        labels,
        window=32,
        family="randomForest",
        seed=0,
        progress=None,
        should_stop=None,
    )


@pytest.mark.parametrize("name", LABELLED)
def test_anomalies_like_the_labelled_ones_are_odder_than_the_rest(name: str) -> None:
    values, labels = incidents(TEST, seed=1)
    bank = restored(name)
    bank.backtest(TRAIN, incidents(TRAIN, seed=0)[0])
    evidence = bank.backtest(TEST, values).evidence[0]
    # At least one sample of eight: a wild sample may be small by chance.
    peaks = [evidence[:, first : first + 8].max(axis=1) for first in range(70, 592, 100)]
    assert np.min(peaks) > np.quantile(evidence[~labels], 0.97)
    assert np.median(evidence[labels]) > np.quantile(evidence[~labels], 0.95)


@pytest.mark.parametrize("name", LABELLED)
def test_ordinary_windows_of_every_series_have_hardly_any_evidence(name: str) -> None:
    quiet = incidents(TEST, seed=1, every=10_000)[0][:, 150:]
    evidence = restored(name).backtest(TEST.part(150, 450), quiet).evidence[0, :, 40:]
    assert np.median(evidence, axis=1).max() < 0.5
    assert (evidence >= 0).all()


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("labels", [None, np.zeros((SERIES, TRAIN.count), dtype=np.bool_)])
def test_a_history_without_labels_is_refused_with_what_to_do(
    name: str, labels: Labels | None
) -> None:
    values, _ = incidents(TRAIN, seed=0)
    with pytest.raises(ValueError, match=rf"{name} learns from labelled anomalies .* column"):
        FAMILIES[name].fit(values, TRAIN, SMALL[name], labels=labels)


@pytest.mark.parametrize("name", LABELLED)
def test_labels_where_there_are_no_samples_are_no_labels(name: str) -> None:
    values, labels = incidents(TRAIN, seed=0)
    values[labels] = np.nan
    with pytest.raises(ValueError, match="has none that it could use"):
        FAMILIES[name].fit(values, TRAIN, SMALL[name], labels=labels)


@pytest.mark.parametrize("name", LABELLED)
def test_labels_of_another_shape_are_refused(name: str) -> None:
    values, labels = incidents(TRAIN, seed=0)
    with pytest.raises(
        ValueError, match=r"labels have shape \(4, 1199\), history has \(4, 1200\)"
    ):
        FAMILIES[name].fit(values, TRAIN, SMALL[name], labels=labels[:, 1:])


@pytest.mark.parametrize("name", LABELLED)
def test_labels_of_one_series_teach_all_of_them(name: str) -> None:
    values, labels = incidents(TRAIN, seed=0)
    labels[1:] = False
    values[1:] = incidents(TRAIN, seed=0, every=10_000)[0][1:]
    bank = FAMILIES[name].fit(values, TRAIN, SMALL[name], labels=labels)
    tests, there = incidents(TEST, seed=1)
    evidence = bank.backtest(TEST, tests).evidence[0]
    for row in range(SERIES):
        calm = evidence[row, 40:][~there[row, 40:]]
        assert evidence[row][there[row]].mean() > 2 * calm.mean()


@pytest.mark.parametrize("name", LABELLED)
def test_a_bank_restored_gives_what_the_learned_one_gave(name: str) -> None:
    values, labels = incidents(TRAIN, seed=0)
    learned = FAMILIES[name].fit(values, TRAIN, SMALL[name], labels=labels, seed=2)
    tests, _ = incidents(TEST, seed=1)
    np.testing.assert_array_equal(
        restored(name).backtest(TEST, tests).evidence, learned.backtest(TEST, tests).evidence
    )


@pytest.mark.parametrize("name", LABELLED)
def test_what_all_series_share_is_declared_and_held_once(name: str) -> None:
    bank, (_, tensors) = restored(name), parts(name)
    shared = {key for key in tensors if key in bank.shared_tensors}
    assert shared
    assert {len(tensors[key]) for key in shared} == {1}
    own = sum(value.nbytes for key, value in tensors.items() if key not in shared)
    assert own / SERIES < 1024


@pytest.mark.parametrize("name", LABELLED)
def test_a_labelled_family_says_so_and_asks_not_to_be_fitted_on_folds(name: str) -> None:
    family = FAMILIES[name]
    assert family.learns_from_labels
    assert not family.cheap
    assert restored(name).streams[0].horizon is Horizon.SHORT


@pytest.mark.parametrize("name", LABELLED)
def test_a_fit_with_labels_stops_and_tells(name: str) -> None:
    values, labels = incidents(TRAIN, seed=0)
    told: list[Progress] = []
    FAMILIES[name].fit(values, TRAIN, SMALL[name], labels=labels, progress=told.append)
    assert (told[-1].family, told[-1].series, told[-1].of) == (name, SERIES, SERIES)
    asked = iter([False, True])
    with pytest.raises(FitStopped):
        FAMILIES[name].fit(
            values, TRAIN, SMALL[name], labels=labels, should_stop=lambda: next(asked)
        )


@pytest.mark.parametrize("name", LABELLED)
def test_labels_on_everything_learn_nothing_and_break_nothing(name: str) -> None:
    values, _ = incidents(TRAIN, seed=0)
    labels = np.ones(values.shape, dtype=np.bool_)
    bank = FAMILIES[name].fit(values, TRAIN, SMALL[name], labels=labels)
    assert np.isfinite(bank.backtest(TEST, incidents(TEST, seed=1)[0]).evidence[0, :, 40:]).all()


def test_a_forest_answers_as_scikit_learn_does() -> None:
    from sklearn.ensemble import RandomForestClassifier

    lesson = taught()
    forest = RandomForestClassifier(n_estimators=12, max_depth=7, random_state=0)
    forest.fit(lesson.features, lesson.anomalous)
    ours = random_forest.exported(forest).answer(lesson.features)
    theirs = forest.predict_proba(lesson.features)[:, 1]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert ours.std() > 0.1


def test_the_margin_of_a_forest_is_finite_and_rises_with_its_answer() -> None:
    leaf = np.zeros(1, dtype=np.int32)
    certain = [
        Tree(leaf, np.zeros(1, dtype=np.float32), np.zeros((1, 2), dtype=np.int32), np.array([v]))
        for v in (0.0, 0.5, 1.0)
    ]
    margins = [
        random_forest.forest_margin(Trees.of([tree]), np.zeros((1, 2), dtype=np.float32))[0]
        for tree in certain
    ]
    assert margins[0] == -margins[2]
    assert margins[0] < margins[1] == 0.0


def test_boosted_trees_answer_as_xgboost_does() -> None:
    import xgboost

    lesson = taught()
    booster = boosted_trees.boost(lesson, XgboostParameters(rounds=30, depth=5), 0)
    ours = boosted_trees.exported(booster).answer(lesson.features)
    theirs = booster.predict(xgboost.DMatrix(lesson.features), output_margin=True)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_allclose(
        1 / (1 + np.exp(-ours)), booster.predict(xgboost.DMatrix(lesson.features)), atol=1e-6
    )


@pytest.mark.parametrize("threshold", [0.1, 1 / 3, -0.7, 2.0, 0.1 + 1e-12])
def test_a_threshold_rounded_down_parts_the_same_numbers(threshold: float) -> None:
    rounded = at_most(np.array([threshold]))[0]
    near = np.float32(threshold)
    for number in (np.nextafter(near, np.float32(-9)), near, np.nextafter(near, np.float32(9))):
        assert (number <= rounded) == (float(number) <= threshold)


def stump() -> dict[str, Any]:
    tree = Tree(
        feature=np.array([1, 0, 0]),
        threshold=np.array([0.5, 0, 0], dtype=np.float32),
        children=np.array([[1, 2], [1, 1], [2, 2]]),
        value=np.array([0.0, -1.0, 1.0]),
    )
    return Trees.of([tree, tree]).tensors()


def test_a_stump_asks_its_one_question() -> None:
    trees = restore_trees(stump(), width=2)
    features = np.array([[9, 0.5], [9, 0.6], [-9, -3]], dtype=np.float32)
    np.testing.assert_array_equal(trees.answer(features), [-2.0, 2.0, -2.0])


def test_trees_of_different_size_are_padded_with_leaves_that_nobody_reaches() -> None:
    leaf = Tree(
        feature=np.array([0]),
        threshold=np.zeros(1, dtype=np.float32),
        children=np.array([[0, 0]]),
        value=np.array([0.25]),
    )
    small = restore_trees(stump(), width=2)
    tree = Tree(small.feature[0], small.threshold[0], small.children[0], small.value[0])
    forest = Trees.of([leaf, tree])
    np.testing.assert_array_equal(forest.answer(np.ones((1, 2), dtype=np.float32)), [1.25])


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("tree_children", lambda t: np.where(t == 1, 0, t), "do not end"),
        ("tree_children", lambda t: t + 1, "nodes that there are not"),
        ("tree_children", lambda t: -t, "nodes that there are not"),
        ("tree_feature", lambda t: t + 1, "features beyond the 2"),
        ("tree_feature", lambda t: t[0], r"expected \[1, trees, nodes\]"),
        ("tree_value", lambda t: t * np.float32("nan"), "no numbers"),
        ("tree_threshold", lambda t: t[:, :1], "expected float32"),
    ],
)
def test_trees_that_are_none_are_refused(name: str, change: Any, sentence: str) -> None:
    tensors = stump()
    tensors[name] = change(tensors[name])
    with pytest.raises(ValueError, match=sentence):
        restore_trees(tensors, width=2)


@pytest.mark.parametrize(
    ("units", "sentence"),
    [([], "1 to 5 layers"), ([16, 10**6], "in each layer"), ([16, 65], "expected float32")],
)
def test_a_machine_of_another_shape_than_it_says_is_refused(
    units: list[int], sentence: str
) -> None:
    header, tensors = parts("helm")
    with pytest.raises(ValueError, match=sentence):
        FAMILIES["helm"].restore({**header, "units": units}, tensors)


def test_a_machine_tells_classes_apart_that_no_line_does() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (2000, 3)).astype(np.float32)
    inside = np.hypot(points[:, 0], points[:, 1]) < 0.5
    lesson = taught()
    ring = Examples(
        windows=lesson.windows,
        features=points,
        anomalous=inside,
        weight=np.ones(2000),
        unlabelled=lesson.unlabelled,
        known=lesson.known,
    )
    layers = extreme_learning.teach(ring, HelmParameters(ridge=0.01), 0)
    right = (extreme_learning.answer(layers, points) > 0) == inside
    assert right.mean() > 0.93


def test_sparse_weights_are_where_no_small_change_helps() -> None:
    rng = np.random.default_rng(0)
    random = rng.standard_normal((400, 6))
    signal = random @ np.diag([3.0, -2.0, 0, 0, 0, 1.0]) + 0.01 * rng.standard_normal((400, 6))
    weights = extreme_learning._sparse(random, signal)
    slope = random.T @ (random @ weights - signal) / 400
    active = weights != 0
    np.testing.assert_allclose(slope[active], -1e-3 * np.sign(weights[active]), atol=1e-5)
    assert np.abs(slope[~active]).max() < 1.01e-3
    assert (~active).sum() > 10


SCORING = """
import sys
for heavy in ("sklearn", "xgboost", "torch", "scipy"):
    sys.modules[heavy] = None
import numpy as np
from metricwatch.algorithms import FAMILIES
from safetensors.numpy import load_file
import json
name, header, path = sys.argv[1:]
bank = FAMILIES[name].restore(json.loads(header), load_file(path))
print(float(np.nanmax(bank.step(0, np.zeros(bank.series)).expected)))
"""


@pytest.mark.parametrize("name", LABELLED)
def test_what_grew_the_trees_is_not_needed_to_score(name: str, tmp_path: Any) -> None:
    import json

    from safetensors.numpy import save_file

    header, tensors = parts(name)
    path = tmp_path / "bank.safetensors"
    save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, path)
    command = [sys.executable, "-c", SCORING, name, json.dumps(header), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) > 0
