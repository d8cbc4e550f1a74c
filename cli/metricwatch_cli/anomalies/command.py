"""The subcommands of `metricwatch anomalies` and their options."""

from __future__ import annotations

import argparse
import getpass

from metricwatch_cli.database_commands import DatabaseCommands, add_output

_EXAMPLES = """examples:
  what was found lately, and what is still going on:
    metricwatch anomalies list checkout
    metricwatch anomalies list checkout --watch latency --since 30d --unjudged
    metricwatch anomalies list checkout --open
  a false alarm: the next version learns from these samples, and is refused when it raises more
  such alarms than the version that serves:
    metricwatch anomalies dismiss checkout 17 18 --reason "the nightly backup"
  a real one, which nothing learns from however long it lasted:
    metricwatch anomalies confirm checkout 19 --reason "INC-204"
  take back what was said:
    metricwatch anomalies reopen checkout 17
"""

_COMMANDS = DatabaseCommands("anomalies", _EXAMPLES)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the subcommand."""
    commands = _COMMANDS.register(
        subparsers,
        help_text="look at the anomalies of a model, and say which were false alarms",
        description="Lists the anomalies of a model in the database, and records what people say "
        "of them.",
    )
    listing = _COMMANDS.add(commands, "list", _list, "anomalies of a model, newest first")
    listing.add_argument("model", metavar="MODEL")
    listing.add_argument("--watch", help="only those of this MetricWatch")
    listing.add_argument("--since", default="7d", help="how far back, like 24h (default: 7d)")
    listing.add_argument("--open", action="store_true", help="only what is still going on")
    listing.add_argument(
        "--unjudged", action="store_true", help="only those that nobody said anything of"
    )
    listing.add_argument("--limit", type=int, default=100, help="at most so many (default: 100)")
    add_output(listing)
    for name, action, text in (
        ("dismiss", _dismiss, "say that anomalies were false alarms"),
        ("confirm", _confirm, "say that anomalies were real"),
    ):
        judging = _COMMANDS.add(commands, name, action, text)
        _add_ids(judging)
        judging.add_argument("--reason", required=True, help="why, for others to read")
        judging.add_argument("--by", default=None, help="who says so (default: your user name)")
    _add_ids(_COMMANDS.add(commands, "reopen", _reopen, "take back what was said of anomalies"))


def _add_ids(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("ids", type=int, nargs="+", metavar="ID", help="as list shows them")


# Not at the top of the module: what a subcommand needs takes a second to load.


async def _list(options: argparse.Namespace) -> str:
    from metricwatch_cli.anomalies import listing

    return await listing.run(options)


async def _dismiss(options: argparse.Namespace) -> str:
    from metricwatch.store.rows import Feedback
    from metricwatch_cli.anomalies import judging

    return await judging.judge(options, Feedback.DISMISSED, by=options.by or getpass.getuser())


async def _confirm(options: argparse.Namespace) -> str:
    from metricwatch.store.rows import Feedback
    from metricwatch_cli.anomalies import judging

    return await judging.judge(options, Feedback.CONFIRMED, by=options.by or getpass.getuser())


async def _reopen(options: argparse.Namespace) -> str:
    from metricwatch_cli.anomalies import judging

    return await judging.reopen(options)
