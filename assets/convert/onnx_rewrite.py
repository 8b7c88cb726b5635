"""Writes what the walks of onnx_graph.py left in the operators of the model folder contract."""
import math
import re

import numpy as np

from modelfolder import UNSUPPORTED, Refused, note
from onnx_graph import BATCHES, FOLDED, Fuser, axes_of, reachable

WINDOW = {"kernel_shape", "strides", "pads"}
# Attributes that graph.json has, per operator.
KEPT = {"Conv": WINDOW | {"dilations", "group"}, "MaxPool": WINDOW,
        "AveragePool": WINDOW | {"count_include_pad"},
        "Gemm": {"alpha", "beta", "transA", "transB"}, "BatchNormalization": {"epsilon"},
        "LayerNormalization": {"axis", "epsilon"}, "RMSNormalization": {"axis", "epsilon"},
        "LeakyRelu": {"alpha"}, "Gelu": {"approximate"}, "Softmax": {"axis"},
        "ReduceMean": {"axes", "keepdims"}, "ReduceMax": {"axes", "keepdims"},
        "Flatten": {"axis"}, "Transpose": {"perm"}, "Concat": {"axis"}, "Gather": {"axis"}}
# Attributes without a place there that change nothing: always (None), or with this one value.
HARMLESS = {"momentum": None, "stash_type": None, "storage_order": None,
            "noop_with_empty_axes": None, "training_mode": 0, "spatial": 1, "is_test": 1,
            "dilations": 1, "auto_pad": "NOTSET"}
# What an input of an operator is called, where the file has no name for it.
ROLES = {"Conv": ("", "weight", "bias"), "Gemm": ("weight", "weight", "bias"),
         "MatMul": ("weight", "weight"), "Add": ("bias", "bias"), "Mul": ("scale", "scale"),
         "BatchNormalization": ("", "weight", "bias", "running_mean", "running_var"),
         "LayerNormalization": ("", "weight", "bias"), "RMSNormalization": ("", "weight"),
         "Gather": ("weight", "ids"), "Reshape": ("", "shape"), "Clip": ("", "min", "max")}
NAMELESS = re.compile(r"^(#|/|\d+$|onnx::|val_\d+$)|_output_\d+$")


