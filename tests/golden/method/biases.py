#!/usr/bin/python3
"""samples/fashion-mlp with made high biases, into a folder: its function is unchanged.

Behind every hidden Relu stands one more layer, the identity with a bias of its own for each channel, up to four times
the largest value of the layer on the calibration rows, and a Relu that never cuts; the layer that follows takes the
biases out again. So what each channel always has is most of the inputs' range.
usage: biases.py FOLDER (Debian's python3-numpy)
"""
import json
import os
import shutil
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
FROM = os.path.join(HERE, "../../../samples/fashion-mlp")
sys.path.insert(0, os.path.join(HERE, "../../../samples"))
import safetensors_io  # noqa: E402


def lift(node, tensors, x, rng):
    """The lifting layer in front of `node`, a Gemm whose inputs are x; node then reads it."""
    value, weight, bias = node["inputs"]
    name, n = f"lift_{weight.split('.')[0]}", x.shape[1]
    high = (4 * x.max() * rng.random(n)).astype(np.float32)
    tensors[f"{name}.weight"] = np.eye(n, dtype=np.float32)
    tensors[f"{name}.bias"] = high
    w = tensors[weight].astype(np.float64)
    tensors[bias] = (tensors[bias] - w @ high).astype(np.float32)
    node["inputs"][0] = f"{name}.relu.out"
    return [{"op": "Gemm", "name": name, "inputs": [value, f"{name}.weight", f"{name}.bias"],
             "outputs": [f"{name}.out"], "attrs": {"transB": 1}},
            {"op": "Relu", "name": f"{name}.relu", "inputs": [f"{name}.out"],
             "outputs": [f"{name}.relu.out"], "attrs": {}}]


def main():
    out = sys.argv[1]
    graph = json.load(open(os.path.join(FROM, "graph.json")))
    tensors = {k: np.array(v) for k, v in
               safetensors_io.load(os.path.join(FROM, "model.safetensors"))[0].items()}
    rows = safetensors_io.load(os.path.join(FROM, "calib.safetensors"))[0]
    rng = np.random.default_rng(0)
    x, nodes = rows["x"].reshape(len(rows["x"]), -1) / np.float32(255), []  # pixels are bytes
    for node in graph["nodes"]:
        if node["op"] == "Gemm":
            y = x @ tensors[node["inputs"][1]].T + tensors[node["inputs"][2]]
            if node["inputs"][0].endswith("relu.out"):
                nodes += lift(node, tensors, x, rng)
            x = y
        elif node["op"] == "Relu":
            x = np.maximum(x, 0)
        nodes.append(node)
    graph["nodes"] = nodes
    os.makedirs(out, exist_ok=True)
    for name in os.listdir(FROM):
        if name.endswith((".safetensors", ".md")) and name != "model.safetensors":
            shutil.copy(os.path.join(FROM, name), out)
    with open(os.path.join(out, "graph.json"), "w") as f:
        json.dump(graph, f, indent=1)
    safetensors_io.save(os.path.join(out, "model.safetensors"), tensors)


main()
