"""The subcommands of `metricwatch versions` and their options."""

from __future__ import annotations

import argparse
from pathlib import Path

from metricwatch_cli.database_commands import DatabaseCommands, add_output
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

_COMMANDS = DatabaseCommands("versions", _EXAMPLES)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the subcommand."""
    commands = _COMMANDS.register(
        subparsers,
        help_text="look at the versions of a model, compare, export and import them",
        description="Looks at the versions of a model in the database, compares, exports and "
        "imports them.",
    )
    listing = _COMMANDS.add(commands, "list", _list, "versions of a model, or all models")
    listing.add_argument("model", nargs="?", metavar="MODEL", help="else all models are listed")
    showing = _COMMANDS.add(commands, "show", _show, "all that is known about one version")
    _add_version(showing, optional=True)
    add_output(showing)
    showing.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="draw what the gate measured"
    )
    comparing = _COMMANDS.add(commands, "diff", _diff, "what differs between two versions")
    comparing.add_argument("model", metavar="MODEL")
    comparing.add_argument("before", type=int, metavar="VERSION")
    comparing.add_argument("after", type=int, metavar="VERSION")
    taking = _COMMANDS.add(
        commands, "export", _export, "write a version to a folder or a .tar file"
    )
    _add_version(taking, optional=False)
    taking.add_argument(
        "out", type=Path, metavar="OUT", help=f"a folder, or a file that ends with {TAR}"
    )
    bringing = _COMMANDS.add(
        commands, "import", _import, "add an exported version; it serves when it is pinned"
    )
    bringing.add_argument("model", metavar="MODEL")
    bringing.add_argument("archive", type=Path, metavar="ARCHIVE", help="what export wrote")
    for parser in (listing, comparing, taking, bringing):
        add_output(parser)


def _add_version(parser: argparse.ArgumentParser, *, optional: bool) -> None:
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        "version",
        type=int,
        nargs="?" if optional else None,
        metavar="VERSION",
        help="number of the version" + ("; else the one that serves" if optional else ""),
    )


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
