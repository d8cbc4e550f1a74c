"""The `metricwatch` command: a table of subcommands.

Each module named here has `add_parser(subparsers)`, which registers a parser whose default `run`
takes the parsed arguments and returns the exit status. A subcommand imports what it needs when it
runs, so that `metricwatch validate` does not load a trainer.
"""

import argparse
import sys
from collections.abc import Sequence

from metricwatch import __version__
from metricwatch_cli import crds, migrate, validate
from metricwatch_cli.anomalies import command as anomalies
from metricwatch_cli.backtest import command, evaluate_command, train_command
from metricwatch_cli.versions import command as versions

SUBCOMMANDS = (
    validate,
    command,
    train_command,
    evaluate_command,
    versions,
    anomalies,
    crds,
    migrate,
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="metricwatch",
        description="Learns how metrics behave and says when they behave as they never did.",
    )
    parser.add_argument("--version", action="version", version=f"metricwatch {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in SUBCOMMANDS:
        module.add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status."""
    options = build_parser().parse_args(arguments)
    status: int = options.run(options)
    return status


if __name__ == "__main__":
    sys.exit(main())