class Rewriter:
    """Collects the nodes of graph.json as (op, ONNX name, inputs, output, attributes)."""

    def __init__(self, source, walks):
        self.source, self.walks = source, walks
        self.nodes, self.constants, self.alias, self.padded = [], {}, {}, {}
        self.producer = {name: node for node in source.nodes for name in node.outputs}
        self.count = 0

    def run(self, nodes):
        for node in nodes:
            if node.outputs[0] not in self.walks[0].known:
                getattr(self, f"write_{node.op}", self.copy)(node)

    # Values

    def known(self, name):
        return name in self.walks[0].known

    def number(self, node, name):
        """The array of a value whose numbers are known."""
        a, b = (walk.values[name] for walk in self.walks)
        if a.shape != b.shape or not np.array_equal(a, b):
            node.refuse(f"its input {name} depends on the batch size.")
        return a

    def shapes(self, name):
        """Shapes in both walks."""
        return [list(walk.values[name].shape) for walk in self.walks]

    def value(self, node, name):
        """The name under which graph.json knows an input of node."""
        if not name:
            return ""
        if self.known(name):
            self.constants[name] = self.number(node, name)
            return name
        name = self.alias.get(name, name)
        if name in self.padded:
            node.refuse("it follows a Pad, which only a Conv or AveragePool can take over.")
        return name

    def fresh(self, array=None):
        """A new name: for a value between two nodes, or of a constant array."""
        self.count += 1
        name = f"#{self.count}"
        if array is not None:
            self.constants[name] = np.asarray(array)
        return name

    def emit(self, node, op, inputs, output=None, **attrs):
        """Adds a node; returns the name of its output."""
        output = output or self.fresh()
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        self.nodes.append((op, node.name, inputs, output, attrs))
        return output

    def forward(self, node):
        """The node changes nothing: its output is its input."""
        self.alias[node.outputs[0]] = self.value(node, node.inputs[0])

    def attrs(self, node):
        """The attributes for graph.json; refuses those that have no place."""
        kept = {}
        for name, value in node.attrs.items():
            if name in KEPT.get(node.op, ()):
                kept[name] = value
            elif name not in HARMLESS or HARMLESS[name] not in (None, value) and any(
                    v != HARMLESS[name] for v in np.atleast_1d(value)):
                node.refuse(f"attribute {name} = {value} has no place in a model folder.")
        return kept

    def copy(self, node):
        inputs = [self.value(node, name) for name in node.inputs]
        self.emit(node, node.op, inputs, node.outputs[0], **self.attrs(node))

    # Operators that need more than a copy

    def write_Identity(self, node):
        self.forward(node)

    def write_Dropout(self, node):
        training = node.input(2)
        if training and not (self.known(training) and not self.number(node, training).any()):
            node.refuse("it is set to training mode.")
        self.forward(node)

    def write_Cast(self, node):
        before, after = (self.walks[0].values[name].dtype.kind
                         for name in (node.inputs[0], node.outputs[0]))
        if before != after:
            node.refuse("it turns ids into numbers, or numbers into ids.")
        self.forward(node)

    def write_Expand(self, node):
        if self.shapes(node.inputs[0]) != self.shapes(node.outputs[0]):
            node.refuse("a model folder has no operator that repeats values.")
        self.forward(node)

    def write_Reshape(self, node):
        """Also Squeeze and Unsqueeze: the shape is the one that the walks gave."""
        old, new = self.shapes(node.inputs[0]), self.shapes(node.outputs[0])
        if old == new:
            return self.forward(node)
        free = [i for i, (a, b) in enumerate(zip(*new)) if a != b]
        if len(free) > 1 or len(new[0]) != len(new[1]):
            node.refuse("more than one dimension of its output depends on the batch size.")
        sizes = list(new[0])
        for i in free:
            copied = i == 0 and all(a[:1] == b[:1] for a, b in zip(old, new))
            sizes[i] = 0 if copied else -1
        shape = self.fresh(np.array(sizes, np.int64))
        self.emit(node, "Reshape", [self.value(node, node.inputs[0]), shape], node.outputs[0])

    write_Squeeze = write_Unsqueeze = write_Reshape

    def write_Slice(self, node):
        """Also Split: one Gather for each axis of which a part is taken."""
        x = node.inputs[0]
        rest = [self.number(node, name) if name else None for name in node.inputs[1:]]
        for number, output in enumerate(node.outputs):
            taken, value = [], self.value(node, x)
            for axis, (size, other) in enumerate(zip(*self.shapes(x))):
                line = np.arange(size).reshape([-1 if i == axis else 1
                                                for i in range(len(self.shapes(x)[0]))])
                part = FOLDED[node.op](node, np.broadcast_to(line, self.shapes(x)[0]), *rest)
                part = part[number] if isinstance(part, list) else part
                ids = np.moveaxis(part, axis, 0).reshape(part.shape[axis], -1)[:, 0]
                if size != other and len(ids) != size:
                    node.refuse("it takes a part of the batch.")
                if size == other and not np.array_equal(ids, np.arange(size)):
                    taken.append((axis, self.fresh(ids.astype(np.int64))))
            for axis, ids in taken[:-1]:
                value = self.emit(node, "Gather", [value, ids], axis=axis)
            if taken:
                self.emit(node, "Gather", [value, taken[-1][1]], output, axis=taken[-1][0])
            else:
                self.alias[output] = value

    write_Split = write_Slice

    def write_Sub(self, node):
        a, b = node.inputs
        if self.known(b):
            c = self.fresh(-self.number(node, b))
            self.emit(node, "Add", [self.value(node, a), c], node.outputs[0])
        else:
            minus = self.emit(node, "Mul", [self.value(node, b), self.fresh(np.float32(-1))])
            self.emit(node, "Add", [self.value(node, a), minus], node.outputs[0])

    def write_Div(self, node):
        if not self.known(node.inputs[1]):
            node.refuse("a model folder has no division by computed values.")
        c = self.fresh((1 / self.number(node, node.inputs[1]).astype(np.float64))
                       .astype(np.float32))
        self.emit(node, "Mul", [self.value(node, node.inputs[0]), c], node.outputs[0])

    def write_Neg(self, node):
        self.emit(node, "Mul", [self.value(node, node.inputs[0]), self.fresh(np.float32(-1))],
                  node.outputs[0])

    def write_Pow(self, node):
        power = self.number(node, node.inputs[1]) if self.known(node.inputs[1]) else None
        if power is None or power.size != 1 or power.item() not in (2, 3):
            node.refuse("only the powers 2 and 3 can be written as products.")
        x = self.value(node, node.inputs[0])
        y = self.emit(node, "Mul", [x, x], node.outputs[0] if power.item() == 2 else None)
        if power.item() == 3:
            self.emit(node, "Mul", [y, x], node.outputs[0])

    def write_Sum(self, node):
        values = [self.value(node, name) for name in node.inputs]
        if len(values) == 1:
            return self.forward(node)
        total = values[0]
        for x in values[1:-1]:
            total = self.emit(node, "Add", [total, x])
        self.emit(node, "Add", [total, values[-1]], node.outputs[0])

    def hard_sigmoid(self, node, alpha, beta, output=None):
        x = self.emit(node, "Mul", [self.value(node, node.inputs[0]),
                                    self.fresh(np.float32(alpha))])
        x = self.emit(node, "Add", [x, self.fresh(np.float32(beta))])
        return self.emit(node, "Clip", [x, self.fresh(np.float32(0)), self.fresh(np.float32(1))],
                         output)

    def write_HardSigmoid(self, node):
        self.hard_sigmoid(node, node.attrs.get("alpha", 0.2), node.attrs.get("beta", 0.5),
                          node.outputs[0])

    def write_HardSwish(self, node):
        gate = self.hard_sigmoid(node, 1 / 6, 0.5)
        self.emit(node, "Mul", [self.value(node, node.inputs[0]), gate], node.outputs[0])

    def write_Clip(self, node):
        bounds = []
        for i, name in ((1, "min"), (2, "max")):
            if node.input(i):
                if not self.known(node.input(i)):
                    node.refuse(f"its {name} is computed from data.")
                bounds.append(self.fresh(self.number(node, node.input(i)).reshape([])))
            else:
                bounds.append(self.fresh(np.float32(node.attrs[name]))
                              if name in node.attrs else "")
        self.emit(node, "Clip", [self.value(node, node.inputs[0]), *bounds], node.outputs[0])

    def write_MatMul(self, node):
        """A dense layer without bias, as torch exports it, keeps its weight [out, in]."""
        a, b = node.inputs
        turned = self.producer.get(b) if self.known(b) else None
        if turned is None or turned.op != "Transpose" or len(self.shapes(a)[0]) != 2 \
                or len(self.shapes(b)[0]) != 2 or turned.attrs.get("perm", [1, 0]) != [1, 0]:
            return self.copy(node)
        self.emit(node, "Gemm", [self.value(node, a), self.value(node, turned.inputs[0])],
                  node.outputs[0], transB=1)

    def write_Softmax(self, node):
        rank = len(self.shapes(node.inputs[0])[0])
        axis = node.attrs.get("axis", -1 if self.source.opset >= 13 else 1)
        if self.source.opset < 13 and axis not in (-1, rank - 1):
            node.refuse("before opset 13 it runs over all axes from its axis on; only the last "
                        "axis can be expressed.")
        self.emit(node, "Softmax", [self.value(node, node.inputs[0])], node.outputs[0], axis=axis)

    def write_LogSoftmax(self, node):
        node.refuse("it has a place only as the last node, where it is left out.")

    def write_Erf(self, node):
        node.refuse("it has a place only as part of a Gelu.")

    def write_Sqrt(self, node):
        node.refuse("it has a place only as part of a layer normalization.")

    def write_ReduceMean(self, node):
        x = node.inputs[0]
        arrays = [self.walks[0].values[name] if name else None for name in node.inputs]
        axes = axes_of(node, arrays, arrays[0].ndim)
        if not axes and node.attrs.get("noop_with_empty_axes", 0):
            return self.forward(node)
        attrs = {**self.attrs(node), **({"axes": axes} if axes else {})}
        self.emit(node, node.op, [self.value(node, x)], node.outputs[0], **attrs)

    write_ReduceMax = write_ReduceMean

    def write_Pad(self, node):
        x, pads, rank = node.inputs[0], node.attrs["pads"], len(self.shapes(node.inputs[0])[0])
        if not any(pads):
            return self.forward(node)
        value = node.attrs.get("value", 0.0)
        if node.input(2):
            value = self.number(node, node.input(2)).item()
        spatial = not any(pads[:2] + pads[rank:rank + 2])
        if node.attrs.get("mode", "constant") != "constant" or value or min(pads) < 0 \
                or not spatial:
            node.refuse("only zeros around the spatial axes have a place, before a Conv or "
                        "AveragePool.")
        self.padded[node.outputs[0]] = (self.value(node, x), pads[2:rank] + pads[rank + 2:])

    def take_padding(self, node, attrs):
        """The input of node; a Pad before it goes into attrs."""
        x = self.alias.get(node.inputs[0], node.inputs[0])
        if x not in self.padded:
            return self.value(node, x)
        x, pads = self.padded[x]
        attrs["pads"] = [a + b for a, b in zip(pads, attrs.get("pads", [0] * len(pads)))]
        return x

    def write_Conv(self, node):
        attrs = self.attrs(node)
        attrs.setdefault("kernel_shape", list(self.shapes(node.inputs[1])[0][2:]))
        inputs = [self.take_padding(node, attrs)]
        inputs += [self.value(node, name) for name in node.inputs[1:]]
        self.emit(node, "Conv", inputs, node.outputs[0], **attrs)

    def write_AveragePool(self, node):
        attrs = self.attrs(node)
        if self.alias.get(node.inputs[0], node.inputs[0]) in self.padded:
            if any(attrs.get("pads", [])) and not attrs.get("count_include_pad", 0):
                node.refuse("it counts the zeros of the Pad before it, but not its own.")
            attrs["count_include_pad"] = 1
        self.emit(node, "AveragePool", [self.take_padding(node, attrs)], node.outputs[0], **attrs)

    def write_BatchNormalization(self, node):
        if len(self.shapes(node.inputs[0])[0]) > 4:
            node.refuse("its input has more than four dimensions.")
        self.copy(node)


