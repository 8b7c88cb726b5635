#!/usr/bin/python3
"""Writes small model folders that together use every operator of graph.json.

Needs Debian's python3-torch and python3-numpy:

    /usr/bin/python3 tests/golden/net/make_ops.py

Each function marked with @case becomes a folder beside this script: graph.json,
model.safetensors, eval.safetensors (x, labels; one label in four is wrong on purpose),
reference.json (fp32 right answers), reference.safetensors (`logits` of the first 16 rows) and,
where a weight can be quantized, reference_quant.safetensors: the logits of the same rows with
the weights rounded, named SCOPE.GRANULARITY.BITS ("linear.channel.4"). The numbers come from
samples/oracle.py in float64, which shares nothing with the engine.
"""
import os
import shutil
import sys

import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "..", "samples"))
import oracle  # noqa: E402
import safetensors_io  # noqa: E402

ROUNDED = [(scope, granularity, bits) for scope in ("all", "linear")
           for granularity, bits in (("channel", 4), ("tensor", 3), ("group:32", 4))]
CASES = []


def case(shape, dtype="F32", store="F32", rows=20, ids=0, metadata=None, labels=np.uint8):
    """Declares a case: shape of one row, how x is stored, number of rows, number of ids."""
    def add(function):
        CASES.append((function, shape, dtype, store, rows, ids, metadata or {}, labels))
        return function
    return add


