"""Boosted trees that learn from labels (Chen & Guestrin 2016): one model for all series of a bank.

XGBoost grows them inside `fit`; they are kept as arrays, and what scores needs NumPy only. The
margin is XGBoost's own: the log-odds before the logistic function.
"""

from __future__ import annotations

import json
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
from metricwatch.algorithms.decision_trees import TREE_TENSORS, Tree, Trees, restore_trees
from metricwatch.algorithms.labelled import (
    Examples,
    LabelledBank,
    examples,
    minimum_labelled_samples,
    restore_labelled,
)
from metricwatch.algorithms.window_features import FloatArray32
from metricwatch.algorithms.windows import Windows
from metricwatch.resources.algorithm import XgboostParameters
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid


class BoostedTreesBank(LabelledBank):
    """S series and the trees they share."""

    family = "xgboost"
    shared_tensors = TREE_TENSORS

    def __init__(self, windows: Windows, ordinary: FloatArray32, trees: Trees) -> None:
        """Takes parameters over.

        Args:
            windows: of S series.
            ordinary: float32[S], margin of an ordinary window.
            trees: their answers add up to log-odds.
        """
        super().__init__(windows, ordinary)
        self._trees = trees

    def margin(self, features: FloatArray32) -> FloatArray:
        """Returns the log-odds that windows are anomalous, float64[n]."""
        return self._trees.answer(features)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns the parameters."""
        return {**super().tensors(), **self._trees.tensors()}


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
) -> BoostedTreesBank:
    """Returns a bank whose trees were grown on the labelled windows of all series.

    Raises:
        FitStopped: `should_stop` returned true.
        ValueError: shapes do not fit together, or no window is labelled.
    """
    del scaling  # features have scales of their own
    check_history(values, grid)
    own = own_parameters(XgboostParameters, parameters)
    taught = examples(
        values,
        grid,
        labels,
        window=own.window,
        family=BoostedTreesBank.family,
        seed=seed,
        progress=progress,
        should_stop=should_stop,
    )
    if should_stop is not None and should_stop():
        raise FitStopped
    trees = exported(boost(taught, own, seed))
    return BoostedTreesBank(taught.windows, taught.ordinary(trees.answer), trees)


def boost(taught: Examples, own: XgboostParameters, seed: int) -> Any:
    """Returns XGBoost's model; one thread, so that the same seed gives the same trees."""
    import xgboost

    data = xgboost.DMatrix(taught.features, label=taught.anomalous, weight=taught.weight)
    settings = {
        "objective": "binary:logistic",
        "base_score": 0.5,
        "tree_method": "hist",
        "max_depth": own.depth,
        "eta": own.learning_rate,
        "min_child_weight": 5.0,
        "subsample": 0.8,
        "seed": seed,
        "nthread": 1,
    }
    return xgboost.train(settings, data, num_boost_round=own.rounds)


def exported(booster: Any) -> Trees:
    """Returns the trees of a model whose base score is one half, log-odds of 0."""
    model = json.loads(booster.save_raw(raw_format="json"))
    trees = []
    for tree in model["learner"]["gradient_booster"]["model"]["trees"]:
        left = np.array(tree["left_children"])
        children = np.stack([left, np.array(tree["right_children"])], axis=1)
        condition = np.array(tree["split_conditions"], dtype=np.float32)
        trees.append(
            Tree(
                feature=np.array(tree["split_indices"]),
                # XGBoost goes left below a threshold, not at it.
                threshold=np.nextafter(condition, np.float32(-np.inf)),
                children=np.where(children < 0, np.arange(len(left))[:, None], children),
                value=condition,
            )
        )
    return Trees.of(trees)


def restore(header: Header, tensors: Tensors) -> BoostedTreesBank:
    """Returns the bank that `header` and `tensors` describe, with a fresh state.

    Raises:
        ValueError: they do not fit together.
    """
    windows, ordinary = restore_labelled(header, tensors)
    return BoostedTreesBank(windows, ordinary, restore_trees(tensors, width=windows.width))


def minimum_samples(parameters: ApiModel | None = None) -> int:
    """Returns what the scales of features take."""
    own_parameters(XgboostParameters, parameters)
    return minimum_labelled_samples()


def search(suggest: Suggest) -> XgboostParameters:
    """Returns parameters to try."""
    return XgboostParameters(
        window=suggest.suggest_categorical("window", [None, 16, 32, 64, 128]),
        rounds=suggest.suggest_int("rounds", 20, 200, log=True),
        depth=suggest.suggest_int("depth", 2, 8),
        learning_rate=suggest.suggest_float("learning_rate", 0.02, 0.3, log=True),
    )


XGBOOST = Family(
    name="xgboost",
    parameters=XgboostParameters,
    fit=fit,
    restore=restore,
    minimum_samples=minimum_samples,
    # Not that it takes long: a fold of a history may hold none of the labels.
    cheap=False,
    learns_from_labels=True,
    search=search,
)