def dotted(name, op=None):
    """A dotted name from an exporter's path: /layer1/layer1.0/conv1/Conv gives layer1.0.conv1."""
    parts = [p for p in name.strip("/").split("/") if p]
    if op and len(parts) > 1 and re.fullmatch(rf"{op}(_\d+)?", parts[-1]):
        parts.pop()
    kept = [p for p, after in zip(parts, parts[1:] + [""]) if not after.startswith(p + ".")]
    return ".".join(kept)


def unique(name, taken):
    """The name, with a number behind it if it is taken already."""
    result, i = name, 2
    while result in taken:
        result, i = f"{name}_{i}", i + 1
    taken.add(result)
    return result


class Namer:
    """Gives tensors, nodes and values the names that the user will see."""

    def __init__(self, rewriter, nodes, output):
        self.nodes, self.output = nodes, output
        self.constants = rewriter.constants
        self.origins = origins(rewriter)
        self.input = rewriter.source.input[0]
        self.taken = {self.input}
        self.names = {self.input: self.input}

    def run(self):
        """Returns the nodes of graph.json, the name of its output, and the tensors."""
        for name in {i for _, _, inputs, _, _ in self.nodes for i in inputs if i}:
            if name in self.constants and not NAMELESS.search(name):
                self.names[name] = unique(name, self.taken)
        tensors = {}
        for op, path, inputs, _, _ in self.nodes:
            for i, name in enumerate(inputs):
                if name in self.constants:
                    self.names[name] = self.names.get(name) or self.tensor_name(op, path, i, name)
                    tensors[self.names[name]] = stored(self.constants[name])
        written, node_names = [], set()
        for op, path, inputs, output, attrs in self.nodes:
            name = unique(self.node_name(op, path, inputs), node_names)
            self.names[output] = unique(f"{name}.out", self.taken)
            written.append({"op": op, "name": name,
                            "inputs": [self.names[i] if i else "" for i in inputs],
                            "outputs": [self.names[output]],
                            "attrs": attrs})
        return written, self.names[self.output], tensors

    def tensor_name(self, op, path, i, name):
        origin = self.origins.get(name, "")
        if origin and not NAMELESS.search(origin) and origin not in self.taken:
            return unique(origin, self.taken)
        roles = ROLES.get(op, ())
        role = roles[i] if i < len(roles) else f"input{i}"
        layer = dotted(path, op if role in ("weight", "bias") else None)
        return unique(f"{layer}.{role}", self.taken)

    def node_name(self, op, path, inputs):
        """Layers are called as their weight; other nodes as in the file."""
        if op in ("Conv", "Gemm", "MatMul", "BatchNormalization", "LayerNormalization",
                  "RMSNormalization", "Gather"):
            for name in map(self.names.get, (i for i in inputs if i in self.constants)):
                if name.endswith(".weight"):
                    return name[:-len(".weight")]
        return dotted(path)


