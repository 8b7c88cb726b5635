"""Turns an ONNX graph into the nodes and tensors of graph.json.

The graph is walked twice, with two batch sizes. In each walk a value is an array: one whose
numbers are known (an initializer, or computed from initializers and shapes), or zeros of the
right shape that stand for data. Arithmetic on shapes thereby disappears, and a dimension that
differs between the walks is the batch. What is left is written in the operators of the model
folder contract, or refused with a sentence that names the node.
"""
import math

import numpy as np
import onnx
from onnx import numpy_helper

from modelfolder import UNSUPPORTED, Refused

BATCHES = (7, 11)  # sizes that no other dimension is likely to follow
FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
IDS = (onnx.TensorProto.INT64, onnx.TensorProto.INT32)


class Node:
    """One ONNX node with its attributes as plain values."""

    def __init__(self, op, name, inputs, outputs, attrs):
        self.op, self.name, self.attrs = op, name, attrs
        self.inputs, self.outputs = list(inputs), list(outputs)
        self.batch = None  # for data in a file with a fixed batch: that size, and the walk's

    def refuse(self, why):
        raise Refused(f"Node {self.name} ({self.op}): {why}", UNSUPPORTED)

    def input(self, i):
        """Name of input i, "" where it is left out."""
        return self.inputs[i] if i < len(self.inputs) else ""


def attribute(a):
    value = onnx.helper.get_attribute_value(a)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return list(value) if a.type in (a.INTS, a.FLOATS) else value


def axes_of(node, arrays, rank):
    """Axes given as an attribute, or from opset 13 or 18 on as the second input."""
    axes = node.attrs.get("axes")
    if axes is None and len(arrays) > 1 and arrays[1] is not None:
        axes = arrays[1].reshape(-1).tolist()
    return None if axes is None else [int(a) % rank for a in axes]


# Numbers: operators that are computed when all inputs are known, and give the shape otherwise.

def fold_cast(node, x):
    return x.astype(onnx.mapping.TENSOR_TYPE_TO_NP_TYPE[node.attrs["to"]])


def fold_div(node, a, b):
    if a.dtype.kind in "iu":
        return np.where(b == 0, 0, np.trunc(a / np.where(b == 0, 1, b))).astype(a.dtype)
    return a / b


def fold_flatten(node, x):
    axis = node.attrs.get("axis", 1)
    axis += x.ndim if axis < 0 else 0
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def fold_reshape(node, x, shape=None):
    shape = node.attrs["shape"] if shape is None else shape.tolist()
    if not node.attrs.get("allowzero", 0):
        shape = [x.shape[i] if n == 0 else n for i, n in enumerate(shape)]
    if node.batch and shape[:1] == [node.batch[0]]:  # the file's batch is baked into the shape
        try:
            return x.reshape([node.batch[1], *shape[1:]])
        except ValueError:
            pass
    try:
        return x.reshape(shape)
    except ValueError:
        if node.batch:
            node.refuse(f"its shape {shape} is for a batch of {node.batch[0]} only; export the "
                        "network with a free batch dimension.")
        raise


def fold_slice(node, x, starts=None, ends=None, axes=None, steps=None):
    def given(array, name, default):
        if array is not None:
            return array.tolist()
        return node.attrs.get(name, default)
    starts, ends = given(starts, "starts", None), given(ends, "ends", None)
    axes = given(axes, "axes", list(range(len(starts))))
    index = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, given(steps, "", [1] * len(starts))):
        end = None if step < 0 and end < -x.shape[axis] else end
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


def fold_squeeze(node, x, *axes):
    axes = axes_of(node, (x, *axes), x.ndim)
    return x.squeeze(None if axes is None else tuple(axes))


def fold_unsqueeze(node, x, *axes):
    count = len(node.attrs["axes"] if "axes" in node.attrs else axes[0].reshape(-1))
    for axis in sorted(axes_of(node, (x, *axes), x.ndim + count)):
        x = np.expand_dims(x, axis)
    return x


