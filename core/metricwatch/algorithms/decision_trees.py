"""Decision trees as arrays, walked level by level for many windows at once, in NumPy only.

Whatever grew them (scikit-learn, XGBoost), trees are kept in one form: at a node, a window goes to
the first child when a feature is at most a threshold, to the second one otherwise; a leaf is its
own child. The answer of a forest is the sum of its leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray, Tensors, take_tensor
from metricwatch.algorithms.window_features import FloatArray32

TREE_TENSORS = frozenset({"tree_feature", "tree_threshold", "tree_children", "tree_value"})
_MOST_DEPTH = 64
_MOST_NODES = 1 << 20
_WALKS_AT_ONCE = 1 << 15


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """One tree of m nodes, the root first.

    Attributes:
        feature: int[m], what a node looks at; anything at a leaf.
        threshold: float32[m], up to where a window goes to the first child.
        children: int[m, 2], the node itself twice at a leaf.
        value: float[m], what a leaf adds to the answer.
    """

    feature: NDArray[np.integer[Any]]
    threshold: FloatArray32
    children: NDArray[np.integer[Any]]
    value: NDArray[np.floating[Any]]


class Trees:
    """A forest, padded to trees of N nodes."""

    def __init__(
        self,
        *,
        feature: NDArray[np.int16],
        threshold: FloatArray32,
        children: NDArray[np.int32],
        value: FloatArray32,
    ) -> None:
        """Takes arrays over.

        Args:
            feature: int16[trees, N].
            threshold: float32[trees, N].
            children: int32[trees, N, 2], nodes of the same tree.
            value: float32[trees, N].

        Raises:
            ValueError: following the children does not end within 64 steps.
        """
        self.feature = feature
        self.threshold = threshold
        self.children = children
        self.value = value
        self._depth = _depth(children)
        first = np.arange(len(feature), dtype=np.int32) * feature.shape[1]
        self._roots = first
        self._next = (children + first[:, None, None]).ravel()

    @classmethod
    def of(cls, trees: Sequence[Tree]) -> Self:
        """Returns a forest of single trees."""
        nodes = max(len(tree.feature) for tree in trees)
        shape = (len(trees), nodes)
        feature = np.zeros(shape, dtype=np.int16)
        threshold = np.zeros(shape, dtype=np.float32)
        itself = np.arange(nodes, dtype=np.int32)[:, None]
        children = np.broadcast_to(itself, (*shape, 2)).copy()
        value = np.zeros(shape, dtype=np.float32)
        for row, tree in enumerate(trees):
            used = slice(len(tree.feature))
            leaf = tree.children[:, 0] == np.arange(len(tree.feature))
            feature[row, used] = np.where(leaf, 0, tree.feature)
            threshold[row, used] = np.where(leaf, 0, tree.threshold)
            children[row, used] = tree.children
            value[row, used] = np.where(leaf, tree.value, 0)
        return cls(feature=feature, threshold=threshold, children=children, value=value)

    def answer(self, features: FloatArray32) -> FloatArray:
        """Returns the sum of the leaves that windows reach, float64[n].

        Args:
            features: float32[n, d].
        """
        total = np.empty(len(features))
        block = max(1, _WALKS_AT_ONCE // len(self._roots))
        for first in range(0, len(features), block):
            part = slice(first, first + block)
            total[part] = self._walk(np.ascontiguousarray(features[part]))
        return total

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns the arrays, each with a first axis of 1: all series share them."""
        return {
            "tree_feature": self.feature[None],
            "tree_threshold": self.threshold[None],
            "tree_children": self.children[None],
            "tree_value": self.value[None],
        }

    def _walk(self, features: FloatArray32) -> FloatArray:
        flat = features.ravel()
        row = np.arange(len(features), dtype=np.int32)[:, None] * features.shape[1]
        node = np.broadcast_to(self._roots, (len(features), len(self._roots)))
        feature, threshold = self.feature.ravel(), self.threshold.ravel()
        for _ in range(self._depth):
            second = flat[row + feature[node]] > threshold[node]
            node = self._next[2 * node + second]
        reached: FloatArray = self.value.ravel()[node].sum(axis=1, dtype=np.float64)
        return reached


def restore_trees(tensors: Tensors, *, width: int) -> Trees:
    """Returns the forest in `tensors`.

    Args:
        tensors: of a stored bank, `TREE_TENSORS` among them.
        width: how many features a window has.

    Raises:
        ValueError: the tensors do not fit together, or are no trees.
    """
    known = tensors.get("tree_feature")
    shape = known.shape if known is not None and known.ndim == 3 else (1, 0, 0)
    if not 0 < shape[1] * shape[2] <= _MOST_NODES:
        raise ValueError(f"tensor tree_feature has shape {shape}, expected [1, trees, nodes]")
    shape = (1, *shape[1:])
    feature = take_tensor(tensors, "tree_feature", shape, np.int16)[0]
    children = take_tensor(tensors, "tree_children", (*shape, 2), np.int32)[0]
    if (feature < 0).any() or (feature >= width).any():
        raise ValueError(f"tensor tree_feature names features beyond the {width} there are")
    if (children < 0).any() or (children >= shape[2]).any():
        raise ValueError("tensor tree_children names nodes that there are not")
    return Trees(
        feature=feature,
        threshold=take_tensor(tensors, "tree_threshold", shape, np.float32)[0],
        children=children,
        value=take_tensor(tensors, "tree_value", shape, np.float32)[0],
    )


def at_most(threshold: NDArray[np.float64]) -> FloatArray32:
    """Returns float32 thresholds that no float32 is on another side of: rounded down."""
    rounded = threshold.astype(np.float32)
    below = np.nextafter(rounded, np.float32(-np.inf))
    return np.where(rounded > threshold, below, rounded)


def _depth(children: NDArray[np.int32]) -> int:
    """Returns the most steps from a root to a leaf."""
    trees, nodes = children.shape[:2]
    place = np.arange(nodes)
    inner = (children != place[:, None]).any(axis=2)
    reached = np.zeros((trees, nodes), dtype=np.bool_)
    reached[:, 0] = True
    for depth in range(_MOST_DEPTH):
        tree, node = np.nonzero(reached & inner)
        if len(tree) == 0:
            return depth
        reached[:] = False
        reached[tree[:, None], children[tree, node]] = True
    raise ValueError(f"trees do not end within {_MOST_DEPTH} steps")