def origins(rewriter):
    """For constants that only turn an initializer around: which one."""
    found = {}
    for node in rewriter.source.nodes:
        if node.op in ("Transpose", "Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze"):
            first = node.inputs[0]
            if first in rewriter.source.initializers or first in found:
                found[node.outputs[0]] = found.get(first, first)
    return found


def stored(array):
    """The dtype in which model.safetensors holds a tensor."""
    if array.dtype.kind in "iub":
        return array.astype(np.int64)
    return array if array.dtype == np.float16 else array.astype(np.float32)


def tie_weights(nodes, walk):
    """A matrix under a second name (Identity of an initializer) is one tied weight."""
    names = {}
    for node in nodes:
        node.inputs = [names.get(name, name) for name in node.inputs]
        if node.op == "Identity" and node.inputs[0] in walk.known \
                and walk.values[node.inputs[0]].ndim >= 2:
            names[node.outputs[0]] = node.inputs[0]


def strip_softmax(nodes, output, walk):
    """A Softmax at the very end is left out: a model folder ends in logits."""
    for node in reversed(nodes):
        if node.outputs[0] == output and node.op in ("Softmax", "LogSoftmax", "Identity"):
            if node.op != "Identity":
                rank = walk.values[output].ndim
                if node.attrs.get("axis", -1) % rank != rank - 1:
                    break
                note(f"{node.name} ({node.op}) at the end is left out: a model folder ends in "
                     "logits.")
            output = node.inputs[0]
    return output


