"""`python -m metricwatch_dev`: the local cluster, its parts and images, and the demo."""

import argparse
import sys

from metricwatch_dev.prerequisites import MissingPrerequisiteError
from metricwatch_dev.progress import say


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m metricwatch_dev", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_binaries(commands)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except MissingPrerequisiteError as missing:
        say(f"error: {missing}")
        return 1
    except KeyboardInterrupt:
        say("interrupted: run the same command again to continue")
        return 130


def _add_binaries(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    from metricwatch_dev import binaries

    parser = commands.add_parser("binaries", help="build and download programs into the cache")
    parser.add_argument(
        "--only", action="append", type=binaries.Part, choices=list(binaries.Part), default=None
    )

    def run(options: argparse.Namespace) -> int:
        for part, directory in binaries.ensure(tuple(options.only or binaries.Part)).items():
            print(f"{part}={directory}")
        return 0

    parser.set_defaults(run=run)


if __name__ == "__main__":
    sys.exit(main())
