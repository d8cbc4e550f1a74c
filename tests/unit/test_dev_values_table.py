"""The table of the chart's values: nothing is left out, and nothing goes undocumented."""

import json
from pathlib import Path

import pytest

from metricwatch_dev.values_table import (
    CHART,
    Row,
    UndocumentedValueError,
    render,
    rows,
    with_table,
)


def chart(folder: Path, values: str, **properties: object) -> Path:
    schema = {"definitions": {"texts": {"type": "object"}}, "properties": properties}
    (folder / "values.yaml").write_text(values)
    (folder / "values.schema.json").write_text(json.dumps(schema))
    return folder


STRING = {"type": "string"}


def test_words_stand_above_a_value_and_may_go_on(tmp_path: Path) -> None:
    values = '# Not about it.\n\n# -- How far\n# it goes.\nreach: ""\n'
    assert rows(chart(tmp_path, values, reach=STRING)) == [
        Row("reach", "string", '""', "How far it goes.")
    ]


def test_what_is_inside_a_described_value_is_part_of_it(tmp_path: Path) -> None:
    values = "# -- All of it.\nlabels: {a: b}\nouter:\n  # -- The inner one.\n  inner: 5\n"
    found = rows(
        chart(
            tmp_path,
            values,
            labels={"$ref": "#/definitions/texts"},
            outer={"type": "object", "properties": {"inner": {"type": ["integer", "string"]}}},
        )
    )
    assert found == [
        Row("labels", "object", '{"a": "b"}', "All of it."),
        Row("outer.inner", "integer or string", "5", "The inner one."),
    ]


def test_a_choice_is_shown_as_what_there_is_to_choose(tmp_path: Path) -> None:
    found = rows(chart(tmp_path, "# -- Which.\nkind: a\n", kind={"enum": ["a", "b"]}))
    assert found[0].type == "`a` or `b`"


@pytest.mark.parametrize(
    "values", ["bare: 1\n", "# About it, not for the table.\nbare: 1\n", "# -- Far.\n\nbare: 1\n"]
)
def test_a_value_without_words_is_refused(tmp_path: Path, values: str) -> None:
    with pytest.raises(UndocumentedValueError, match="bare has no comment"):
        rows(chart(tmp_path, values, bare={"type": "integer"}))


def test_a_value_that_the_schema_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UndocumentedValueError, match=r"a is not in values\.schema\.json"):
        rows(chart(tmp_path, "# -- Words.\na: 1\n", b={"type": "integer"}))


def test_the_charts_page_has_the_table_of_its_values() -> None:
    page = (CHART / "README.md").read_text()
    remedy = "run `python -m metricwatch_dev values`"
    assert with_table(page, render(rows(CHART))) == page, remedy
