"""Random forest that learns from labels (Breiman 2001): one for all series of a bank.

scikit-learn grows it inside `fit`; its trees are kept as arrays, and what scores needs NumPy only.
The margin is the log-odds of the share of trees that call a window anomalous.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import (
    Family,
    FitStopped,
    FloatArray,
    Header,
    Report,
    ShouldStop,
    Suggest,
    Tensors,
    check_history,
    own_parameters,
)
from metricwatch.algorithms.decision_trees import (
    TREE_TENSORS,
    Tree,
    Trees,
    at_most,
    restore_trees,
)
from metricwatch.algorithms.labelled import (
    Examples,
    LabelledBank,
    examples,
    minimum_labelled_samples,
    restore_labelled,
)
from metricwatch.algorithms.window_features import FloatArray32
from metricwatch.algorithms.windows import Windows
from metricwatch.resources.algorithm import RandomForestParameters
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid


class RandomForestBank(LabelledBank):
    """S series and the forest they share."""

    family = "randomForest"
    shared_tensors = TREE_TENSORS

    def __init__(self, windows: Windows, ordinary: FloatArray32, trees: Trees) -> None:
        """Takes parameters over.

        Args:
            windows: of S series.
            ordinary: float32[S], margin of an ordinary window.
            trees: their answers add up to the share of trees that say anomalous.
        """
        super().__init__(windows, ordinary)
        self._trees = trees

    def margin(self, features: FloatArray32) -> FloatArray:
        """Returns the log-odds that windows are anomalous, float64[n]."""
        return forest_margin(self._trees, features)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns the parameters."""
        return {**super().tensors(), **self._trees.tensors()}


def forest_margin(trees: Trees, features: FloatArray32) -> FloatArray:
    """Returns log-odds; those of a unanimous forest are as if half a tree disagreed."""
    share = trees.answer(features)
    least = 0.5 / len(trees.feature)
    return np.log((share + least) / (1.0 - share + least))


def fit(
    values: FloatArray,
    grid: Grid,
    parameters: ApiModel | None = None,
    *,
    scaling: Scaling = Scaling.ROBUST,
    seed: int = 0,
    labels: NDArray[np.bool_] | None = None,
    progress: Report | None = None,
    should_stop: ShouldStop | None = None,
) -> RandomForestBank:
    """Returns a bank whose forest was grown on the labelled windows of all series.

    Raises:
        FitStopped: `should_stop` returned true.
        ValueError: shapes do not fit together, or no window is labelled.
    """
    del scaling  # features have scales of their own
    check_history(values, grid)
    own = own_parameters(RandomForestParameters, parameters)
    taught = examples(
        values,
        grid,
        labels,
        window=own.window,
        family=RandomForestBank.family,
        seed=seed,
        progress=progress,
        should_stop=should_stop,
    )
    if should_stop is not None and should_stop():
        raise FitStopped
    trees = grow(taught, own, seed)
    ordinary = taught.ordinary(lambda features: forest_margin(trees, features))
    return RandomForestBank(taught.windows, ordinary, trees)


def grow(taught: Examples, own: RandomForestParameters, seed: int) -> Trees:
    """Returns the forest that scikit-learn grows, with a leaf's share over the number of trees."""
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(
        n_estimators=own.trees,
        max_depth=own.depth,
        min_samples_leaf=own.least_leaf,
        random_state=seed,
    )
    forest.fit(taught.features, taught.anomalous, sample_weight=taught.weight)
    return exported(forest)


def exported(forest: Any) -> Trees:
    """Returns the trees of a scikit-learn forest of two classes, or of one."""
    anomalous = list(forest.classes_).index(True)
    trees = []
    for estimator in forest.estimators_:
        tree = estimator.tree_
        itself = np.arange(tree.node_count)
        children = np.stack([tree.children_left, tree.children_right], axis=1)
        weight = tree.value[:, 0, :]
        share = weight[:, anomalous] / weight.sum(axis=1)
        trees.append(
            Tree(
                feature=tree.feature,
                threshold=at_most(tree.threshold),
                children=np.where(children < 0, itself[:, None], children),
                value=share / len(forest.estimators_),
            )
        )
    return Trees.of(trees)


def restore(header: Header, tensors: Tensors) -> RandomForestBank:
    """Returns the bank that `header` and `tensors` describe, with a fresh state.

    Raises:
        ValueError: they do not fit together.
    """
    windows, ordinary = restore_labelled(header, tensors)
    return RandomForestBank(windows, ordinary, restore_trees(tensors, width=windows.width))


def minimum_samples(parameters: ApiModel | None = None) -> int:
    """Returns what the scales of features take."""
    own_parameters(RandomForestParameters, parameters)
    return minimum_labelled_samples()


def search(suggest: Suggest) -> RandomForestParameters:
    """Returns parameters to try."""
    return RandomForestParameters(
        window=suggest.suggest_categorical("window", [None, 16, 32, 64, 128]),
        trees=suggest.suggest_int("trees", 32, 128, log=True),
        depth=suggest.suggest_int("depth", 3, 12),
        least_leaf=suggest.suggest_int("least_leaf", 1, 50, log=True),
    )


RANDOM_FOREST = Family(
    name="randomForest",
    parameters=RandomForestParameters,
    fit=fit,
    restore=restore,
    minimum_samples=minimum_samples,
    # Not that it takes long: a fold of a history may hold none of the labels.
    cheap=False,
    learns_from_labels=True,
    search=search,
)
