"""The room `operator/` shares its name with a standard module; these tests keep it harmless."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECK = "import operator, collections, enum; print(operator.__file__)"


@pytest.mark.parametrize("flags", [[], ["-S"], ["-I"]], ids=["plain", "without site", "isolated"])
@pytest.mark.parametrize("folder", [".", "operator", "operator/metricwatch_operator"])
def test_the_standard_operator_module_wins_in_every_folder(flags: list[str], folder: str) -> None:
    done = subprocess.run(
        [sys.executable, *flags, "-c", CHECK],
        cwd=ROOT / folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not Path(done.stdout.strip()).is_relative_to(ROOT)


def test_no_top_level_name_shadows_a_standard_module() -> None:
    for child in ROOT.iterdir():
        if child.stem in sys.stdlib_module_names:
            assert child.is_dir(), f"{child.name} is a module named like a standard one"
            assert not (child / "__init__.py").exists(), f"{child.name}/__init__.py shadows"


def test_every_package_carries_type_information() -> None:
    packages = sorted(p.parent for p in ROOT.glob("*/metricwatch*/__init__.py"))
    assert len(packages) == 7
    assert [p.name for p in packages if not (p / "py.typed").exists()] == []


def test_modules_stay_short_enough_to_read() -> None:
    rooms = ("core", "trainer", "detector", "operator", "cli", "dev")
    long = {
        str(path.relative_to(ROOT)): lines
        for room in rooms
        for path in (ROOT / room).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert long == {}
