"""The `metricwatch` command: a table of subcommands.

Each module named here has `add_parser(subparsers)`, which registers a parser whose default `run`
takes the parsed arguments and returns the exit status. A subcommand imports what it needs when it
runs, so that `metricwatch validate` does not load a trainer.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from metricwatch import __version__
from metricwatch_cli import crds, migrate, validate
from metricwatch_cli.anomalies import command as anomalies
from metricwatch_cli.backtest import command, evaluate_command, train_command
from metricwatch_cli.backtest.problems import INTERRUPTED
from metricwatch_cli.terminal import complain
from metricwatch_cli.versions import command as versions

CLOSED_PIPE = 141
"""As a shell has it for a process that SIGPIPE ended."""

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
    try:
        try:
            options = build_parser().parse_args(arguments)
            status: int = options.run(options)
        finally:
            # Now, where it can be dealt with, and not when the interpreter ends.
            sys.stdout.flush()
    except BrokenPipeError:
        # Who read it has read enough, as in `metricwatch … | head`: nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except OSError as error:
        what = error.strerror or str(error)
        complain(f"metricwatch: {f'{error.filename}: {what}' if error.filename else what}")
        return 1
    except KeyboardInterrupt:
        complain("metricwatch: interrupted")
        return INTERRUPTED
    return status


if __name__ == "__main__":
    sys.exit(main())
