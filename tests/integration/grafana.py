"""A dashboard's queries as Grafana sends them: variables looked up and put in, in its formats."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

RANGE_SECONDS = 60
BUILT_IN = {"__range": f"{RANGE_SECONDS}s", "__rate_interval": "15s", "__interval": "5s"}
_LABEL_VALUES = re.compile(r"label_values\((.*), (\w+)\)")
_QUERY_RESULT = re.compile(r"query_result\((.*)\)", re.S)
_VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}|\$(\w+)")


@dataclass(frozen=True, slots=True)
class Choice:
    """What is chosen for a variable; `every` stands for All."""

    values: tuple[str, ...]
    every: str = ""

    def text(self, how: str) -> str:
        """As it stands in a query: several values are a regular expression."""
        if self.every:
            return self.every
        if how == "raw":
            return ",".join(self.values)
        escaped = [re.sub(r"([\\^$.*+?()[\]{}|/])", r"\\\\\1", value) for value in self.values]
        return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


@dataclass(slots=True)
class Board:
    """A dashboard whose data source is this server.

    Attributes:
        model: The JSON.
        client: To a Prometheus, or to something that answers as one.
        choose_all: Whether All is chosen where it can be, or every value one by one.
    """

    model: dict[str, Any]
    client: httpx.Client
    choose_all: bool = True
    chosen: dict[str, Choice] = field(default_factory=dict)

    def choose(self) -> bool:
        """Whether there is something to choose for each variable.

        They are looked up in their order; of a single choice the first is taken.
        """
        for one in self.model["templating"]["list"]:
            if one["type"] == "datasource":
                continue
            values = self._values(self.put_in(one["query"]["query"]), one.get("regex", ""))
            if not values:
                return False
            if not one["multi"]:
                values = values[:1]
            every = one["allValue"] if one["includeAll"] and self.choose_all else ""
            self.chosen[one["name"]] = Choice(tuple(values), every)
        return True

    def put_in(self, expression: str) -> str:
        """The expression with the variables' values."""

        def value(match: re.Match[str]) -> str:
            name = match[1] or match[3]
            return BUILT_IN[name] if name in BUILT_IN else self.chosen[name].text(match[2] or "")

        return _VARIABLE.sub(value, expression)

    def queries(self) -> list[tuple[str, dict[str, Any]]]:
        """Where a query stands, and its target; annotations are targets as well."""
        found = [
            (f"{panel['title']} {target['refId']}", target)
            for panel in self.model["panels"]
            for target in panel.get("targets") or ()
        ]
        notes = (self.model.get("annotations") or {}).get("list", ())
        return found + [(note["name"], {"expr": note["expr"]}) for note in notes]

    def ask(self, target: dict[str, Any]) -> list[dict[str, Any]]:
        """The series of a query over the last minute, or now where the panel asks for that."""
        expression, now = self.put_in(target["expr"]), time.time()
        if target.get("instant"):
            return self._get("query", query=expression, time=str(now))
        times = {"start": str(now - RANGE_SECONDS), "end": str(now), "step": "5"}
        return self._get("query_range", query=expression, **times)

    def _values(self, query: str, regex: str) -> list[str]:
        labels = _LABEL_VALUES.fullmatch(query)
        if labels is not None:
            path = f"label/{labels[2]}/values"
            found: list[str] = self._get(path, **{"match[]": labels[1]})
            return found
        result = _QUERY_RESULT.fullmatch(query)
        assert result is not None, query
        texts = [_described(one) for one in self._get("query", query=result[1])]
        pattern = re.compile(regex.strip("/"))
        return [match[1] for text in texts if (match := pattern.search(text))]

    def _get(self, path: str, **parameters: str) -> Any:
        answer = self.client.get(f"/api/v1/{path}", params=parameters)
        assert answer.status_code == 200, f"{parameters}: {answer.text}"
        data = answer.json()["data"]
        return data["result"] if isinstance(data, dict) else data


def _described(result: dict[str, Any]) -> str:
    """A sample in the words that a variable's regular expression is held against."""
    labels = dict(result["metric"])
    name = labels.pop("__name__", "")
    inner = ",".join(f'{label}="{text}"' for label, text in labels.items())
    moment, value = result["value"]
    return f"{name}{{{inner}}} {value} {int(float(moment) * 1000)}"
