"""The documents of our API group in YAML files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from metricwatch.resources import GROUP


class _Loader(yaml.SafeLoader):
    """Reads YAML as Kubernetes does: a time stays the text that it is."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_documents(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yields the documents of our API group, numbered from 1 among all in the text.

    Raises:
        yaml.YAMLError: it is no YAML.
    """
    for number, document in enumerate(yaml.load_all(text, Loader=_Loader), start=1):
        if isinstance(document, Mapping) and str(document.get("apiVersion", "")).startswith(
            f"{GROUP}/"
        ):
            yield number, document
