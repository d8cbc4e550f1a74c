"""One LSTM for each series the usual ways: samples scored per CPU second, in one thread.

usage: python network_scoring.py HIDDEN MODELS SECONDS

Prints JSON: ONNX Runtime with one session for each series, state carried from sample to sample or
a window of 60 each time; and a torch module for each series on such windows.
"""

import json
import sys
import time
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper

WINDOW = 60


def session(hidden: int, seed: int) -> ort.InferenceSession:
    rng = np.random.default_rng(seed)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        values = 0.1 * rng.standard_normal(shape)
        return numpy_helper.from_array(values.astype(np.float32), name)

    def tensor(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    nodes = [
        helper.make_node(
            "LSTM",
            ["x", "w", "r", "b", "", "h0", "c0"],
            ["", "h1", "c1"],
            hidden_size=hidden,
        ),
        helper.make_node("MatMul", ["h1", "head"], ["said"]),
    ]
    graph = helper.make_graph(
        nodes,
        "lstm",
        [tensor("x", "T", 1, 1), tensor("h0", 1, 1, hidden), tensor("c0", 1, 1, hidden)],
        [tensor("said", 1, 1, 1), tensor("h1", 1, 1, hidden), tensor("c1", 1, 1, hidden)],
        [
            weights("w", 1, 4 * hidden, 1),
            weights("r", 1, 4 * hidden, hidden),
            weights("b", 1, 8 * hidden),
            weights("head", hidden, 1),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def rate(tick: Callable[[], None], models: int, seconds: float) -> float:
    tick()
    count, began = 0, time.process_time()
    while time.process_time() - began < seconds:
        tick()
        count += 1
    return count * models / (time.process_time() - began)


def onnx_runtime(hidden: int, models: int, window: int) -> Callable[[], None]:
    sessions = [session(hidden, seed) for seed in range(models)]
    nothing = np.zeros((1, 1, hidden), dtype=np.float32)
    states = [(nothing, nothing)] * models
    samples = np.random.default_rng(0).standard_normal((window, 1, 1)).astype(np.float32)

    def tick() -> None:
        for index, one in enumerate(sessions):
            h, c = states[index] if window == 1 else (nothing, nothing)
            _, h, c = one.run(None, {"x": samples, "h0": h, "c0": c})
            states[index] = (h, c)

    return tick


def torch_modules(hidden: int, models: int) -> Callable[[], None]:
    modules = [
        (torch.nn.LSTM(1, hidden, batch_first=True), torch.nn.Linear(hidden, 1))
        for _ in range(models)
    ]
    samples = torch.randn(1, WINDOW, 1)

    def tick() -> None:
        with torch.inference_mode():
            for network, head in modules:
                head(network(samples)[0][:, -1])

    return tick


def main() -> None:
    hidden, models = int(sys.argv[1]), int(sys.argv[2])
    seconds = float(sys.argv[3])
    torch.set_num_threads(1)
    rates = {
        "ONNX Runtime, state carried": rate(onnx_runtime(hidden, models, 1), models, seconds),
        "ONNX Runtime, window of 60": rate(onnx_runtime(hidden, models, WINDOW), models, seconds),
        "torch module, window of 60": rate(torch_modules(hidden, models), models, seconds),
    }
    print(json.dumps(rates))


if __name__ == "__main__":
    main()
