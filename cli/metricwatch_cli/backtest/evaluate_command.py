"""`metricwatch evaluate`: score recorded data with a saved model."""

from __future__ import annotations

import argparse
from pathlib import Path

from metricwatch_cli.backtest import options as shared

_EXAMPLES = """examples:
  metricwatch evaluate requests.model this-month.csv --out result
  metricwatch evaluate all.zip data --out result --watch watch.yaml --inject 12
  rows before a time only bring the model up to date:
  metricwatch evaluate requests.model all.csv --out result --from 2026-03-01T00:00:00Z
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the subcommand."""
    parser = subparsers.add_parser(
        "evaluate",
        help="score recorded data with a saved model",
        description=shared.wrapped(
            "Walks through recorded data with a model of `metricwatch train`, and reports as "
            "`metricwatch backtest` does. Rows of part train, or before --from, only bring "
            "the model up to date. Series that the model does not know are scored as a "
            "detector scores new ones."
        ),
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "saved", metavar="MODEL", type=Path, help="folder or .zip of `metricwatch train`"
    )
    shared.add_data(parser)
    parser.add_argument(
        "--from", dest="begin", metavar="TIME", help="rows before it are not scored"
    )
    shared.add_results(parser)
    shared.add_run(parser)
    shared.add_settings(parser, learns=False)
    shared.add_server(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Evaluate everything that was asked for."""
    from metricwatch_cli.backtest.session import guarded

    return guarded("evaluate", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    from metricwatch_cli.backtest.gathering import gather
    from metricwatch_cli.backtest.queries import parse_moment
    from metricwatch_cli.backtest.saved import load_model
    from metricwatch_cli.backtest.session import REPORT, report_on
    from metricwatch_cli.backtest.staging import refuse_foreign
    from metricwatch_cli.backtest.wishes import settings_of

    settings = settings_of(options)
    refuse_foreign(options.out, marker=REPORT)
    model = load_model(options.saved)
    split = None if options.begin is None else parse_moment(options.begin, "--from")
    recordings, source = gather(options, settings, split=split)
    return report_on(
        recordings,
        options,
        settings,
        command="evaluate",
        source=source,
        artifacts=lambda block: model.of([labels for one in block for labels in one.labels]),
    )
