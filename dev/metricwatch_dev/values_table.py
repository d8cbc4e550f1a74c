"""The table of the chart's values in its README, from values.yaml and values.schema.json.

Names, defaults and words are those of values.yaml, where a comment that begins with `# --` stands
above each value; types are the schema's. `--check` says where the README differs.
"""

import argparse
import difflib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from metricwatch_dev.paths import REPOSITORY

CHART = REPOSITORY / "charts" / "metricwatch"
BEGIN = "<!-- values: made by `python -m metricwatch_dev values`, do not edit -->"
END = "<!-- end of values -->"
_LONGEST_DEFAULT = 60


class UndocumentedValueError(Exception):
    """A value has no comment, or the schema does not know it; the text says which."""


@dataclass(frozen=True, slots=True)
class Row:
    """A value that a user may set."""

    name: str
    type: str
    default: str
    words: str


def add_parser(subcommands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser("values", help="write the table of the chart's values")
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; print how the README differs and exit with 1 when it does",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write or check the table; 1 when a checked one differs."""
    readme = CHART / "README.md"
    before = readme.read_text()
    try:
        after = with_table(before, render(rows(CHART)))
    except UndocumentedValueError as problem:
        sys.stderr.write(f"error: {problem}\n")
        return 1
    if not options.check:
        readme.write_text(after)
        return 0
    difference = difflib.unified_diff(
        before.splitlines(keepends=True),
        after.splitlines(keepends=True),
        fromfile=str(readme),
        tofile=f"{readme} (from the values)",
    )
    sys.stdout.writelines(difference)
    if before != after:
        sys.stderr.write("the table differs: run `python -m metricwatch_dev values`\n")
    return int(before != after)


def rows(chart: Path) -> list[Row]:
    """Return a row for each value of a chart, in the order of values.yaml.

    Raises:
        UndocumentedValueError: One has no comment, or is not in the schema.
    """
    text = (chart / "values.yaml").read_text()
    schema = json.loads((chart / "values.schema.json").read_text())
    root = yaml.compose(text)
    return list(_rows(root, schema, lines=text.splitlines(), schema=schema, path=""))


def render(found: list[Row]) -> str:
    r"""Return the table as Markdown.

    >>> print(render([Row("a.b", "string", '""', "Its name | words.")]))
    | value | type | default | |
    |---|---|---|---|
    | `a.b` | string | `""` | Its name \| words. |
    """
    lines = ["| value | type | default | |", "|---|---|---|---|"]
    for row in found:
        cells = (f"`{row.name}`", row.type, row.default and f"`{row.default}`", row.words)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def with_table(page: str, table: str) -> str:
    """Return the page with the table between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def _rows(node: Any, described: Any, *, lines: list[str], schema: Any, path: str) -> Iterator[Row]:
    described = _resolved(described, schema)
    for key, value in node.value:
        name = f"{path}{key.value}"
        if key.value not in described.get("properties", {}):
            raise UndocumentedValueError(f"{name} is not in values.schema.json")
        own = _resolved(described["properties"][key.value], schema)
        words = _words_above(lines, key.start_mark.line)
        if words:
            yield Row(name, _type(own), _default(value), words)
        elif isinstance(value, yaml.MappingNode) and value.value:
            yield from _rows(value, own, lines=lines, schema=schema, path=f"{name}.")
        else:
            raise UndocumentedValueError(f"{name} has no comment `# --` in values.yaml")


def _resolved(described: Any, schema: Any) -> Any:
    if "$ref" not in described:
        return described
    return schema["definitions"][described["$ref"].rpartition("/")[2]]


def _words_above(lines: list[str], line: int) -> str:
    words: list[str] = []
    for text in reversed(lines[:line]):
        stripped = text.strip()
        if not stripped.startswith("#"):
            return ""
        words.insert(0, stripped.lstrip("# "))
        if stripped.startswith("# -- "):
            return " ".join(words).removeprefix("-- ")
    return ""


def _type(described: Any) -> str:
    if "enum" in described:
        return " or ".join(f"`{value}`" for value in described["enum"])
    kind = described["type"]
    return str(kind) if isinstance(kind, str) else " or ".join(kind)


def _default(node: yaml.Node) -> str:
    """The value as one would write it, or nothing where it is long: values.yaml shows it."""
    value = json.dumps(yaml.safe_load(yaml.serialize(node)), ensure_ascii=False)
    return value if len(value) <= _LONGEST_DEFAULT else ""
