"""Parsing an answer of 10,000 series, against a JSON parser doing the same.

    python benchmarks/source_parsing.py

Prints CPU milliseconds (median of the rounds) from the bytes of the answer to an array in label
order, for one sample a series (a live query) and for thirty (a piece of history).
"""

import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import orjson

from metricwatch.series import Grid, labels_from
from metricwatch.sources.decode import LabelOrder, decode_matrix, decode_vector

SERIES = 10_000
TICKS = 30
ROUNDS = 9


def answer(ticks: int | None, *, gaps: bool = False) -> bytes:
    random = np.random.default_rng(0)
    result = []
    for one in random.permutation(SERIES):
        metric = {
            "__name__": "http_requests:rate5m",
            "instance": f"10.0.{one // 250}.{one % 250}:8080",
            "job": "shop",
            "pod": f"shop-{one:05d}-abcde",
        }
        values = [f"{v:.12g}" for v in random.gamma(2.0, 50.0, ticks or 1)]
        if gaps and one % 10 == 0:
            values[0] = "NaN"
        if ticks is None:
            result.append({"metric": metric, "value": [1_700_000_040.123, values[0]]})
        else:
            pairs = [[1_700_000_040 + 60 * t, v] for t, v in enumerate(values)]
            result.append({"metric": metric, "values": pairs})
    data = {"resultType": "vector" if ticks is None else "matrix", "result": result}
    return json.dumps({"status": "success", "data": data}, separators=(",", ":")).encode()


def naive(body: bytes, loads: Callable[[bytes], dict], ticks: int | None) -> np.ndarray:
    result = loads(body)["data"]["result"]
    found = sorted((labels_from(one["metric"]), one) for one in result)
    if ticks is None:
        return np.array([float(one["value"][1]) for _, one in found])
    return np.array([[float(v) for _, v in one["values"]] for _, one in found])


def ours(body: bytes, order: LabelOrder, ticks: int | None) -> np.ndarray:
    if ticks is None:
        vector = decode_vector(body)
        return vector.values[order.arrange(vector.metrics)[1]]
    matrix = decode_matrix(body, Grid(1_700_000_040, 60, ticks))
    return matrix.values[order.arrange(matrix.metrics)[1]]


def median_cpu_ms(work: Callable[[], object]) -> float:
    spent = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        spent.append(1000 * (time.process_time() - began))
    return statistics.median(spent)


def main() -> None:
    order = LabelOrder()
    for title, ticks, gaps in (
        ("live query, 1 sample", None, False),
        ("live query, a tenth NaN", None, True),
        (f"history, {TICKS} samples", TICKS, False),
    ):
        body = answer(ticks, gaps=gaps)
        np.testing.assert_array_equal(ours(body, order, ticks), naive(body, orjson.loads, ticks))
        known = median_cpu_ms(lambda body=body, ticks=ticks: ours(body, order, ticks))
        new = median_cpu_ms(lambda body=body, ticks=ticks: ours(body, LabelOrder(), ticks))
        by_json = median_cpu_ms(lambda body=body, ticks=ticks: naive(body, json.loads, ticks))
        by_orjson = median_cpu_ms(lambda body=body, ticks=ticks: naive(body, orjson.loads, ticks))
        print(
            f"{title:26} {len(body) / 2**20:5.1f} MiB  ours {known:6.1f} ms "
            f"(series not seen before {new:6.1f})  json {by_json:6.1f}  orjson {by_orjson:6.1f}  "
            f"{by_orjson / known:.1f}x"
        )


if __name__ == "__main__":
    main()
