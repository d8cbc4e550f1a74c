"""The series that choices are tried on: univariate ones with labels, and channels of systems.

Series of like length learn side by side, each with the time of day counted from its first sample.
SMD has no labels in its train parts: half of a channel is learned from, half counts false alarms.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

LIKE_LENGTH = 1.06
MOST_TICKS = 60_000
SMD_CHANNELS, SMD_SEED = 3, 1
KPI_5 = ("54350a12", "a8c06b47", "ab216663")
KPI_1 = ("431a8542", "57051487")
SETS = ("nab", "nab_other", "kpi 5 min", "kpi 1 min", "smd")

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Recording:
    """One series on its grid: `learned` ticks of history, then what is scored."""

    set_name: str
    name: str
    step: int
    learned: int
    values: Floats
    labels: Flags
    known: Flags


def gridded(path: Path, set_name: str) -> Recording:
    """Returns a univariate series; of a long one the parts next to where its test part begins."""
    frame = pd.read_csv(path)
    step = int(np.median(np.diff(frame.timestamp)))
    offset = int(frame.timestamp.iloc[0]) % step
    tick = ((frame.timestamp - offset) / step).round().astype(int)
    frame = frame.assign(tick=tick).drop_duplicates("tick").set_index("tick")
    frame = frame.reindex(range(frame.index[0], frame.index[-1] + 1))
    learned = int(np.flatnonzero(frame.part.to_numpy() == "train")[-1]) + 1
    first = max(0, learned - MOST_TICKS)
    frame = frame.iloc[first : learned + MOST_TICKS]
    return Recording(
        set_name,
        path.name[:-7],
        step,
        learned - first,
        frame.value.to_numpy(dtype=np.float64),
        frame.label.fillna(0).to_numpy() > 0,
        frame.label.notna().to_numpy(),
    )


def channels(path: Path, rng: np.random.Generator) -> Iterator[Recording]:
    """Yields some channels of a system's train part that take more than a few values."""
    frame = pd.read_csv(path)
    frame = frame[frame.part == "train"]
    step = int(np.median(np.diff(frame.timestamp)))
    names = [n for n in map(str, frame) if n.startswith("m") and frame[n].nunique() > 20]
    for name in rng.choice(np.array(names), SMD_CHANNELS, replace=False):
        values = frame[name].to_numpy(dtype=np.float64)
        calm, known = np.zeros(len(values), np.bool_), np.ones(len(values), np.bool_)
        label = f"{path.name[:-7]}-{name}"
        yield Recording("smd", label, step, len(values) // 2, values, calm, known)


def recordings(data: Path) -> list[Recording]:
    found = [gridded(p, s) for s in SETS[:2] for p in sorted((data / s).glob("*.csv.gz"))]
    for set_name, names in (("kpi 5 min", KPI_5), ("kpi 1 min", KPI_1)):
        found += [gridded(data / "aiops_kpi" / f"{n}.csv.gz", set_name) for n in names]
    rng = np.random.default_rng(SMD_SEED)
    for path in sorted((data / "smd").glob("*.csv.gz")):
        found += channels(path, rng)
    return found


def in_groups(found: list[Recording]) -> list[list[Recording]]:
    """Returns series that can learn side by side: one interval, histories of like length."""
    groups: list[list[Recording]] = []
    for one in sorted(found, key=lambda r: (r.step, r.learned)):
        first = groups[-1][0] if groups else None
        if first and first.step == one.step and one.learned <= LIKE_LENGTH * first.learned:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups
