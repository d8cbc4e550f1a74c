"""What runs in the operator's image is there: the operator, and the commands without learning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parents[2] / "images/operator/requirements.txt"
# Imports everything with only that at hand which the image installs.
PROGRAM = """
import importlib, pkgutil, re, sys
from importlib.metadata import packages_distributions

pins = re.findall(r"^([a-z0-9-]+)==", open(sys.argv[1]).read(), re.MULTILINE)
homes = packages_distributions()
absent = {
    module for module, found in homes.items()
    if not any(re.sub("[-_.]+", "-", one).lower() in {*pins, "metricwatch"} for one in found)
}

class Present:
    def __init__(self, finders):
        self.finders = finders

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            return None
        found = (finder.find_spec(name, path, target) for finder in self.finders)
        return next((one for one in found if one is not None), None)

sys.meta_path[:] = [Present([*sys.meta_path])]
importlib.import_module("metricwatch_migrations.apply")
for root in ("metricwatch_operator", "metricwatch_cli"):
    package = importlib.import_module(root)
    for module in pkgutil.walk_packages(package.__path__, f"{root}."):
        if "_cli.backtest." not in module.name and "__main__" not in module.name:
            importlib.import_module(module.name)
print(" ".join(sorted({"pandas", "matplotlib", "torch"} & absent)))
"""


def test_the_operator_and_its_commands_need_nothing_that_the_image_lacks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(REQUIREMENTS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # What draws and learns would make it larger by a quarter.
    assert done.stdout.split()[-3:] == ["matplotlib", "pandas", "torch"]
