"""`python -m metricwatch_dev`: the local cluster, its parts and images, and the demo."""

import argparse
import sys

from metricwatch_dev import commands
from metricwatch_dev.prerequisites import MissingPrerequisiteError
from metricwatch_dev.progress import say


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m metricwatch_dev", description=__doc__)
    subcommands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_all(subcommands)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except MissingPrerequisiteError as missing:
        say(f"error: {missing}")
        return 1
    except KeyboardInterrupt:
        say("interrupted: run the same command again to continue")
        return 130


if __name__ == "__main__":
    sys.exit(main())