def fold_split(node, x, sizes=None):
    axis = node.attrs.get("axis", 0)
    sizes = node.attrs.get("split") if sizes is None else sizes.tolist()
    if sizes is None:
        step = -(-x.shape[axis] // len(node.outputs))
        return np.split(x, list(range(step, x.shape[axis], step)), axis)
    return np.split(x, np.cumsum(sizes)[:-1], axis)


FOLDED = {
    "Add": lambda node, a, b: a + b, "Sub": lambda node, a, b: a - b,
    "Mul": lambda node, a, b: a * b, "Div": fold_div,
    "Pow": lambda node, a, b: np.power(a, b).astype(a.dtype),
    "Sqrt": lambda node, x: np.sqrt(x), "Neg": lambda node, x: -x,
    "Identity": lambda node, x: x, "Dropout": lambda node, x, *rest: x, "Cast": fold_cast,
    "Concat": lambda node, *parts: np.concatenate(parts, node.attrs["axis"]),
    "Gather": lambda node, x, ids: np.take(x, ids, node.attrs.get("axis", 0)),
    "Transpose": lambda node, x: x.transpose(node.attrs.get("perm")),
    "Flatten": fold_flatten, "Reshape": fold_reshape, "Slice": fold_slice,
    "Squeeze": fold_squeeze, "Unsqueeze": fold_unsqueeze, "Split": fold_split,
    "Expand": lambda node, x, shape: x * np.ones(shape, x.dtype),
    "ConstantOfShape": lambda node, shape: np.full(
        shape.tolist(), node.attrs.get("value", np.zeros(1, np.float32)).reshape(-1)[0]),
    "Range": lambda node, *limits: np.arange(*(n.item() for n in limits), dtype=limits[0].dtype),
}


# Shapes: operators that always stay; each function returns the shape of the output.

def window(node, x, kernel):
    """Makes pads explicit and ceil_mode superfluous; returns the spatial sizes after it."""
    attrs, rank = node.attrs, x.ndim - 2
    if rank not in (1, 2):
        node.refuse(f"its input has {x.ndim} dimensions; only 3 or 4 have a place.")
    strides = attrs.get("strides", [1] * rank)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, attrs.get("dilations", [1] * rank))]
    mode = attrs.pop("auto_pad", "NOTSET")
    if mode.startswith("SAME"):
        total = [max((-(-n // s) - 1) * s + r - n, 0)
                 for n, s, r in zip(x.shape[2:], strides, reach)]
        begins = [t // 2 if mode == "SAME_UPPER" else t - t // 2 for t in total]
        attrs["pads"] = begins + [t - b for t, b in zip(total, begins)]
    pads = attrs.get("pads", [0] * 2 * rank)
    room = [n + pads[i] + pads[rank + i] - reach[i] for i, n in enumerate(x.shape[2:])]
    if min(room) < 0:
        node.refuse(f"its window is larger than its input of shape {list(x.shape)}.")
    if attrs.pop("ceil_mode", 0) and any(n % s for n, s in zip(room, strides)):
        node.refuse("ceil_mode = 1 changes its output size; a model folder has no place for it.")
    return [n // s + 1 for n, s in zip(room, strides)]


def shape_conv(node, x, w, *bias):
    if w.ndim != x.ndim:
        node.refuse(f"its weight has {w.ndim} dimensions and its input {x.ndim}.")
    return [x.shape[0], w.shape[0], *window(node, x, w.shape[2:])]


def shape_gemm(node, a, b, *c):
    if a.ndim != 2 or b.ndim != 2:
        node.refuse("its inputs must have two dimensions.")
    a = a.T if node.attrs.get("transA") else a
    b = b.T if node.attrs.get("transB") else b
    if a.shape[1] != b.shape[0]:
        node.refuse(f"inner dimensions {a.shape[1]} and {b.shape[0]} do not fit.")
    return [a.shape[0], b.shape[1]]


def shape_matmul(node, a, b):
    if min(a.ndim, b.ndim) < 2 or a.shape[-1] != b.shape[-2]:
        node.refuse(f"shapes {list(a.shape)} and {list(b.shape)} do not fit.")
    return [*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]]


def shape_reduce(node, x, *axes):
    axes = axes_of(node, (x, *axes), x.ndim)
    if not axes and node.attrs.get("noop_with_empty_axes", 0):
        return x.shape
    axes = axes or range(x.ndim)
    sizes = [1 if i in axes else n for i, n in enumerate(x.shape)]
    return sizes if node.attrs.get("keepdims", 1) else [
        n for i, n in enumerate(x.shape) if i not in axes]


def shape_pad(node, x, pads=None, *rest):
    pads = node.attrs.get("pads") if pads is None else pads.tolist()
    if pads is None or len(pads) != 2 * x.ndim:
        node.refuse("its pads are not known, or given for single axes.")
    node.attrs["pads"] = pads
    return [n + pads[i] + pads[x.ndim + i] for i, n in enumerate(x.shape)]


def same(node, x, *rest):
    return x.shape


SHAPED = {
    "Conv": shape_conv, "Gemm": shape_gemm, "MatMul": shape_matmul,
    "MaxPool": lambda node, x: [*x.shape[:2], *window(node, x, node.attrs["kernel_shape"])],
    "AveragePool": lambda node, x: [*x.shape[:2], *window(node, x, node.attrs["kernel_shape"])],
    "GlobalAveragePool": lambda node, x: [*x.shape[:2], *[1] * (x.ndim - 2)],
    "GlobalMaxPool": lambda node, x: [*x.shape[:2], *[1] * (x.ndim - 2)],
    "ReduceMean": shape_reduce, "ReduceMax": shape_reduce, "Pad": shape_pad,
    "Sum": lambda node, *parts: np.broadcast_shapes(*(p.shape for p in parts)),
    **{op: same for op in (
        "BatchNormalization", "LayerNormalization", "RMSNormalization", "Relu", "Sigmoid", "Tanh",
        "LeakyRelu", "Gelu", "Softmax", "LogSoftmax", "Clip", "Erf", "HardSigmoid", "HardSwish")},
}


class Walk:
    """Values of one walk through the graph with a given batch size."""

    def __init__(self, nodes, constants, graph_input, batch, fixed_batch):
        self.batch = (fixed_batch, batch) if fixed_batch else None
        self.values = dict(constants)
        self.known = set(constants)
        name, shape, dtype = graph_input
        self.values[name] = np.zeros([batch, *shape], dtype)
        for node in nodes:
            self.step(node)

    def step(self, node):
        for name in node.inputs:
            if name and name not in self.values:
                node.refuse(f"its input {name} is not there: no node before it gives it.")
        arrays = [self.values[name] if name else None for name in node.inputs]
        known = all(name in self.known for name in node.inputs if name)
        node.batch = None if known else self.batch
        try:
            with np.errstate(all="ignore"):
                if node.op == "Shape":
                    known, results = True, np.array(arrays[0].shape, np.int64)[
                        node.attrs.get("start", 0):node.attrs.get("end")]
                elif node.op == "Constant":
                    results = constant(node)
                elif node.op in FOLDED:
                    results = FOLDED[node.op](node, *arrays)
                elif node.op in SHAPED:
                    known = False
                    results = np.zeros(SHAPED[node.op](node, *arrays), np.float32)
                else:
                    node.refuse("a model folder has no such operator.")
        except (ValueError, IndexError, TypeError, KeyError, AttributeError) as error:
            node.refuse(f"its inputs do not fit ({error}).")
        for name, value in zip(node.outputs, results if isinstance(results, list) else [results]):
            self.values[name] = np.asarray(value)
            if known:
                self.known.add(name)


def constant(node):
    """Value of a Constant node."""
    for name, dtype in (("value", None), ("value_float", np.float32), ("value_int", np.int64),
                        ("value_floats", np.float32), ("value_ints", np.int64)):
        if name in node.attrs:
            return np.asarray(node.attrs[name], dtype)
    return node.refuse("its constant is sparse or a string.")


def reachable(nodes, output):
    """The nodes on which output depends."""
    wanted, kept = {output}, []
    for node in reversed(nodes):
        if wanted & set(node.outputs):
            wanted |= set(node.inputs)
            kept.append(node)
    return kept[::-1]


class Source:
    """The ONNX graph: nodes, initializers, the one input and the one output."""

    def __init__(self, model, output=None):
        opsets = {o.domain: o.version for o in model.opset_import}
        self.opset = opsets.get("", opsets.get("ai.onnx", 1))
        if self.opset < 7:
            raise Refused(f"The file is written for opset {self.opset}; raise it to 13 with "
                          "onnx.version_converter first.", UNSUPPORTED)
        graph = model.graph
        if graph.sparse_initializer:
            raise Refused("The file has sparse initializers; make them dense.", UNSUPPORTED)
        self.constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.initializers = set(self.constants)
        self.nodes = []
        for i, n in enumerate(graph.node):
            attrs = {a.name: attribute(a) for a in n.attribute}
            node = Node(n.op_type, n.name or f"{n.op_type}_{i}", n.input, n.output, attrs)
            if n.domain not in ("", "ai.onnx"):
                node.refuse(f"operators of domain {n.domain} have no place in a model folder.")
            self.nodes.append(node)
        outputs = [o.name for o in graph.output]
        if output is None and len(outputs) == 1:
            output = outputs[0]
        if output not in outputs:
            raise Refused(f"The outputs are {', '.join(outputs)}; a model folder has one: choose "
                          "it with --output.", UNSUPPORTED)
        self.output = output
        self.nodes = reachable(self.nodes, output)
        self.input, self.fixed_batch, self.dtype = self.find_input(graph)

    def find_input(self, graph):
        """Name, shape without batch and dtype; the batch size or None if it is free; F32 or I64."""
        used = {name for node in self.nodes for name in node.inputs} - set(self.constants)
        inputs = [i for i in graph.input if i.name in used]
        if len(inputs) != 1:
            raise Refused(f"The network has {len(inputs)} inputs "
                          f"({', '.join(i.name for i in inputs)}); a model folder has one.",
                          UNSUPPORTED)
        tensor = inputs[0].type.tensor_type
        if tensor.elem_type not in FLOATS + IDS:
            raise Refused(f"Input {inputs[0].name} is neither float nor int32 or int64.",
                          UNSUPPORTED)
        dims = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?"
                for d in tensor.shape.dim]
        if len(dims) < 2 or any(not isinstance(d, int) or d < 1 for d in dims[1:]):
            raise Refused(f"Input {inputs[0].name} has shape {dims}; all dimensions but the first "
                          "(the batch) must be fixed.", UNSUPPORTED)
        ids = tensor.elem_type in IDS
        dtype = np.int64 if ids else np.float32
        batch = dims[0] if isinstance(dims[0], int) else None
        return (inputs[0].name, dims[1:], dtype), batch, "I64" if ids else "F32"

    def walks(self):
        return [Walk(self.nodes, self.constants, self.input, batch, self.fixed_batch)
                for batch in BATCHES]


class Fuser:
    """Finds layer normalization and Gelu where an exporter has spelled them out."""

    def __init__(self, nodes, walks):
        self.nodes, self.walks, self.walk = nodes, walks, walks[0]
        self.producer = {name: node for node in nodes for name in node.outputs}
        self.consumers = {}
        for node in nodes:
            for name in node.inputs:
                self.consumers.setdefault(name, []).append(node)

    def run(self):
        for node in list(self.nodes):
            if node.op == "Erf":
                self.fuse_gelu(node)
            elif node.op == "Div":
                self.fuse_norm(node)

    def made_by(self, name, *ops):
        node = self.producer.get(name)
        return node if node is not None and node.op in ops else None

    def only_consumer(self, node, op):
        users = self.consumers.get(node.outputs[0], [])
        return users[0] if len(users) == 1 and users[0].op == op else None

    def split(self, node):
        """For a node of two inputs: the data input and the value of a constant scalar."""
        for x, c in (node.inputs, reversed(node.inputs)):
            if c in self.walk.known and self.walk.values[c].size == 1:
                return x, float(self.walk.values[c].reshape(-1)[0])
        return None, None

    def times(self, name, factor):
        """x, if name = x * factor (or x / (1 / factor))."""
        node = self.made_by(name, "Mul", "Div")
        if node is None:
            return None
        x, value = self.split(node)
        if value is None or (node.op == "Div" and x != node.inputs[0]):
            return None
        value = 1 / value if node.op == "Div" and value else value
        return x if abs(value - factor) < 1e-4 * factor else None

    def become(self, last, op, inputs, attrs):
        last.op, last.inputs, last.attrs = op, inputs, attrs

    def fuse_gelu(self, erf):
        """x/2 (1 + erf(x / sqrt 2)) in any of the three orders of multiplication."""
        x = self.times(erf.inputs[0], math.sqrt(0.5))
        plus = self.only_consumer(erf, "Add")
        if x is None or plus is None or self.split(plus)[1] != 1.0:
            return
        first = self.only_consumer(plus, "Mul")
        if first is None:
            return
        other = first.inputs[first.inputs[0] == plus.outputs[0]]
        if self.times(other, 0.5) == x:
            return self.become(first, "Gelu", [x], {})
        second = self.only_consumer(first, "Mul")
        if second is None:
            return
        if (other == x and self.split(second)[1] == 0.5) or (
                self.split(first)[1] == 0.5 and x in second.inputs):
            self.become(second, "Gelu", [x], {})

    def fuse_norm(self, div):
        """(x - mean) / sqrt(mean((x - mean)^2) + epsilon), then scale and bias if constant."""
        centred, root = self.made_by(div.inputs[0], "Sub"), self.made_by(div.inputs[1], "Sqrt")
        plus = root and self.made_by(root.inputs[0], "Add")
        name, epsilon = self.split(plus) if plus else (None, None)
        var = epsilon is not None and self.made_by(name, "ReduceMean")
        square = var and self.made_by(var.inputs[0], "Pow", "Mul")
        mean = centred and self.made_by(centred.inputs[1], "ReduceMean")
        if not square or not mean or mean.inputs[0] != centred.inputs[0]:
            return
        twice = square.inputs[0] == square.inputs[1] if square.op == "Mul" else (
            self.split(square)[1] == 2)
        inner = self.made_by(square.inputs[0], "Sub")
        if not twice or inner is None or inner.inputs != centred.inputs:
            return
        x = centred.inputs[0]
        shape = self.walk.values[x].shape
        axes = [axes_of(n, [self.walk.values[i] for i in n.inputs], len(shape))
                for n in (mean, var)]
        first = min(axes[0]) if axes[0] else 0
        if axes[0] != axes[1] or sorted(axes[0] or []) != list(range(first, len(shape))):
            return
        last, scale, bias = div, None, ""
        follow = self.only_consumer(last, "Mul")
        if follow and (scale := self.parameter(follow, last, shape[first:])):
            last = follow
            follow = self.only_consumer(last, "Add")
            bias = follow and self.parameter(follow, last, shape[first:])
            last = follow if bias else last
        if scale is None:
            scale = f"{div.name}.ones"
            for walk in self.walks:
                walk.values[scale] = np.ones(shape[first:], np.float32)
                walk.known.add(scale)
        self.become(last, "LayerNormalization", [x, scale] + ([bias] if bias else []),
                    {"axis": first - len(shape), "epsilon": epsilon})

    def parameter(self, node, last, shape):
        """The constant input of node that has the given shape, or None."""
        name = node.inputs[node.inputs[0] == last.outputs[0]]
        fits = name in self.walk.known and self.walk.values[name].shape == tuple(shape)
        return name if fits else None
