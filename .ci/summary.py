"""Print how many tests of all layers passed and failed, as one last line.

A layer that did not come to its tests, because building or linting failed, counts as one failure.
"""

import pathlib
import sys
import xml.etree.ElementTree as ElementTree

CLUSTER = ("install", "incidents", "versions", "faults")
LAYERS = ("unit", "integration", *(f"cluster-{part}" for part in CLUSTER))


def count(file: pathlib.Path) -> tuple[int, int]:
    """Return how many tests of a JUnit file passed and how many did not."""
    suites = list(ElementTree.parse(file).getroot().iter("testsuite"))
    total = sum(int(suite.get("tests", 0)) for suite in suites)
    bad = sum(int(suite.get(kind, 0)) for suite in suites for kind in ("failures", "errors"))
    return total - bad, bad


def main(directory: pathlib.Path) -> None:
    """Add up the layers."""
    files = [directory / f"{layer}.xml" for layer in LAYERS]
    counts = [count(file) if file.exists() else (0, 1) for file in files]
    passed, failed = (sum(column) for column in zip(*counts, strict=True))
    print(f"{passed} passed, {failed} failed")


main(pathlib.Path(sys.argv[1]))