class Graph:
    """Builds the nodes and weights of one case."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.weights = [], {}

    def node(self, op, *inputs, name=None, **attrs):
        """Adds a node and returns the name of its output."""
        name = name or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append({"op": op, "name": name, "inputs": list(inputs),
                           "outputs": [f"{name}.out"], "attrs": attrs})
        return f"{name}.out"

    def tensor(self, value, name=None):
        """Adds an initializer and returns its name."""
        name = name or f"t{len(self.weights)}"
        self.weights[name] = np.asarray(value)
        return name

    def normal(self, *shape, name=None, scale=None):
        """Random weights; the scale keeps sums over all axes but the first near 1."""
        scale = scale or 1 / np.sqrt(max(1, np.prod(shape[1:])))
        return self.tensor((self.rng.normal(size=shape) * scale).astype(np.float32), name)

    def shape(self, *sizes):
        return self.tensor(np.array(sizes, np.int64))

    def scalar(self, value):
        return self.tensor(np.float32(value))

    def head(self, x, inputs, classes=5):
        """A dense layer that ends the network."""
        return self.node("Gemm", x, self.normal(classes, inputs, name="head.weight", scale=1),
                         self.normal(classes, name="head.bias", scale=0.1), name="head", transB=1)

    def batch_norm(self, x, channels, name, **attrs):
        """A batch normalization with means, variances and scales away from 0 and 1."""
        rng = self.rng
        parts = (("weight", rng.uniform(0.5, 1.5, channels)), ("bias", rng.normal(size=channels)),
                 ("running_mean", rng.normal(size=channels)),
                 ("running_var", rng.uniform(0.2, 3, channels)))
        return self.node("BatchNormalization", x,
                         *(self.tensor(value.astype(np.float32), f"{name}.{part}")
                           for part, value in parts), name=name, **attrs)


@case([3, 9, 8])
def conv2d(g):
    x = g.node("Conv", "x", g.normal(6, 3, 3, 2), g.normal(6), kernel_shape=[3, 2],
               strides=[2, 1], pads=[0, 1, 2, 0], dilations=[1, 2], group=1)
    x = g.node("Conv", x, g.normal(4, 6, 1, 1), "", kernel_shape=[1, 1], strides=[2, 2])
    return g.head(g.node("Flatten", x), 4 * 3 * 4)


@case([4, 7, 7])
def conv2d_groups(g):
    x = g.node("Conv", "x", g.normal(6, 2, 3, 3), group=2)
    x = g.node("Conv", x, g.normal(12, 1, 3, 3), g.normal(12), kernel_shape=[3, 3],
               pads=[2, 1, 1, 3], dilations=[2, 1], group=6)
    return g.head(g.node("Flatten", x), 12 * 4 * 7)


@case([3, 17])
def conv1d(g):
    x = g.node("Conv", "x", g.normal(8, 3, 4), g.normal(8), kernel_shape=[4], strides=[2],
               pads=[3, 1], dilations=[2], group=1)
    x = g.node("Conv", x, g.normal(8, 2, 3), kernel_shape=[3], pads=[1, 1], group=4)
    x = g.node("Conv", x, g.normal(8, 1, 3), g.normal(8), kernel_shape=[3], pads=[2, 0], group=8)
    return g.head(g.node("Flatten", x), 8 * 8)


@case([33])
def gemm(g):
    x = g.node("Gemm", "x", g.normal(33, 10), g.normal(10), alpha=0.5, beta=2.0)
    x = g.node("Gemm", x, g.normal(9, 10), g.normal(1, 9), transB=1, beta=0.25)
    x = g.node("Gemm", x, g.normal(9, 8), g.scalar(0.3), transB=0)
    x = g.node("Gemm", x, g.normal(7, 8), g.normal(1), transA=0, transB=1, alpha=1.5)
    return g.node("Gemm", x, g.normal(7, 4), "")


@case([6])
def gemm_transposed_input(g):
    x = g.node("Transpose", "x")
    x = g.node("Gemm", x, g.normal(6, 8), g.normal(8), transA=1)
    x = g.node("Transpose", x, perm=[1, 0])
    return g.node("Gemm", x, g.normal(4, 8), g.normal(4), transA=1, transB=1)


@case([5, 6])
def matmul(g):
    q = g.node("MatMul", "x", g.normal(6, 8, name="q.weight"), name="q")
    k = g.node("MatMul", "x", g.normal(6, 8, name="k.weight"), name="k")
    scores = g.node("MatMul", q, g.node("Transpose", k, perm=[0, 2, 1]))
    heads = g.node("Reshape", g.node("MatMul", scores, k), g.shape(0, 5, 2, 4))
    heads = g.node("Transpose", heads, perm=[0, 2, 1, 3])
    x = g.node("MatMul", heads, g.node("Transpose", heads, perm=[0, 1, 3, 2]))
    x = g.node("MatMul", x, heads)
    return g.node("MatMul", g.node("Flatten", x), g.normal(40, 4, scale=0.1, name="out.weight"))


@case([5, 6])
def matmul_left(g):
    x = g.node("MatMul", g.normal(7, 5, name="mix"), "x")
    return g.head(g.node("Flatten", x), 42)


@case([4, 3, 5])
def batch_norm(g):
    x = g.batch_norm("x", 4, "bn4", epsilon=1e-3)
    x = g.node("Reshape", x, g.shape(0, 4, 15))
    x = g.node("Relu", g.batch_norm(x, 4, "bn3"))
    x = g.batch_norm(g.node("Flatten", x), 60, "bn2", epsilon=0.1)
    return g.head(x, 60)


@case([4, 6], store="I8", metadata={"x.scale": "0.05", "x.offset": "-3"})
def layer_norm(g):
    x = g.node("LayerNormalization", "x", g.normal(6, scale=1), g.normal(6))
    x = g.node("LayerNormalization", x, g.normal(4, 6, scale=1), g.normal(4, 6), axis=1,
               epsilon=0.01)
    x = g.node("LayerNormalization", x, g.normal(6, scale=1), axis=2)
    x = g.node("LayerNormalization", x, g.normal(4, 6, scale=1), "", axis=-2)
    return g.head(g.node("Flatten", x), 24)


@case([4, 6])
def rms_norm(g):
    x = g.node("RMSNormalization", "x", g.normal(6, scale=1))
    x = g.node("RMSNormalization", x, g.normal(4, 6, scale=1), axis=1, epsilon=0.1)
    x = g.node("RMSNormalization", x, g.normal(6, scale=1), axis=-1, epsilon=1e-6)
    return g.head(g.node("Flatten", x), 24)


@case([10])
def activations(g):
    x = g.node("Gemm", "x", g.normal(10, 8, scale=1), g.normal(8))
    parts = [g.node("Relu", x), g.node("Sigmoid", x), g.node("Tanh", x), g.node("LeakyRelu", x),
             g.node("LeakyRelu", x, alpha=0.25), g.node("Gelu", x),
             g.node("Gelu", x, approximate="none"), g.node("Gelu", x, approximate="tanh"),
             g.node("Identity", x)]
    return g.head(g.node("Concat", *parts, axis=1), 72)


@case([8])
def activations_far(g):
    """Arguments to +-90, where exp and erf saturate."""
    x = g.node("Mul", "x", g.scalar(30))
    parts = [g.node("Sigmoid", x), g.node("Tanh", x), g.node("Gelu", x),
             g.node("Gelu", x, approximate="tanh"), g.node("Softmax", x)]
    return g.head(g.node("Concat", *parts, axis=-1), 40)


@case([4, 3, 5])
def softmax(g):
    x = g.node("Mul", "x", g.scalar(3))
    parts = [g.node("Softmax", x), g.node("Softmax", x, axis=1), g.node("Softmax", x, axis=-2)]
    x = g.node("Concat", *parts, axis=2)
    return g.head(g.node("Flatten", x), 4 * 9 * 5)


@case([4, 3, 5])
def broadcast(g):
    x = g.node("Add", "x", g.normal(4, 1, 1))
    x = g.node("Mul", x, g.normal(5, scale=1))
    x = g.node("Add", g.normal(1, 4, 1, 5), x)
    x = g.node("Mul", g.scalar(1.5), x)
    x = g.node("Add", x, g.normal(3, 1))
    x = g.node("Add", x, g.normal(1))
    gate = g.node("Sigmoid", g.node("GlobalAveragePool", x))
    x = g.node("Mul", gate, x)
    x = g.node("Add", x, g.node("ReduceMax", "x", axes=[1]))
    x = g.node("Mul", x, x)
    return g.head(g.node("Flatten", x), 60)


@case([12])
def broadcast_rank(g):
    """[N, 12] meets tensors of higher rank only after it was reshaped; [N, 1] widens."""
    mean = g.node("ReduceMean", "x", axes=[1], keepdims=1)
    x = g.node("Add", "x", g.node("Mul", mean, g.scalar(-1)))
    x = g.node("Mul", mean, x)
    x = g.node("Add", x, g.node("Mul", mean, g.normal(1, 12, scale=1)))
    return g.head(x, 12)


@case([3, 9, 8])
def max_pool(g):
    x = g.node("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 0, 1])
    x = g.node("MaxPool", x, kernel_shape=[2, 2])
    x = g.node("Reshape", x, g.shape(0, 0, -1))
    x = g.node("MaxPool", x, kernel_shape=[3], strides=[2], pads=[2, 0])
    return g.head(g.node("Flatten", x), 3 * 5)


@case([3, 9, 8])
def average_pool(g):
    pads = dict(kernel_shape=[3, 3], strides=[2, 2], pads=[1, 2, 0, 1])
    a = g.node("AveragePool", "x", **pads)
    b = g.node("AveragePool", "x", count_include_pad=1, **pads)
    x = g.node("AveragePool", g.node("Concat", a, b, axis=1), kernel_shape=[2, 2])
    x = g.node("Reshape", x, g.shape(0, 6, -1))
    x = g.node("AveragePool", x, kernel_shape=[4], strides=[3], pads=[1, 3], count_include_pad=0)
    return g.head(g.node("Flatten", x), 6 * 5)


@case([6, 4, 5])
def global_pool(g):
    line = g.node("Reshape", "x", g.shape(0, 6, 20))
    parts = [g.node("GlobalAveragePool", "x"), g.node("GlobalMaxPool", "x")]
    lines = [g.node("GlobalAveragePool", line), g.node("GlobalMaxPool", line)]
    x = g.node("Concat", *(g.node("Flatten", p) for p in parts + lines), axis=1)
    return g.head(x, 24)


@case([4, 3, 5])
def reduce(g):
    parts = [g.node("ReduceMean", "x", axes=[2, 3], keepdims=0),
             g.node("ReduceMax", "x", axes=[3, 1], keepdims=0),
             g.node("Flatten", g.node("ReduceMean", "x", axes=[-1])),
             g.node("Flatten", g.node("ReduceMax", "x", axes=[-3], keepdims=1)),
             g.node("ReduceMax", "x", axes=[1, 2, 3], keepdims=0)]
    parts[-1] = g.node("Reshape", parts[-1], g.shape(-1, 1))
    return g.head(g.node("Concat", *parts, axis=1), 4 + 3 + 12 + 15 + 1)


@case([3, 4, 5])
def flatten(g):
    rows = g.node("Flatten", "x", axis=2)
    rows = g.node("Gemm", rows, g.normal(20, 6))
    a = g.node("Reshape", rows, g.shape(-1, 18))
    rows = g.node("Gemm", g.node("Flatten", "x", axis=-1), g.normal(5, 5))
    b = g.node("Reshape", rows, g.shape(-1, 3, 20))
    return g.head(g.node("Concat", a, g.node("Flatten", b, axis=1), axis=1), 78)


@case([4, 6])
def reshape(g):
    x = g.node("Reshape", "x", g.shape(0, 2, -1))
    x = g.node("Mul", x, g.normal(2, 12, scale=1))
    x = g.node("Reshape", x, g.shape(-1, 3, 8))
    x = g.node("Add", x, g.normal(3, 1))
    x = g.node("Reshape", x, g.shape(0, 0, 2, 4))
    x = g.node("Mul", x, g.normal(2, 1, scale=1))
    x = g.node("Reshape", x, g.shape(-1, 24), allowzero=1)
    return g.head(x, 24)


@case([2, 3, 4])
def transpose(g):
    x = g.node("Transpose", "x", perm=[0, 3, 1, 2])
    x = g.node("Add", x, g.normal(4, 2, 3))
    x = g.node("Transpose", x, perm=[2, 1, 0, 3])
    x = g.node("Mul", x, g.normal(2, 4, 1, 3, scale=1))
    x = g.node("Transpose", x)
    x = g.node("Mul", x, g.normal(3, 1, 4, 2, scale=1))
    x = g.node("Transpose", x, perm=[1, 0, 3, 2])
    return g.head(g.node("Flatten", x), 24)


@case([3, 4])
def concat(g):
    x = g.node("Concat", "x", g.node("Tanh", "x"), "x", axis=1)
    x = g.node("Concat", x, g.node("Relu", x), axis=-1)
    x = g.node("Concat", x, axis=1)
    return g.head(g.node("Flatten", x), 72)


@case([6], dtype="I64", store="U8", ids=40)
def gather_ids(g):
    x = g.node("Gather", g.normal(40, 8, name="embed.weight", scale=1), "x", name="embed")
    x = g.node("Add", x, g.normal(6, 8, name="position"))
    return g.head(g.node("ReduceMean", x, axes=[1], keepdims=0), 8)


@case([4], dtype="I64", store="U16", ids=300, labels=np.int64)
def gather_wide_ids(g):
    x = g.node("Gather", g.normal(300, 6, name="embed.weight", scale=1), "x", axis=0)
    return g.head(g.node("Flatten", x), 24)


@case([5, 6])
def gather_axis(g):
    first = g.node("Gather", "x", g.tensor(np.int64(0)), axis=1)
    last = g.node("Gather", "x", g.tensor(np.int64(-1)), axis=1)
    some = g.node("Gather", "x", g.tensor(np.array([3, 1, -2, 1])), axis=2)
    grid = g.node("Gather", "x", g.tensor(np.array([[0, 2], [4, 0]])), axis=-2)
    x = g.node("Concat", first, last, g.node("Flatten", some), g.node("Flatten", grid), axis=1)
    return g.head(x, 6 + 6 + 20 + 24)


@case([6], dtype="I64", store="U8", ids=12)
def tied_embedding(g):
    table = g.normal(12, 8, name="embed.weight", scale=1)
    x = g.node("Gather", table, "x", name="embed")
    x = g.node("ReduceMean", x, axes=[1], keepdims=0)
    x = g.node("Tanh", g.node("Gemm", x, g.normal(8, 8, name="mix.weight"), name="mix"))
    return g.node("Gemm", x, table, name="head", transB=1)


@case([9])
def clip(g):
    low, high = g.scalar(-0.5), g.scalar(0.75)
    parts = [g.node("Clip", "x", low, high), g.node("Clip", "x", low), g.node("Clip", "x"),
             g.node("Clip", "x", "", high), g.node("Clip", "x", low, ""),
             g.node("Clip", "x", "", "")]
    return g.head(g.node("Concat", *parts, axis=1), 54)


@case([4, 3])
def constants(g):
    """Nodes whose inputs are all initializers."""
    w = g.normal(2, 3, 2, name="w", scale=1)
    row = g.node("Flatten", g.node("Identity", w), axis=0)
    mean, most = g.node("ReduceMean", w, keepdims=0), g.node("ReduceMax", w)
    x = g.node("Add", g.node("Flatten", "x"), row)
    x = g.node("Add", g.node("Mul", x, mean), g.node("Reshape", most, g.shape(1, 1)))
    turned = g.node("Transpose", g.normal(5, 12, name="turned"))
    return g.node("MatMul", x, turned)


@case([3, 4], rows=5)
def dead_end(g):
    """Fewer rows than 16, a node and tensors that do not matter, and an output in the middle."""
    g.tensor(np.arange(6, dtype=np.float32).reshape(2, 3), "unused.weight")
    g.tensor(np.int64(7), "num_batches_tracked")
    logits = g.head(g.node("Flatten", "x"), 12)
    g.node("Softmax", logits)
    return logits


@case([4, 5, 5])
def half_weights(g):
    """F16 and BF16 weights, widened when the network runs."""
    def halve(name, convert):
        g.weights[name] = convert(g.weights[name])
        return name
    w = halve(g.normal(6, 4, 3, 3, name="conv.weight"), lambda a: a.astype(np.float16))
    x = g.node("Conv", "x", w, halve(g.normal(6, name="conv.bias"), safetensors_io.bf16))
    x = g.node("Clip", x, g.tensor(np.float16(-1.5)), g.tensor(np.float32(2)))
    return g.node("Gemm", g.node("Flatten", x),
                  halve(g.normal(54, 5, name="head.weight", scale=1), safetensors_io.bf16))


@case([1, 12, 12], store="U8", metadata={"x.scale": "0.0078125", "x.offset": "128"})
def residual_net(g):
    def unit(x, name, inputs, outputs, **attrs):
        kernel = attrs["kernel_shape"]
        w = g.normal(outputs, inputs // attrs.get("group", 1), *kernel, name=f"{name}.weight")
        return g.batch_norm(g.node("Conv", x, w, name=name, **attrs), outputs, f"{name}.bn")

    x = g.node("Relu", unit("x", "stem", 1, 8, kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
    y = g.node("Relu", unit(x, "a", 8, 8, kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=8))
    x = g.node("Relu", g.node("Add", x, unit(y, "b", 8, 8, kernel_shape=[1, 1])))
    x = g.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    short = unit(x, "short", 8, 12, kernel_shape=[1, 1], strides=[2, 2])
    y = unit(x, "down", 8, 12, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    x = g.node("Relu", g.node("Add", y, short))
    return g.head(g.node("Flatten", g.node("GlobalAveragePool", x)), 12, classes=7)


@case([10], dtype="I64", store="U8", ids=64)
def transformer(g):
    def linear(x, name, inputs, outputs):
        y = g.node("MatMul", x, g.tensor(g.rng.normal(size=(inputs, outputs)).astype(np.float32)
                                         / np.float32(inputs ** 0.5), f"{name}.weight"), name=name)
        return g.node("Add", y, g.normal(outputs, name=f"{name}.bias", scale=0.1))

    def norm(x, name):
        return g.node("LayerNormalization", x, g.normal(16, name=f"{name}.weight", scale=1),
                      g.normal(16, name=f"{name}.bias"), name=name)

    def heads(x, perm):
        return g.node("Transpose", g.node("Reshape", x, g.shape(0, 10, 4, 4)), perm=perm)

    x = g.node("Gather", g.normal(64, 16, name="embed.weight", scale=1), "x", name="embed")
    x = g.node("Add", x, g.normal(10, 16, name="position"))
    y = norm(x, "norm1")
    q, k, v = (heads(linear(y, name, 16, 16), perm) for name, perm in (
        ("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])))
    y = g.node("Softmax", g.node("Mul", g.node("MatMul", q, k), g.scalar(0.5)))
    y = g.node("Transpose", g.node("MatMul", y, v), perm=[0, 2, 1, 3])
    x = g.node("Add", x, linear(g.node("Reshape", y, g.shape(0, 10, 16)), "out", 16, 16))
    y = g.node("Gelu", linear(norm(x, "norm2"), "up", 16, 24))
    x = g.node("Add", x, linear(y, "down", 24, 16))
    return g.head(g.node("ReduceMax", x, axes=[1], keepdims=0), 16)


@case([5, 8])
def batch_second(g):
    """Attention as torch exports it: batch and heads share a dimension that is not the first."""
    x = g.node("Transpose", "x", perm=[1, 0, 2])
    x = g.node("MatMul", x, g.normal(8, 24, name="qkv.weight", scale=0.5), name="qkv")
    parts = [g.node("Gather", x, g.tensor(np.arange(i, i + 8)), axis=2) for i in (0, 8, 16)]
    q, k, v = (g.node("Transpose", g.node("Reshape", part, g.shape(5, -1, 4)), perm=perm)
               for part, perm in zip(parts, ([1, 0, 2], [1, 2, 0], [1, 0, 2])))
    x = g.node("MatMul", g.node("Softmax", g.node("MatMul", q, k), axis=-1), v)
    x = g.node("Reshape", g.node("Transpose", x, perm=[1, 0, 2]), g.shape(-1, 8))
    x = g.node("Gemm", x, g.normal(8, 8, name="out.weight"), name="out", transB=1)
    x = g.node("Transpose", g.node("Reshape", x, g.shape(5, -1, 8)), perm=[1, 0, 2])
    return g.head(g.node("ReduceMean", x, axes=[1], keepdims=0), 8)


def stored_rows(rng, shape, store, rows, ids):
    """The array x of eval.safetensors."""
    if ids:
        x = rng.integers(0, ids, [rows, *shape])
        x.reshape(-1)[:2] = 0, ids - 1
        return x.astype(safetensors_io.DTYPES[store])
    if store == "F32":
        return rng.normal(size=[rows, *shape]).astype(np.float32)
    limits = np.iinfo(safetensors_io.DTYPES[store])
    return rng.integers(limits.min, limits.max + 1, [rows, *shape]).astype(limits.dtype)


def clear_rows(logits):
    """Rows whose largest logit leads by more than the tolerance of the comparison."""
    top = np.sort(logits, axis=1)
    return np.flatnonzero(top[:, -1] - top[:, -2] > 5e-3 * np.abs(logits).max(axis=1))


def write_case(seed, function, shape, dtype, store, rows, ids, metadata, label_type):
    name = function.__name__
    folder = os.path.join(HERE, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    g = Graph(seed)
    output = function(g)
    graph = {"schema": "qexplore.graph/1", "name": name, "task": "classification",
             "inputs": [{"name": "x", "dtype": dtype, "shape": ["N", *shape]}],
             "nodes": g.nodes, "outputs": [output], "labels": []}
    x = stored_rows(g.rng, shape, store, 4 * rows, ids)

    def path(file):
        return os.path.join(folder, file)

    def save_eval(x, labels):
        safetensors_io.save(path("eval.safetensors"), {"x": x, "labels": labels},
                            {"task": "classification", "name": name, "n": str(len(x)),
                             "source": "random numbers", "licence": "Apache-2.0", **metadata})
        return oracle.load_rows(graph, path("eval.safetensors"))[0]

    safetensors_io.save(path("model.safetensors"), g.weights, {"name": name})
    weights, _ = safetensors_io.load(path("model.safetensors"))
    logits = oracle.run(graph, weights, save_eval(x, np.zeros(len(x), label_type)), torch.float64)
    assert np.isfinite(logits).all() and logits.shape[0] == len(x), name
    chosen = clear_rows(logits)[:rows]
    assert len(chosen) == rows, f"{name}: too many rows near a tie"
    logits = logits[chosen]

    labels = logits.argmax(axis=1)
    labels[::4] = (labels[::4] + 1) % logits.shape[1]
    values = save_eval(x[chosen], labels.astype(label_type))
    graph["labels"] = [f"class {i}" for i in range(logits.shape[1])]
    safetensors_io.write_json(path("graph.json"), graph)
    safetensors_io.save(path("reference.safetensors"), {"logits": logits[:16]}, {"name": name})
    linear, tables = oracle.quantized_tensors(graph, weights)
    safetensors_io.write_json(path("reference.json"), {
        "schema": "qexplore.reference/1", "model": name,
        "sets": {"eval.safetensors": {"fp32": oracle.figure(logits, labels)}},
        "quantized_tensors": {"linear": list(linear), "embedding": list(tables)}})
    write_rounded(path("reference_quant.safetensors"), graph, weights, values[:16], linear, tables)
    safetensors_io.write_bytes(path("NOTICE.md"), (
        f"# {name}\nRandom numbers written by tests/golden/net/make_ops.py. Apache-2.0.\n")
        .encode())


def write_rounded(path, graph, weights, values, linear, tables):
    """Logits with rounded weights, for every scope that touches a tensor."""
    logits = {}
    for scope, granularity, bits in ROUNDED:
        axes = {**linear, **tables} if scope == "all" else linear
        if axes:
            rounded = oracle.round_weights(weights, axes, granularity, bits)
            logits[f"{scope}.{granularity}.{bits}"] = oracle.run(graph, rounded, values,
                                                                 torch.float64)
    if logits:
        safetensors_io.save(path, logits, {"name": graph["name"]})


def main():
    used = set()
    for seed, entry in enumerate(CASES):
        write_case(seed, *entry)
    for function, *_ in CASES:
        graph, *_ = oracle.load_folder(os.path.join(HERE, function.__name__))
        used |= {node["op"] for node in graph["nodes"]}
    assert used == set(oracle.OPERATORS), sorted(set(oracle.OPERATORS) - used)
    print(f"{len(CASES)} folders")


if __name__ == "__main__":
    main()
