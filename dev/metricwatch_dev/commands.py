"""The subcommands of `python -m metricwatch_dev` and their options."""

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from metricwatch_dev import binaries, images, values_table
from metricwatch_dev.cluster import access, local
from metricwatch_dev.cluster.selection import ClusterKind
from metricwatch_dev.demo import command as demo
from metricwatch_dev.image_inputs import IMAGES
from metricwatch_dev.progress import say

if TYPE_CHECKING:
    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_all(subcommands: "Subcommands") -> None:
    """Add every subcommand."""
    _add_binaries(subcommands)
    _add_cluster(subcommands)
    _add_images(subcommands)
    _add_dashboards(subcommands)
    demo.add_parser(subcommands)
    values_table.add_parser(subcommands)


def _add_binaries(subcommands: "Subcommands") -> None:
    parser = subcommands.add_parser("binaries", help="build and download programs into the cache")
    parser.add_argument(
        "--only",
        action="append",
        type=binaries.Part,
        choices=list(binaries.Part),
        help="only this part, and again for more; without it all that is usual",
    )
    parser.set_defaults(run=_run_binaries)


def _run_binaries(options: argparse.Namespace) -> int:
    for part, directory in binaries.ensure(tuple(options.only or binaries.USUAL)).items():
        print(f"{part}={directory}")
    return 0


def _add_cluster(subcommands: "Subcommands") -> None:
    parser = subcommands.add_parser("cluster", help="start, remove or look at the cluster")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, run, explanation in (
        ("up", _run_up, "start it, or use yours, and print its kubeconfig's path"),
        ("down", _run_down, "remove what up started"),
        ("status", _run_status, "say what runs"),
        ("kubeconfig", _run_kubeconfig, "print the path of the local cluster's kubeconfig"),
    ):
        action = actions.add_parser(name, help=explanation, description=explanation)
        if name == "up":
            action.add_argument("--context", help="a context of your kubeconfig: use that cluster")
        action.set_defaults(run=run)


def _run_up(options: argparse.Namespace) -> int:
    cluster = access.ensure(options.context)
    say(f"the cluster answers: export KUBECONFIG={cluster.kubeconfig}")
    print(cluster.kubeconfig)
    return 0


def _run_down(options: argparse.Namespace) -> int:
    del options
    say("removed" if access.down() else "there is no cluster of ours to remove")
    return 0


def _run_status(options: argparse.Namespace) -> int:
    del options
    kind = access.chosen_kind(None)
    say(f"cluster: {kind}")
    if kind is not ClusterKind.LOCAL:
        return 0
    layout = local.local_layout()
    if not layout.processes.is_dir():
        say("not running: start it with make cluster-up")
        return 3
    return 0 if local.report(layout) else 3


def _run_kubeconfig(options: argparse.Namespace) -> int:
    del options
    print(local.local_layout().kubeconfig)
    return 0


def _add_dashboards(subcommands: "Subcommands") -> None:
    parser = subcommands.add_parser("dashboards", help="write the chart's Grafana dashboards")
    parser.add_argument(
        "--check", action="store_true", help="only say whether they are up to date"
    )
    parser.set_defaults(run=_run_dashboards)


def _run_dashboards(options: argparse.Namespace) -> int:
    # Takes a second to import, and no other command needs it.
    from metricwatch_dev.dashboards import command

    return command.run(check=options.check)


def _add_images(subcommands: "Subcommands") -> None:
    parser = subcommands.add_parser("images", help="build images and bring them to the cluster")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(IMAGES))
    parser.add_argument("--context", help="a context of your kubeconfig: use that cluster")
    parser.add_argument("--registry", help="where your cluster pulls from: host/path")
    parser.add_argument("--output", choices=("text", "json"), default="text")
    parser.set_defaults(run=_run_images, error=parser.error)


def _run_images(options: argparse.Namespace) -> int:
    unknown = set(options.names) - set(IMAGES)
    if unknown:
        options.error(
            f"no such image: {', '.join(sorted(unknown))}; there are {', '.join(IMAGES)}"
        )
    cluster = access.ensure(options.context)
    if options.registry:
        cluster = dataclasses.replace(cluster, registry=options.registry)
    references = images.ensure(cluster, options.names or tuple(IMAGES))
    if options.output == "json":
        print(json.dumps(references, indent=1))
    else:
        for name, reference in references.items():
            print(f"{name:<14} {reference}")
    return 0
