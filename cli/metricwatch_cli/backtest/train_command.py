"""`metricwatch train`: learn from recorded data and keep what was learned."""

from __future__ import annotations

import argparse
from pathlib import Path

from metricwatch.words import in_one_line
from metricwatch_cli.backtest import options as shared
from metricwatch_cli.terminal import as_json, say

_EXAMPLES = """examples:
  learn all of a file, and score another one with it:
    metricwatch train last-month.csv --out requests.model
    metricwatch evaluate requests.model this-month.csv --out result
  as one file, with the parameters of a manifest:
    metricwatch train data --out all.zip --model model.yaml
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the subcommand."""
    parser = subparsers.add_parser(
        "train",
        help="learn from recorded data and save the model",
        description=shared.wrapped(
            "Learns from recorded data: from all rows, or from those of part train, or before"
            " --train-until. The model is a folder of artifacts with a manifest, or a .zip "
            "file of the same. `metricwatch evaluate` scores data with it."
        ),
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shared.add_data(parser)
    parser.add_argument("--train-until", metavar="TIME", help="learn only what is before a time")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="MODEL",
        help="a folder, or a file that ends with .zip; an earlier model is replaced",
    )
    parser.add_argument(
        "--output", choices=("table", "json"), default="table", help="what is printed"
    )
    shared.add_run(parser)
    shared.add_settings(parser, learns=True)
    shared.add_server(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train everything that was asked for."""
    from metricwatch_cli.backtest.session import guarded

    return guarded("train", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    from metricwatch_cli.backtest.gathering import gather
    from metricwatch_cli.backtest.learning import learn_all
    from metricwatch_cli.backtest.queries import parse_moment
    from metricwatch_cli.backtest.saved import check_target, save_model
    from metricwatch_cli.backtest.teaching import lesson_for
    from metricwatch_cli.backtest.wishes import settings_of

    settings = settings_of(options)
    lesson_for(settings)
    check_target(options.out)
    until = options.train_until
    split = 1.0 if until is None else parse_moment(until, "--train-until")
    recordings, source = gather(options, settings, split=split)
    learned = learn_all(recordings, settings, options)
    manifest = save_model(options.out, learned.artifacts, settings.model, source=source)
    if options.output == "json":
        report = {"model": str(options.out), "manifest": manifest, "leftOut": learned.left_out}
        say(as_json(report))
        return 0
    for line in learned.left_out:
        say(f"left out: {in_one_line(line)}")
    families = ", ".join(f"{count} {name}" for name, count in learned.families.items())
    say(f"learned {sum(learned.families.values())} series ({families})")
    size = sum(len(one) for one in learned.artifacts)
    say(f"saved {options.out}, {size / 1024:.0f} KiB")
    return 0
