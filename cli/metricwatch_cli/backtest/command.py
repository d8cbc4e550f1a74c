"""`metricwatch backtest`: learn from the past of some data, and walk through the rest of it."""

from __future__ import annotations

import argparse

from metricwatch_cli.backtest import options as shared

_EXAMPLES = """examples:
  a file, the first half of which is history:
    metricwatch backtest requests.csv --out result
  times without a zone, history until a day, twice the default sensitivity:
    metricwatch backtest requests.csv --out result --time-zone Europe/Berlin \\
      --train-until 2026-03-01T00:00:00+01:00 --false-alarms-per-week 1
  all of a labelled collection, with your manifests, as JSON:
    metricwatch backtest data --out result --model model.yaml --watch watch.yaml --output json
  two weeks of a metrics server:
    metricwatch backtest --url http://localhost:8428 --query 'sum by (job) (rate(hits[5m]))' \\
      --start now-14d --interval 1m --out result
  how much would be found of 12 made-up anomalies in each series:
    metricwatch backtest requests.csv --out result --inject 12
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the subcommand."""
    parser = subparsers.add_parser(
        "backtest",
        help="try a model on recorded data, without a cluster",
        description=shared.wrapped(
            "Learns from the history of each series and then walks through the rest tick by "
            "tick, as a detector would have: with nothing but the past. Prints figures, and "
            "writes detections, anomalies, plots and a page to look at. Exit status 2: data "
            "or options cannot be used, and nothing was written."
        ),
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shared.add_data(parser)
    shared.add_split(parser)
    shared.add_results(parser)
    shared.add_run(parser)
    shared.add_settings(parser, learns=True)
    shared.add_server(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Backtest everything that was asked for."""
    # Not at the top: other subcommands have no use for a trainer.
    from metricwatch_cli.backtest.session import guarded

    return guarded("backtest", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    from metricwatch_cli.backtest.gathering import gather
    from metricwatch_cli.backtest.session import REPORT, report_on
    from metricwatch_cli.backtest.staging import refuse_foreign
    from metricwatch_cli.backtest.teaching import lesson_for
    from metricwatch_cli.backtest.wishes import settings_of, split_of

    settings = settings_of(options)
    lesson_for(settings)
    refuse_foreign(options.out, marker=REPORT)
    recordings, source = gather(options, settings, split=split_of(options))
    return report_on(
        recordings,
        options,
        settings,
        command="backtest",
        source=source,
        artifacts=lambda block: None,
    )
