"""`metricwatch validate`: say what is wrong with manifests before a cluster sees them.

Documents of other kinds are passed over, so the folders of a GitOps repository can be given.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from metricwatch.resources import (
    API_VERSION,
    AnomalyModel,
    InvalidResource,
    MetricWatch,
    parse_model,
    parse_watch,
)
from metricwatch.resources.support import unsupported
from metricwatch.words import in_one_line
from metricwatch_cli.manifests import read_documents
from metricwatch_cli.terminal import say

# A DNS-1123 subdomain, as the API server wants a name to be.
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the subcommand."""
    parser = subparsers.add_parser(
        "validate",
        help="check manifests without a cluster",
        description="Check the AnomalyModels and MetricWatches in YAML files. Prints a line for "
        "each problem, as FILE:DOCUMENT FIELD: MESSAGE, and exits with 1 when there is one.",
    )
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="YAML file, several documents allowed; a folder of them; or - for standard input",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check every file; 1 when one has a problem."""
    checked = 0
    problems: list[str] = []
    for name in _files(options.files):
        try:
            text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
            for number, document in read_documents(text):
                checked += 1
                problems += [f"{name}:{number} {line}" for line in find_problems(document)]
        except OSError as error:
            problems.append(f"{name}: {error.strerror or error}")
        except UnicodeDecodeError:
            problems.append(f"{name}: is no text in UTF-8, so no manifest")
        except yaml.YAMLError as error:
            problems.append(f"{name}: {' '.join(str(error).split())}")
    for problem in problems:
        say(in_one_line(problem))
    if not problems:
        say(_all_is_well(checked))
    return 1 if problems else 0


def _all_is_well(checked: int) -> str:
    match checked:
        case 0:
            return f"no AnomalyModel and no MetricWatch of {API_VERSION} found"
        case 1:
            return "1 resource is valid"
        case _:
            return f"{checked} resources are valid"


def find_problems(document: Mapping[str, Any]) -> list[str]:
    """A line for each thing that is wrong with one resource, or not available yet."""
    if document.get("apiVersion") != API_VERSION:
        return [f"apiVersion: must be {API_VERSION}"]
    try:
        match document.get("kind"):
            case "AnomalyModel":
                resource: AnomalyModel | MetricWatch = parse_model(document)
            case "MetricWatch":
                resource = parse_watch(document)
            case _:
                return ["kind: must be AnomalyModel or MetricWatch"]
    except InvalidResource as error:
        return [f"{path}: {message}" for path, message in error.problems]
    problems = [f"{field}: {sentence}" for field, sentence in unsupported(resource.spec)]
    if not _NAME.fullmatch(resource.metadata.name):
        problems.append(
            f"metadata.name: {resource.metadata.name!r} must be small letters, digits, '-' and "
            "'.', with a letter or digit at both ends"
        )
    return problems


def _files(names: Sequence[str]) -> Iterator[str]:
    """The files themselves, and the YAML files below folders, in order."""
    for name in names:
        if name != "-" and Path(name).is_dir():
            found = (path for path in Path(name).rglob("*.y*ml") if path.is_file())
            yield from sorted(str(path) for path in found if path.suffix in {".yaml", ".yml"})
        else:
            yield name
