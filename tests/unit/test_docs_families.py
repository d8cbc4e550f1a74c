"""The page that says which family to use when: complete, and true where it can be checked."""

from __future__ import annotations

import re

import pytest

from metricwatch.memory import bank_bytes
from metricwatch.resources import Algorithm, AlgorithmType
from metricwatch_dev.paths import REPOSITORY
from metricwatch_trainer.tuning import MARGIN

FOLDER = REPOSITORY / "docs" / "families"
INDEX = (FOLDER / "README.md").read_text()
ROWS = {
    cells[0]: cells
    for line in INDEX.splitlines()
    if (cells := [cell.strip() for cell in line.strip("|").split("|")])
    and len(cells) == 5
    and cells[0].startswith("[")
}


def test_every_family_has_a_row_with_a_link_to_its_page() -> None:
    assert list(ROWS)[:-1] == [f"[{name}]({name}.md)" for name in _in_order()]
    assert {name.value for name in AlgorithmType} == set(_in_order())


def _in_order() -> list[str]:
    return [match[1] for row in ROWS if (match := re.match(r"\[(\w+)\]", row))]


@pytest.mark.parametrize("page", sorted(set(re.findall(r"\]\(([^)#]+\.md)\)", INDEX))))
def test_every_link_leads_to_a_page(page: str) -> None:
    assert (FOLDER / page).is_file()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (name, cells[4])
        for row, cells in ROWS.items()
        if re.fullmatch(r"[\d,]+", cells[4]) and (name := row[1 : row.index("]")])
    ],
)
def test_the_bytes_of_a_series_are_those_of_the_estimate(name: str, said: str) -> None:
    estimate = bank_bytes(name, Algorithm(type=name), 300)
    assert int(said.replace(",", "")) == pytest.approx(estimate, rel=0.1)


def test_what_tuning_says_of_its_margin_is_so() -> None:
    assert f"less than {MARGIN}" in (REPOSITORY / "docs" / "tuning.md").read_text()
