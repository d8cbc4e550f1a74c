"""What a database URL may look like, and what it means where it says nothing of TLS.

Nobody falls back to plain text in silence: a URL that says nothing is answered by a verified
certificate only, unless the way to the server never leaves the machine. A URL is checked before
any library reads it, because their messages quote what they stumble over: a part of a password,
perhaps.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import parse_qs, unquote, urlsplit

_HOST = re.compile(r"^(\[[0-9A-Fa-f:.]+\]|[^\[\]:,/]*)(:[0-9]{1,5})?$")
# Both try without TLS what does not work with it, or the other way round.
_FALL_BACK = ("allow", "prefer")


def problem_of(url: str) -> str:
    """What is wrong with a URL, without a word of it; empty when nothing is.

    >>> problem_of("postgresql://me:s3cr3t@db:5432/metrics?sslmode=verify-full")
    ''
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return _UNREADABLE
    readable = (
        not parts.fragment
        and "@" not in parts.path
        and "@" not in parts.query
        and parts.netloc.count("@") <= 1
        and all(map(_HOST.match, parts.netloc.rpartition("@")[2].split(",")))
        and not re.search(r"[\s\x00-\x1f\x7f]", url)
    )
    if not readable:
        return _UNREADABLE
    mode = _mode(url)
    if mode in _FALL_BACK:
        return (
            f"says sslmode={mode}, which goes on in plain text when TLS fails: write verify-full, "
            "or disable where nobody else listens"
        )
    return ""


_UNREADABLE = (
    "cannot be read: write it like postgresql://user:password@host:5432/database, and characters "
    "like @ : / ? # [ ] % in a password as %40 %3A %2F %3F %23 %5B %5D %25"
)


def with_tls(url: str) -> str:
    """The URL with the TLS that it asks for by saying nothing.

    >>> with_tls("postgresql://me@db.shop/metrics")
    'postgresql://me@db.shop/metrics?sslmode=verify-full'
    >>> with_tls("postgresql://me@127.0.0.1/metrics")
    'postgresql://me@127.0.0.1/metrics?sslmode=disable'
    """
    if _mode(url):
        return url
    mode = "disable" if _stays_here(url) else "verify-full"
    return f"{url}{'&' if '?' in url else '?'}sslmode={mode}"


def _mode(url: str) -> str:
    return parse_qs(url.partition("?")[2]).get("sslmode", [""])[-1]


def _stays_here(url: str) -> bool:
    parts = urlsplit(url)
    given = parse_qs(parts.query).get("host", [])
    named = unquote(given[-1] if given else parts.netloc.rpartition("@")[2])
    return all(_is_this_machine(host) for host in named.split(","))


def _is_this_machine(host: str) -> bool:
    name = re.sub(r":[0-9]*$", "", host) if host.count(":") == 1 or "]" in host else host
    name = name.strip("[]")
    if name == "localhost" or name.startswith("/"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
