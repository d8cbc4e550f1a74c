"""Subcommands that ask the database and print a text: `metricwatch versions`, `anomalies`.

How they name the database and the model's namespace, and how they end when they cannot answer, is
the same for all of them.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metricwatch.store.location import URL_FILE_VARIABLE, URL_VARIABLE
from metricwatch_cli.terminal import complain, say

Action = Callable[[argparse.Namespace], Coroutine[Any, Any, str]]
if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


@dataclass(frozen=True, slots=True)
class DatabaseCommands:
    """The commands below one subcommand.

    Attributes:
        group: The subcommand's name.
        examples: Shown at the end of each help text.
    """

    group: str
    examples: str

    def register(self, subparsers: Subparsers, *, help_text: str, description: str) -> Subparsers:
        """Register the subcommand, and return what its commands are added to."""
        parser = subparsers.add_parser(
            self.group,
            help=help_text,
            description=f"{description} The database is that of --database-url, "
            f"{URL_FILE_VARIABLE} (a file with a PostgreSQL URL) or {URL_VARIABLE}.",
            epilog=self.examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(
        self, commands: Subparsers, name: str, action: Action, text: str
    ) -> argparse.ArgumentParser:
        """Add a command that prints what the action returns."""
        parser = commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=self.examples,
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
        parser.set_defaults(run=self._running(name, action))
        return parser

    def _running(self, name: str, action: Action) -> Callable[[argparse.Namespace], int]:
        def run(options: argparse.Namespace) -> int:
            # Not at the top of the module: it takes a while to load.
            from metricwatch.store.errors import StoreError
            from metricwatch_cli.backtest.problems import WRONG_INPUT, WrongInput

            try:
                text = asyncio.run(action(options))
            except WrongInput as error:
                return self._fail(name, str(error), WRONG_INPUT)
            except (StoreError, OSError) as error:
                return self._fail(name, str(error), 1)
            except ModuleNotFoundError as error:
                # The operator's image has these commands, and nothing to draw with.
                missing = f"the package {error.name} is not installed here: "
                return self._fail(name, f"{missing}pip install 'metricwatch[cli]'", WRONG_INPUT)
            say(text)
            return 0

        return run

    def _fail(self, name: str, message: str, status: int) -> int:
        complain(f"metricwatch {self.group} {name}: {message}")
        return status


def add_output(parser: argparse.ArgumentParser) -> None:
    """Let the user choose between a table and JSON."""
    parser.add_argument(
        "--output", choices=("table", "json"), default="table", help="what is printed"
    )
