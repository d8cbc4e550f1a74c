"""Waiting for something to become true, saying meanwhile what is in its way."""

import time
from collections.abc import Callable

from metricwatch_dev.demo.kubectl import CommandFailedError, Kubectl, Manifest
from metricwatch_dev.progress import elapsed, say

PAUSE_SECONDS = 2.0
SILENCE_SECONDS = 60.0
"""After so long without a word people think that it hangs."""


class TooLateError(Exception):
    """Something did not come in time; the text says what, and what was seen last."""


def wait_until(
    what: str,
    look: Callable[[], tuple[bool, str]],
    *,
    seconds: float,
    pause: float = PAUSE_SECONDS,
    silence: float = SILENCE_SECONDS,
) -> None:
    """Call `look` until it says yes; what else it says is printed when it changes.

    While nothing changes, a line after each `silence` says for how long it has waited.

    Raises:
        TooLateError: It did not in `seconds`.
    """
    began = said = time.monotonic()
    last = ""
    while True:
        try:
            done, seen = look()
        except CommandFailedError as problem:
            done, seen = False, str(problem).splitlines()[-1]
        if seen and seen != last:
            say(f"     {seen}")
            last, said = seen, time.monotonic()
        if done:
            return
        now = time.monotonic()
        if now - said >= silence:
            say(f"     still waiting for {what}, {elapsed(now - began)} so far")
            said = now
        if now - began >= seconds:
            raise TooLateError(f"{what} did not come within {seconds:.0f} s; seen last: {last}")
        time.sleep(pause)


def condition_words(resource: Manifest, kind: str = "Ready") -> tuple[bool, str]:
    """Return whether a condition of the resource's present generation is true, and its words.

    >>> condition_words({"metadata": {"name": "shop", "generation": 1}, "status": {"conditions": [
    ...     {"type": "Ready", "status": "False", "reason": "Training", "message": "version 1"}]}})
    (False, 'shop: Training (version 1)')
    """
    name = resource["metadata"]["name"]
    status = resource.get("status", {})
    for condition in status.get("conditions", []):
        if condition["type"] == kind:
            current = condition.get("observedGeneration", resource["metadata"]["generation"])
            true = condition["status"] == "True" and current == resource["metadata"]["generation"]
            message = condition.get("message", "").strip()
            return true, f"{name}: {condition['reason']}" + (f" ({message})" if message else "")
    return False, f"{name}: not looked at yet"


def diagnose(kubectl: Kubectl, namespaces: tuple[str, ...]) -> str:
    """Return what a person would look at first: pods, events and the ends of logs."""
    parts = []
    for namespace in namespaces:
        where = ("--namespace", namespace)
        parts.append(_section(f"pods in {namespace}", kubectl, "get", "pods", *where, lines=20))
        events = ("get", "events", *where, "--sort-by=.lastTimestamp")
        parts.append(_section(f"events in {namespace}", kubectl, *events, lines=12))
        logs = ("logs", *where, "--selector", "app.kubernetes.io/part-of=metricwatch")
        options = ("--all-containers", "--prefix", "--tail=15", "--ignore-errors")
        parts.append(_section(f"logs in {namespace}", kubectl, *logs, *options, lines=60))
    return "\n".join(parts)


def _section(title: str, kubectl: Kubectl, *command: str, lines: int) -> str:
    try:
        output = kubectl.run(*command)
    except CommandFailedError as problem:
        output = str(problem)
    return "\n".join([f"--- {title}", *output.rstrip().splitlines()[-lines:]])
