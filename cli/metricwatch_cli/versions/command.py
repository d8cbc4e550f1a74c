"""The subcommands of `metricwatch versions` and their options."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from metricwatch.store.location import URL_FILE_VARIABLE, URL_VARIABLE
from metricwatch_cli.versions.archive_limits import TAR

_EXAMPLES = """examples:
  which models there are, and the versions of one:
    metricwatch versions list
    metricwatch versions list checkout --namespace shop
  why a version was rejected, with a picture of what the gate measured:
    metricwatch versions show checkout 7 --plot gate.png
  what changed from one version to the next:
    metricwatch versions diff checkout 6 7
  take a version to another cluster, and let it serve there (spec.version pins it):
    metricwatch versions export checkout 7 checkout-7.tar
    metricwatch versions import checkout checkout-7.tar
"""

Action = Callable[[argparse.Namespace], Coroutine[Any, Any, str]]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the subcommand."""
    parser = subparsers.add_parser(
        "versions",
        help="look at the versions of a model, compare, export and import them",
        description="Looks at the versions of a model in the database, compares, exports and "
        f"imports them. The database is that of --database-url, {URL_FILE_VARIABLE} (a file with "
        f"a PostgreSQL URL) or {URL_VARIABLE}.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listing = _add(commands, "list", _list, "versions of a model, or all models")
    listing.add_argument("model", nargs="?", metavar="MODEL", help="else all models are listed")
    showing = _add(commands, "show", _show, "all that is known about one version")
    _add_version(showing, optional=True)
    showing.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="draw what the gate measured"
    )
    comparing = _add(commands, "diff", _diff, "what differs between two versions")
    comparing.add_argument("model", metavar="MODEL")
    comparing.add_argument("before", type=int, metavar="VERSION")
    comparing.add_argument("after", type=int, metavar="VERSION")
    taking = _add(commands, "export", _export, "write a version to a folder or a .tar file")
    _add_version(taking, optional=False)
    taking.add_argument(
        "out", type=Path, metavar="OUT", help=f"a folder, or a file that ends with {TAR}"
    )
    bringing = _add(
        commands, "import", _import, "add an exported version; it serves when it is pinned"
    )
    bringing.add_argument("model", metavar="MODEL")
    bringing.add_argument("archive", type=Path, metavar="ARCHIVE", help="what export wrote")


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    action: Action,
    text: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-n", "--namespace", help="of the model; needed when several have one of this name"
    )
    parser.add_argument(
        "--database-url",
        metavar="URL",
        help=f"else {URL_FILE_VARIABLE} or {URL_VARIABLE}, which other users of this machine "
        "cannot see",
    )
    parser.add_argument(
        "--output", choices=("table", "json"), default="table", help="what is printed"
    )
    parser.set_defaults(run=_running(name, action))
    return parser


def _add_version(parser: argparse.ArgumentParser, *, optional: bool) -> None:
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        "version",
        type=int,
        nargs="?" if optional else None,
        metavar="VERSION",
        help="number of the version" + ("; else the one that serves" if optional else ""),
    )


def _running(name: str, action: Action) -> Callable[[argparse.Namespace], int]:
    def run(options: argparse.Namespace) -> int:
        from metricwatch.store.errors import StoreError
        from metricwatch_cli.backtest.problems import WRONG_INPUT, WrongInput

        try:
            text = asyncio.run(action(options))
        except WrongInput as error:
            return _fail(name, str(error), WRONG_INPUT)
        except (StoreError, OSError) as error:
            return _fail(name, str(error), 1)
        sys.stdout.write(f"{text}\n")
        return 0

    return run


def _fail(name: str, message: str, status: int) -> int:
    sys.stderr.write(f"metricwatch versions {name}: {message}\n")
    return status


# Not at the top of the module: what a subcommand needs takes a second to load.


async def _list(options: argparse.Namespace) -> str:
    from metricwatch_cli.versions import listing

    return await listing.run(options)


async def _show(options: argparse.Namespace) -> str:
    from metricwatch_cli.versions import showing

    return await showing.run(options)


async def _diff(options: argparse.Namespace) -> str:
    from metricwatch_cli.versions import differences

    return await differences.run(options)


async def _export(options: argparse.Namespace) -> str:
    from metricwatch_cli.versions import exporting

    return await exporting.run(options)


async def _import(options: argparse.Namespace) -> str:
    from metricwatch_cli.versions import importing

    return await importing.run(options)