def convert(source):
    """Returns the nodes of graph.json, the name of its output, the number of classes, tensors."""
    walks = source.walks()
    tie_weights(source.nodes, walks[0])
    Fuser(source.nodes, walks).run()
    output = strip_softmax(source.nodes, source.output, walks[0])
    nodes = reachable(source.nodes, output)
    rewriter = Rewriter(source, walks)
    rewriter.run(nodes)
    first, second = rewriter.shapes(output)
    classes = math.prod(first[1:])
    if len(first) < 2 or (first[0], second[0]) != BATCHES or first[1:] != second[1:] \
            or classes != max(first[1:]):
        raise Refused(f"The output {output} has shape {first} for a batch of {BATCHES[0]}; a "
                      "classifier's is [batch, classes].", UNSUPPORTED)
    result = rewriter.alias.get(output, output)
    if len(first) > 2:
        rewriter.nodes.append(("Flatten", "logits", [result], "#logits", {"axis": 1}))
        result = "#logits"
    wanted, kept = {result}, []
    for entry in reversed(rewriter.nodes):
        if entry[3] in wanted:
            wanted |= set(entry[2])
            kept.insert(0, entry)
    if not kept:
        raise Refused(f"The output {output} does not depend on any node.")
    written, result, tensors = Namer(rewriter, kept, result).run()
    return written, result, classes, tensors
