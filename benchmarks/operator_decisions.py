"""How many decisions a second one operator makes: `plan` over many models that serve.

Run with `PYTHONPATH=. python benchmarks/operator_decisions.py --models 5000`. Only the decision is
timed, on one core: no API server, no database. A look at a model that is at rest is one decision;
each model is looked at once in `resyncSeconds` (15 s) without any event.
"""

from __future__ import annotations

import argparse
import copy
import time
from dataclasses import replace

from tests.unit.operator_builders import CONFIG, NOW, make_serving_world, settle

from metricwatch_operator.observed import Observed
from metricwatch_operator.planning.plan import plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=5000)
    count: int = parser.parse_args().models
    rest = settle(make_serving_world())
    worlds = [renamed(rest, number) for number in range(min(count, 200))]
    began = time.process_time()
    for number in range(count):
        plan(worlds[number % len(worlds)], now=NOW, config=CONFIG)
    spent = time.process_time() - began
    print(f"{count} decisions: {spent:.1f} s CPU, {count / spent:.0f} a second on one core")
    wait = CONFIG.resync_seconds
    print(f"{count} models looked at every {wait:.0f} s: {spent / wait:.0%} of a core")


def renamed(world: Observed, number: int) -> Observed:
    """A copy, so that nothing is decided twice about the same objects."""
    assert world.model is not None
    return replace(world, model=copy.deepcopy(world.model), watches=copy.deepcopy(world.watches))


if __name__ == "__main__":
    main()
