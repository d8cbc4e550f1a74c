"""Which servers may be read at all, where an administrator has said so.

Whoever may write a watch decides where requests from inside the cluster go. A list of hosts bounds
that; it is checked by the operator, which says so in a condition, and again by every process that
opens a source, because rows of a database may be older than the list, or of somebody else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

VARIABLE = "METRICWATCH_ALLOWED_SOURCE_HOSTS"


def allowed_hosts(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The list in an environment; empty when every host is allowed."""
    return tuple(word.strip() for word in environment.get(VARIABLE, "").split(",") if word.strip())


def is_allowed(url: str, hosts: Iterable[str]) -> bool:
    """Whether the host of a URL is one of `hosts`, or none are given.

    `*.example.org` stands for every name that ends so, and not for example.org itself. What a name
    leads to is not looked at: a list of names trusts who runs the DNS.

    >>> is_allowed("http://vm.monitoring.svc:8428/select", ["*.monitoring.svc"])
    True
    >>> is_allowed("http://169.254.169.254/", ["*.monitoring.svc"])
    False
    """
    patterns = [host.lower().rstrip(".") for host in hosts]
    if not patterns:
        return True
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return False
    return any(
        host.endswith(pattern[1:]) and len(host) >= len(pattern)
        if pattern.startswith("*.")
        else host == pattern
        for pattern in patterns
    )


def refusal(url: str, hosts: Iterable[str]) -> str:
    """Why a source is not read, and what to do, for a condition."""
    host = urlsplit(url).hostname or ""
    return (
        f"the source's host {host} is not among those that may be read "
        f"({', '.join(hosts)}): name one of them, or ask who installed Metricwatch to add it to "
        "sources.allowedHosts"
    )
