"""Runs a model folder's graph.json with torch, in fp32 or with rounded weights.

This is the independent answer that the samples' reference files and the golden files of
tests/golden/net come from: it shares nothing with the engine. Operators and figures are those
of the model folder contract (ONNX opset 17 semantics; weight-only round-to-nearest by min-max).
tests/golden/convert/check_convert.py checks the operators against ONNX's own test vectors.
"""
import json
import math
import os

import numpy as np
import torch
from torch.nn import functional as F

import safetensors_io


def padded(x, pads, value):
    """Pads the spatial axes; pads are ONNX's: all begins, then all ends."""
    rank = x.dim() - 2
    pads = pads or [0] * 2 * rank
    pairs = [side for axis in reversed(range(rank)) for side in (pads[axis], pads[rank + axis])]
    return F.pad(x, pairs, value=value)


def per_channel(v, x):
    """Shapes [C] to broadcast along axis 1 of x."""
    return v.reshape([1, -1] + [1] * (x.dim() - 2))


def conv(x, w, b=None, *, kernel_shape=None, strides=None, pads=None, dilations=None, group=1):
    rank = x.dim() - 2
    function = {1: F.conv1d, 2: F.conv2d}[rank]
    return function(padded(x, pads, 0.0), w, b, strides or [1] * rank, 0, dilations or [1] * rank,
                    group)


def gemm(a, b, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0):
    y = alpha * ((a.T if transA else a) @ (b.T if transB else b))
    return y if c is None else y + beta * c


def batch_normalization(x, scale, bias, mean, var, *, epsilon=1e-5):
    scale = scale / torch.sqrt(var + epsilon)
    return x * per_channel(scale, x) + per_channel(bias - mean * scale, x)


def layer_normalization(x, scale, bias=None, *, axis=-1, epsilon=1e-5):
    dims = tuple(range(axis % x.dim(), x.dim()))
    centred = x - x.mean(dims, keepdim=True)
    y = centred / torch.sqrt((centred * centred).mean(dims, keepdim=True) + epsilon) * scale
    return y if bias is None else y + bias


def rms_normalization(x, scale, *, axis=-1, epsilon=1e-5):
    dims = tuple(range(axis % x.dim(), x.dim()))
    return x / torch.sqrt((x * x).mean(dims, keepdim=True) + epsilon) * scale


def gelu(x, *, approximate="none"):
    if approximate == "tanh":
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def max_pool(x, *, kernel_shape, strides=None, pads=None):
    function = {1: F.max_pool1d, 2: F.max_pool2d}[x.dim() - 2]
    return function(padded(x, pads, -math.inf), kernel_shape, strides or [1] * (x.dim() - 2))


def average_pool(x, *, kernel_shape, strides=None, pads=None, count_include_pad=0):
    function = {1: F.avg_pool1d, 2: F.avg_pool2d}[x.dim() - 2]
    strides = strides or [1] * (x.dim() - 2)
    y = function(padded(x, pads, 0.0), kernel_shape, strides)
    if count_include_pad:
        return y
    return y / function(padded(torch.ones_like(x), pads, 0.0), kernel_shape, strides)


def spatial(x):
    return tuple(range(2, x.dim()))


def all_axes(x, axes):
    return tuple(range(x.dim())) if axes is None else tuple(axes)


def reduce_mean(x, *, axes=None, keepdims=1):
    return x.mean(all_axes(x, axes), keepdim=bool(keepdims))


def reduce_max(x, *, axes=None, keepdims=1):
    return x.amax(all_axes(x, axes), keepdim=bool(keepdims))


def flatten(x, *, axis=1):
    if axis < 0:
        axis += x.dim()
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def reshape(x, shape, *, allowzero=0):
    shape = [x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(shape.tolist())]
    return x.reshape(shape)


def gather(table, ids, *, axis=0):
    axis %= table.dim()
    ids = torch.where(ids < 0, ids + table.shape[axis], ids)
    rows = table.index_select(axis, ids.reshape(-1))
    return rows.reshape(table.shape[:axis] + ids.shape + table.shape[axis + 1:])


def clip(x, low=None, high=None):
    if low is not None:
        x = torch.maximum(x, low)
    return x if high is None else torch.minimum(x, high)


OPERATORS = {
    "Conv": conv, "Gemm": gemm, "MatMul": torch.matmul,
    "BatchNormalization": batch_normalization, "LayerNormalization": layer_normalization,
    "RMSNormalization": rms_normalization,
    "Relu": torch.relu, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "Identity": lambda x: x,
    "LeakyRelu": lambda x, alpha=0.01: torch.where(x < 0, alpha * x, x), "Gelu": gelu,
    "Softmax": lambda x, axis=-1: torch.softmax(x, axis), "Add": torch.add, "Mul": torch.mul,
    "MaxPool": max_pool, "AveragePool": average_pool,
    "GlobalAveragePool": lambda x: x.mean(spatial(x), keepdim=True),
    "GlobalMaxPool": lambda x: x.amax(spatial(x), keepdim=True),
    "ReduceMean": reduce_mean, "ReduceMax": reduce_max, "Flatten": flatten, "Reshape": reshape,
    "Transpose": lambda x, perm=None: x.permute(perm or list(reversed(range(x.dim())))),
    "Concat": lambda *parts, axis: torch.cat(parts, axis), "Gather": gather, "Clip": clip,
}


