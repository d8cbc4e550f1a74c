"""Samples scored per second on one core by the cheap families, beside river doing the same.

    python benchmarks/cheap_families.py [--series N ...] [--seconds S] [--peer-python PATH]

PATH is the Python of an environment that has river; without it only the families of this package
are timed. Every figure is CPU time of single steps, the way a detector scores: a tick of all S
series for a bank, one sample of one series for river. `ns/sample` over S shows what grows with S.
Bytes are all arrays of a bank after some ticks, parameters and carried state.
"""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms import FAMILIES, Bank, Family
from metricwatch.series import Grid

STEP = 60
HISTORY = Grid(0, STEP, 4 * 1440)
LEARNED = 64
PATTERNS = 16
ROUNDS = 5
TICKS_OF_A_BLOCK = 30
"""Levels move every half hour: a round covers whole ones, so that its share of them is fair."""
NAMES = ("zscore", "adaptiveThreshold", "seasonal", "autoregressive", "subspacePca")
PEER = Path(__file__).with_name("river_peer.py")


def bank_of(family: Family, series: int) -> Bank:
    """Returns a bank of so many series, learned from a few and repeated."""
    if family.fresh is not None:
        return family.fresh(series, step=STEP)
    noise = np.random.default_rng(0).standard_normal((min(series, LEARNED), HISTORY.count))
    day = np.sin(2 * np.pi * HISTORY.timestamps() / 86400)
    learned = family.fit(100 + 5 * day + noise, HISTORY)
    copies = -(-series // len(noise))
    tensors = {
        name: np.concatenate([tensor] * copies)[:series]
        for name, tensor in learned.tensors().items()
    }
    return family.restore(learned.header(), tensors)


def nanoseconds(bank: Bank, seconds: float) -> float:
    """Returns CPU nanoseconds for each sample, the best of several rounds."""
    values = 100 + 5 * np.random.default_rng(1).standard_normal((PATTERNS, bank.series))
    values[:, ::97] = np.nan
    tick, best = HISTORY.count, np.inf
    for _ in range(ROUNDS):
        ticks, began = 0, time.process_time()
        while ticks % TICKS_OF_A_BLOCK or time.process_time() - began < seconds:
            bank.step(tick * STEP, values[tick % PATTERNS])
            tick, ticks = tick + 1, ticks + 1
        best = min(best, (time.process_time() - began) / (ticks * bank.series))
    return 1e9 * best


def arrays_of(thing: object, seen: set[int]) -> Iterator[NDArray[Any]]:
    """Yields every array that is reachable, each memory once."""
    if id(thing) in seen or isinstance(thing, (str, bytes, int, float, type(None))):
        return
    seen.add(id(thing))
    if isinstance(thing, np.ndarray):
        if isinstance(thing.base, np.ndarray):
            yield from arrays_of(thing.base, seen)
        else:
            yield thing
        return
    if isinstance(thing, dict):
        inside = list(thing.values())
    elif isinstance(thing, (list, tuple)):
        inside = list(thing)
    else:
        slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
        inside = [getattr(thing, name) for name in slots if hasattr(thing, name)]
        inside += list(getattr(thing, "__dict__", {}).values())
    for one in inside:
        yield from arrays_of(one, seen)


def bytes_for_each(bank: Bank) -> tuple[float, float]:
    """Returns bytes for each series: what is stored, and all that is in memory."""
    stored = sum(tensor.nbytes for tensor in bank.tensors().values())
    held = sum(array.nbytes for array in arrays_of(bank, set()))
    return stored / bank.series, held / bank.series


def peers(python: str | None, seconds: float) -> dict[str, float]:
    """Returns river's samples per second by family."""
    if python is None:
        return {}
    command = [python, str(PEER), "--seconds", str(seconds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {str(name): float(rate) for name, rate in json.loads(done.stdout).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = [100, 1_000, 10_000, 100_000]
    parser.add_argument("--series", type=int, nargs="*", default=sizes)
    parser.add_argument("--families", nargs="*", default=list(NAMES), choices=list(NAMES))
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--peer-python")
    chosen = parser.parse_args()
    print(f"one core, CPU time, load {os.getloadavg()[0]:.1f}")
    river = peers(chosen.peer_python, chosen.seconds)
    for name in chosen.families:
        for series in chosen.series:
            bank = bank_of(FAMILIES[name], series)
            each = nanoseconds(bank, chosen.seconds)
            stored, held = bytes_for_each(bank)
            line = (
                f"{name:18} S={series:7}  {each:7.1f} ns/sample  {1e3 / each:7.2f} M/s  "
                f"{stored:6.0f} bytes stored, {held:6.0f} in memory"
            )
            if name in river:
                line += f"  river {river[name] / 1e3:6.1f} k/s, {1e9 / each / river[name]:5.0f} x"
            print(line, flush=True)


if __name__ == "__main__":
    main()