def run(graph, weights, x, dtype=torch.float32):
    """Logits of the rows x: F32 [n, ...], or I64 ids for an I64 graph input."""
    def tensor(a):
        t = torch.from_numpy(np.array(a))
        return t.to(dtype) if t.is_floating_point() else t.to(torch.int64)

    values = {name: tensor(a) for name, a in weights.items()}
    values[graph["inputs"][0]["name"]] = tensor(x)
    for node in graph["nodes"]:
        inputs = [values[name] if name else None for name in node["inputs"]]
        values[node["outputs"][0]] = OPERATORS[node["op"]](*inputs, **node["attrs"])
    return values[graph["outputs"][0]].to(torch.float32).numpy()


def run_rows(graph, weights, x, dtype=torch.float32, batch=500):
    """As run, for many rows."""
    return np.concatenate([run(graph, weights, x[i:i + batch], dtype)
                           for i in range(0, len(x), batch)])


def load_folder(folder):
    """Returns graph, weights, and the rows and labels of eval.safetensors."""
    with open(os.path.join(folder, "graph.json"), encoding="utf-8") as f:
        graph = json.load(f)
    weights, _ = safetensors_io.load(os.path.join(folder, "model.safetensors"))
    return graph, weights, *load_rows(graph, os.path.join(folder, "eval.safetensors"))


def load_rows(graph, path):
    """Returns the rows of a data file as the graph input wants them, and the labels."""
    tensors, metadata = safetensors_io.load(path)
    x = tensors["x"]
    if graph["inputs"][0]["dtype"] == "I64":
        return x.astype(np.int64), tensors["labels"]
    offset = float(metadata.get("x.offset", "0"))
    scale = float(metadata.get("x.scale", "1"))
    return ((x.astype(np.float64) - offset) * scale).astype(np.float32), tensors["labels"]


def quantized_tensors(graph, weights):
    """Returns {name: output-channel axis} of the linear weights, and of the embedding tables.

    A weight is the second input of a Conv, Gemm or MatMul; a table that also serves as one (a
    tied head) counts as a table.
    """
    linear, tables = {}, {}
    for node in graph["nodes"]:
        op = node["op"]
        if op == "Gather" and node["inputs"][0] in weights:
            tables[node["inputs"][0]] = 0
        elif op in ("Conv", "Gemm", "MatMul") and node["inputs"][1] in weights:
            axis = {"Conv": 0, "Gemm": 0 if node["attrs"].get("transB") else 1, "MatMul": -1}[op]
            linear[node["inputs"][1]] = axis
    return {name: axis for name, axis in linear.items() if name not in tables}, tables


def round_runs(runs, bits):
    """Rounds each row of a matrix with its own min-max scale, all in float32."""
    limit = np.float32(2 ** (bits - 1) - 1)
    scale = np.abs(runs).max(axis=1, keepdims=True) / limit
    scale[scale == 0] = 1
    return np.clip(np.rint(runs / scale), -limit, limit) * scale


def round_weight(w, axis, granularity, bits):
    """Weight-only round to nearest: granularity is tensor, channel or group:N."""
    moved = np.moveaxis(w.astype(np.float32), axis, 0)
    rows = np.ascontiguousarray(moved).reshape(len(moved), -1)
    if granularity == "tensor":
        rows = round_runs(rows.reshape(1, -1), bits).reshape(rows.shape)
    elif granularity == "channel":
        rows = round_runs(rows, bits)
    else:
        size = int(granularity.removeprefix("group:"))
        rows = np.concatenate([round_runs(rows[:, i:i + size], bits)
                               for i in range(0, rows.shape[1], size)], axis=1)
    return np.ascontiguousarray(np.moveaxis(rows.reshape(moved.shape), 0, axis))


def round_weights(weights, axes, granularity, bits):
    """A copy of weights in which the tensors of axes {name: axis} are rounded."""
    rounded = {name: round_weight(weights[name], axis, granularity, bits)
               for name, axis in axes.items()}
    return {**weights, **rounded}


def figure(logits, labels):
    """One entry of reference.json."""
    correct = int((logits.argmax(axis=1) == labels).sum())
    return {"metric": "accuracy", "correct": correct, "n": len(labels),
            "accuracy": correct / len(labels)}
