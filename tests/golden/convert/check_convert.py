#!/usr/bin/python3
"""Checks the converters of assets/convert, and the oracle of samples/, against ONNX and torch.

Run by hand; needs Debian's python3-onnx, python3-torch and python3-numpy:

    /usr/bin/python3 tests/golden/convert/check_convert.py

1. samples/oracle.py gives the answers of ONNX's own test vectors, operator by operator.
2. torch modules, exported at several opsets, and ONNX models built by hand give the same logits
   after conversion as torch, or as the NumPy expression beside the model.
3. The two programs, run as a user runs them: files written, refusals in one sentence, exit codes.
"""
import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..", "..")
CONVERT = os.path.join(ROOT, "assets", "convert")
sys.path[:0] = [CONVERT, os.path.join(ROOT, "samples")]
import modelfolder  # noqa: E402
import onnx_rewrite  # noqa: E402
import onnx_to_folder  # noqa: E402
import oracle  # noqa: E402
import safetensors_io  # noqa: E402
import torch_to_folder  # noqa: E402
from torch_nets import NETS, Mobile, TorchEncoder, Words  # noqa: E402

RNG = np.random.default_rng(0)
BATCH = 5
failures = []


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def check(what, good, detail=""):
    if not good:
        failures.append(what)
        print(f"FAILED {what} {detail}")


def close(what, got, want):
    """Shapes equal, and values within 1e-5 of the largest."""
    got, want = np.asarray(got), np.asarray(want)
    good = got.shape == want.shape and np.allclose(got, want, 0, 1e-5 * np.abs(want).max(initial=1))
    check(what, good, f"{got.shape} {want.shape}")


# 1. The oracle against ONNX's vectors

VECTORS = {"Conv": "conv", "Gemm": "gemm", "MatMul": "matmul", "BatchNormalization": "batchnorm",
           "LayerNormalization": "layernormalization", "Relu": "relu", "Sigmoid": "sigmoid",
           "Tanh": "tanh", "Identity": "identity", "LeakyRelu": "leakyrelu", "Softmax": "softmax",
           "Add": "add", "Mul": "mul", "MaxPool": "maxpool", "AveragePool": "averagepool",
           "GlobalAveragePool": "globalaveragepool", "GlobalMaxPool": "globalmaxpool",
           "ReduceMean": "reducemean", "ReduceMax": "reducemax", "Flatten": "flatten",
           "Reshape": "reshape", "Transpose": "transpose", "Concat": "concat", "Gather": "gather",
           "Clip": "clip"}
# Cases that use what the contract leaves out.
OUTSIDE = ("auto_pad", "dilations", "ceil_mode", "storage_order", "training_mode")


def onnx_vectors():
    """ONNX's node test cases for the operators of the table."""
    for alias, kind in (("float", float), ("bool", np.bool_), ("object", object), ("int", int)):
        setattr(np, alias, kind)  # onnx 1.12 uses names that numpy 1.24 no longer has
    cases = importlib.import_module("onnx.backend.test.case.node")
    for module in VECTORS.values():
        importlib.import_module(f"onnx.backend.test.case.node.{module}")
    return cases._NodeTestCases


def expressible(node, inputs):
    attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "MaxPool" and len(node.output) > 1 or any(
            not isinstance(x, np.ndarray) for x in inputs):
        return False
    if inputs[0].dtype != np.float32 or ("Pool" in node.op_type and inputs[0].ndim > 4):
        return False
    if node.op_type == "Conv":
        return "auto_pad" not in attrs
    return not any(attrs.get(name) for name in OUTSIDE)


def check_oracle():
    seen = set()
    count = 0
    for case in onnx_vectors():
        node = case.model.graph.node[0]
        inputs, outputs = case.data_sets[0]
        if len(case.model.graph.node) != 1 or node.op_type not in VECTORS \
                or not expressible(node, inputs):
            continue
        at = dict(zip((i for i in node.input if i), inputs))
        attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        for name in ("stash_type", "ceil_mode", "momentum"):
            attrs.pop(name, None)
        arrays = [torch.from_numpy(np.array(at[i])) if i else None for i in node.input]
        with torch.no_grad():
            got = oracle.OPERATORS[node.op_type](*arrays, **attrs).numpy()
        close(f"oracle, {case.name}", got, outputs[0])
        seen.add(node.op_type)
        count += 1
    check("oracle, every operator with vectors", seen == set(VECTORS), set(VECTORS) - seen)
    for name, got, want in (
            ("Gelu erf", oracle.gelu, F.gelu),
            ("Gelu tanh", lambda x: oracle.gelu(x, approximate="tanh"),
             lambda x: F.gelu(x, approximate="tanh"))):
        x = torch.linspace(-9, 9, 101)
        close(f"oracle, {name}", got(x), want(x))
    x, scale = normal(3, 4), normal(4)
    close("oracle, RMSNormalization",
          oracle.rms_normalization(torch.from_numpy(x), torch.from_numpy(scale)),
          x / np.sqrt(np.mean(x * x, axis=1, keepdims=True) + 1e-5) * scale)
    print(f"oracle: {count} ONNX vectors")


# 2. torch modules

def randomize(module):
    """Weights and statistics away from their initial values."""
    torch.manual_seed(1)
    for p in module.parameters():
        p.data.normal_(0, 0.4)
    for b in module.buffers():
        if b.dtype == torch.float32:
            b.data.uniform_(0.5, 1.5)
    return module.eval()


def check_refused(what, onnx_model, words):
    """The conversion is refused in one sentence that holds the words."""
    try:
        onnx_to_folder.build(onnx_model, "net")
        check(what, False, "was converted")
    except modelfolder.Refused as refusal:
        text = str(refusal)
        check(what, all(w in text for w in words) and "\n" not in text, text)


def rows(shape, ids):
    x = RNG.integers(0, 30, (BATCH, *shape)) if ids else normal(BATCH, *shape)
    return x.astype(np.int64) if ids else x


def check_torch():
    for make, shape, ids in NETS:
        module, x = randomize(make()), rows(shape, ids)
        want = module(torch.from_numpy(x)).detach().numpy()
        if make is Mobile:  # the log_softmax at its end is left out: equal up to a shift
            want = want - want.mean(1, keepdims=True)
        for opset, free, fold in ((11, True, True), (13, False, True), (17, True, False)):
            file = io.BytesIO()
            torch.onnx.export(module, torch.from_numpy(x[:1]), file, opset_version=opset,
                              do_constant_folding=fold, input_names=["x"],
                              dynamic_axes={"x": {0: "batch"}} if free else None)
            what = f"{make.__name__}, opset {opset}, {'free' if free else 'fixed'} batch"
            onnx_model = onnx.load_from_string(file.getvalue())
            if make is TorchEncoder and not free:
                check_refused(what, onnx_model, ("Reshape", "free batch"))
                continue
            graph, classes, tensors = onnx_to_folder.build(onnx_model, "net")
            got = oracle.run(graph, tensors, x)
            close(what, got - got.mean(1, keepdims=True) if make is Mobile else got, want)
            check(f"{what}, classes", classes == want.shape[1])
            ops = {node["op"] for node in graph["nodes"]}
            check(f"{what}, operators", ops <= set(oracle.OPERATORS), ops)
            if make is Words:
                check(f"{what}, Gelu and layer normalization are found",
                      {"Gelu", "LayerNormalization"} <= ops and "Sqrt" not in ops, ops)
    graph, _, tensors = onnx_to_folder.build(
        torch_to_folder.export(randomize(Words()), (8,), True), "words",
        traced_batch=torch_to_folder.TRACED_BATCH)
    tied = {"head.weight", "embed.weight"} & set(tensors)
    users = {n["op"] for n in graph["nodes"] if tied & set(n["inputs"])}
    check("a tied weight stays one tensor", len(tied) == 1 and users == {"Gather", "Gemm"}, users)
    check("weights keep their names", {"qkv.weight", "qkv.bias", "up.weight", "position"}
          <= set(tensors), list(tensors))
    print("torch: modules done")


# 2. ONNX by hand

def model(nodes, shape, tensors, opset, out="y", elem=TensorProto.FLOAT, batch="N",
          listed=False, extra_inputs=()):
    """An ONNX model with input x [batch, *shape]; listed: initializers are inputs too."""
    inits = [numpy_helper.from_array(np.asarray(a), name) for name, a in tensors.items()]
    inputs = [helper.make_tensor_value_info("x", elem, [batch, *shape]), *extra_inputs]
    if listed:
        inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in inits]
    graph = helper.make_graph(
        [helper.make_node(op, i, o, **a) for op, i, o, a in nodes], "net", inputs,
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)], inits)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def relu(x):
    return np.maximum(x, 0)


def hand_made():
    """(what, model, rows, logits)"""
    x2, w, b = normal(BATCH, 6), normal(6, 4), normal(4)
    x3, x4 = normal(BATCH, 3, 4), normal(BATCH, 2, 5, 6)
    dense = ("Gemm", ["h", "w", "b"], ["y"], {})
    for opset in (7, 9, 10):
        yield (f"Clip with attributes, opset {opset}, initializers listed as inputs",
               model([("Clip", ["x"], ["h"], dict(min=-0.5, max=0.25)), dense], [6],
                     {"w": w, "b": b}, opset, listed=True),
               x2, np.clip(x2, -0.5, 0.25) @ w + b)
    for opset in (11, 13):
        yield (f"Clip with inputs, opset {opset}",
               model([("Constant", [], ["top"], dict(value=numpy_helper.from_array(
                   np.float32(0.25)))), ("Clip", ["x", "", "top"], ["h"], {}), dense], [6],
                     {"w": w, "b": b}, opset), x2, np.minimum(x2, 0.25) @ w + b)
    for opset, attrs, inputs in ((13, dict(axes=[2]), []), (18, {}, ["axes"])):
        yield (f"ReduceMean and ReduceMax, opset {opset}",
               model([("ReduceMean", ["x"] + inputs, ["m"], dict(keepdims=0, **attrs)),
                      ("ReduceMax", ["x"] + inputs, ["k"], dict(keepdims=0, **attrs)),
                      ("Concat", ["m", "k"], ["h"], dict(axis=1)), dense], [3, 4],
                     {"w": w, "b": b, "axes": np.array([2])}, opset),
               x3, np.concatenate([x3.mean(2), x3.max(2)], 1) @ w + b)
    yield ("ReduceMean without axes does nothing when told so",
           model([("ReduceMean", ["x"], ["h"], dict(noop_with_empty_axes=1)), dense], [6],
                 {"w": w, "b": b}, 18), x2, x2 @ w + b)
    for opset in (12, 13):
        inputs = [] if opset == 12 else ["axis"]
        attrs = dict(axes=[3]) if opset == 12 else {}
        yield (f"Unsqueeze and Squeeze, opset {opset}",
               model([("Unsqueeze", ["x"] + inputs, ["u"], attrs),
                      ("Relu", ["u"], ["r"], {}), ("Squeeze", ["r"] + inputs, ["s"], attrs),
                      ("Reshape", ["s", "shape"], ["h"], {}), ("MatMul", ["h", "w"], ["y"], {})],
                     [3, 4], {"w": np.ones((12, 3), np.float32), "axis": np.array([3]),
                              "shape": np.array([-1, 12])}, opset),
               x3, np.repeat(relu(x3).reshape(BATCH, 12).sum(1, keepdims=True), 3, 1))
    yield ("a fixed batch of 1, baked into a Reshape",
           model([("Reshape", ["x", "shape"], ["r"], {}), ("Gemm", ["r", "w"], ["y"], {})], [3, 4],
                 {"shape": np.array([1, 12]), "w": np.eye(12, 3, dtype=np.float32)}, 13, batch=1),
           x3, x3.reshape(BATCH, 12)[:, :3])
    yield ("Dropout, Identity and Softmax at the end disappear",
           model([("Dropout", ["x"], ["d"], {}), ("Identity", ["d"], ["h"], {}),
                  ("Gemm", ["h", "w", "b"], ["g"], {}), ("Softmax", ["g"], ["y"], dict(axis=1))],
                 [6], {"w": w, "b": b}, 13), x2, x2 @ w + b)
    yield ("Softmax in the middle, opset 11",
           model([("Softmax", ["x"], ["h"], {}), dense], [6], {"w": w, "b": b}, 11),
           x2, softmax(x2) @ w + b)
    yield ("Sub, Div, Neg, Pow, Sum",
           model([("Sub", ["x", "c"], ["s"], {}), ("Sub", ["c", "s"], ["t"], {}),
                  ("Div", ["t", "c"], ["d"], {}), ("Neg", ["d"], ["n"], {}),
                  ("Pow", ["n", "three"], ["p"], {}), ("Sum", ["p", "x", "c"], ["h"], {}), dense],
                 [6], {"w": w, "b": b, "c": np.full(6, 1.5, np.float32),
                       "three": np.float32(3)}, 13),
           x2, ((-(1.5 - (x2 - 1.5)) / 1.5) ** 3 + x2 + 1.5) @ w + b)
    bn = {name: RNG.uniform(0.5, 1.5, 2).astype(np.float32) for name in "smtv"}
    yield ("BatchNormalization with its training outputs unused, GlobalMaxPool, Flatten",
           model([("BatchNormalization", ["x", "s", "t", "m", "v"], ["n", "o1", "o2"],
                   dict(epsilon=0.01, momentum=0.8)), ("GlobalMaxPool", ["n"], ["g"], {}),
                  ("Flatten", ["g"], ["y"], {})], [2, 5, 6], bn, 9),
           x4, ((x4.max((2, 3)) - bn["m"]) / np.sqrt(bn["v"] + 0.01) * bn["s"] + bn["t"]))
    kernel = normal(3, 2, 3, 3)
    for mode, top, left, bottom, right in (("SAME_UPPER", 1, 0, 1, 1), ("SAME_LOWER", 1, 1, 1, 0),
                                           ("VALID", 0, 0, 0, 0)):
        padded = F.pad(torch.from_numpy(x4), (left, right, top, bottom))
        yield (f"Conv with auto_pad {mode}, output [N, 3, 1, 1]",
               model([("Conv", ["x", "k"], ["c"], dict(auto_pad=mode, strides=[2, 2])),
                      ("GlobalAveragePool", ["c"], ["y"], {})], [2, 5, 6], {"k": kernel}, 13),
               x4, F.conv2d(padded, torch.from_numpy(kernel), stride=2).mean((2, 3)).numpy())
    yield ("Pad taken over by a Conv; MaxPool whose ceil_mode changes nothing",
           model([("Pad", ["x", "pads"], ["p"], {}), ("Conv", ["p", "k"], ["c"], {}),
                  ("MaxPool", ["c"], ["m"], dict(kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)),
                  ("Flatten", ["m"], ["y"], {})], [2, 5, 6],
                 {"k": kernel, "pads": np.array([0, 0, 1, 2, 0, 0, 0, 0])}, 13),
           x4, F.max_pool2d(F.conv2d(F.pad(torch.from_numpy(x4), (2, 0, 1, 0)),
                                     torch.from_numpy(kernel)), 2).flatten(1).numpy())
    table, ids = normal(9, 4), RNG.integers(0, 9, (BATCH, 3)).astype(np.int64)
    yield ("int32 ids through Cast and Gather, a scalar index",
           model([("Cast", ["x"], ["i"], dict(to=TensorProto.INT64)),
                  ("Gather", ["e", "i"], ["g"], {}), ("Gather", ["g", "zero"], ["y"],
                                                      dict(axis=1))],
                 [3], {"e": table, "zero": np.int64(0)}, 13, elem=TensorProto.INT32),
           ids, table[ids[:, 0]])
    yield ("Split and Slice with a negative step",
           model([("Split", ["x", "sizes"], ["a", "c"], dict(axis=1)),
                  ("Slice", ["c", "from", "to", "axes", "step"], ["r"], {}),
                  ("Concat", ["a", "r"], ["h"], dict(axis=1)), dense], [6],
                 {"w": w, "b": b, "sizes": np.array([2, 4]), "from": np.array([-1]),
                  "to": np.array([-9]), "axes": np.array([1]), "step": np.array([-1])}, 13),
           x2, np.concatenate([x2[:, :2], x2[:, :1:-1]], 1) @ w + b)
    yield ("double weights become float32",
           model([("Gemm", ["x", "w", "b"], ["y"], dict(alpha=0.5, beta=2.0))], [6],
                 {"w": w.astype(np.float64), "b": b.astype(np.float64)}, 13),
           x2, 0.5 * x2 @ w + 2 * b)
    for op, attrs in (("Gelu", dict(approximate="tanh")), ("Gelu", {})):
        gelu = F.gelu(torch.from_numpy(x2), **({"approximate": "tanh"} if attrs else {})).numpy()
        yield (f"{op} of opset 20 {attrs}", model([(op, ["x"], ["h"], attrs), dense], [6],
                                                  {"w": w, "b": b}, 20), x2, gelu @ w + b)
    yield ("RMSNormalization of opset 23",
           model([("RMSNormalization", ["x", "s"], ["h"], dict(epsilon=0.1, stash_type=1)), dense],
                 [6], {"w": w, "b": b, "s": w[:, 0]}, 23),
           x2, x2 / np.sqrt((x2 ** 2).mean(1, keepdims=True) + 0.1) * w[:, 0] @ w + b)
    yield ("an operator outside the table that nothing depends on",
           model([("Det", ["x"], ["dead"], {}), ("Gemm", ["x", "w", "b"], ["y"], {})], [6],
                 {"w": w, "b": b}, 13), x2, x2 @ w + b)


REFUSED = (  # (nodes, shape, tensors, opset, words of the sentence)
    ([("Elu", ["x"], ["y"], {})], [6], {}, 13, ("Elu", "no such operator")),
    ([("LSTM", ["x", "w", "w"], ["y"], dict(hidden_size=2))], [6, 2], {"w": normal(1, 8, 2)}, 13,
     ("LSTM",)),
    ([("MaxPool", ["x"], ["y"], dict(kernel_shape=[2, 2], dilations=[2, 2]))], [1, 5, 5], {}, 13,
     ("MaxPool", "dilations")),
    ([("MaxPool", ["x"], ["y"], dict(kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1))],
     [1, 5, 5], {}, 13, ("MaxPool", "ceil_mode")),
    ([("MaxPool", ["x"], ["m", "i"], dict(kernel_shape=[2])), ("Add", ["m", "i"], ["y"], {})],
     [1, 5], {}, 13, ("Add", "input i")),
    ([("BatchNormalization", ["x", "s", "s", "s", "s"], ["y"], dict(training_mode=1))], [3],
     {"s": normal(3)}, 15, ("BatchNormalization", "training_mode")),
    ([("Softmax", ["x"], ["s"], dict(axis=1)), ("Flatten", ["s"], ["y"], {})], [3, 4], {}, 11,
     ("Softmax", "opset 13")),
    ([("Div", ["x", "x"], ["y"], {})], [3], {}, 13, ("Div", "division")),
    ([("Relu", ["x"], ["y"], {})], [3, 4], {}, 13, ("y", "[batch, classes]")),
    ([("ReduceMean", ["x"], ["y"], dict(axes=[0], keepdims=1))], [3], {}, 13, ("classes",)),
    ([("Gemm", ["x", "w"], ["y"], {})], [3], {"w": normal(4, 3)}, 13, ("Gemm", "do not fit")),
    ([("Pad", ["x", "p"], ["q"], {}), ("MaxPool", ["q"], ["y"], dict(kernel_shape=[2]))], [1, 5],
     {"p": np.array([0, 0, 1, 0, 0, 1])}, 13, ("MaxPool", "Pad")),
    ([("Reshape", ["x", "s"], ["y"], {})], [4], {"s": np.array([-1, 3])}, 13, ("Reshape",)),
    ([("Relu", ["x"], ["y"], {})], [3], {}, 6, ("opset 6",)),
)


def check_hand_made():
    count = 0
    for what, onnx_model, x, want in hand_made():
        try:
            graph, classes, tensors = onnx_to_folder.build(onnx_model, "net")
        except modelfolder.Refused as refusal:
            check(what, False, refusal)
            continue
        close(what, oracle.run(graph, tensors, x), want)
        check(f"{what}, classes", classes == want.shape[1])
        check(f"{what}, no unused tensors",
              set(tensors) <= {i for n in graph["nodes"] for i in n["inputs"]})
        names = [n["name"] for n in graph["nodes"]] + list(tensors)
        names += [o for n in graph["nodes"] for o in n["outputs"]]
        check(f"{what}, unique names of values",
              len(set(names[len(graph["nodes"]):])) == len(names) - len(graph["nodes"]))
        count += 1
    for nodes, shape, tensors, opset, words in REFUSED:
        check_refused(f"refused: {words}", model(nodes, shape, tensors, opset), words)
        count += 1
    print(f"onnx: {count} models")


# 3. The programs

def program(name, *args):
    """Runs a converter; returns exit code and what it printed."""
    done = subprocess.run([sys.executable, os.path.join(CONVERT, name), *args],
                          capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def expect(what, result, code, *words):
    """Exit code, and a single sentence on stderr that holds the words."""
    lines = [line for line in result[2].splitlines() if not line.startswith("note: ")]
    check(what, result[0] == code and all(w in result[2] for w in words)
          and (code in (0, 2) or len(lines) == 1), result)


MODULE = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 4, 3, padding="same")
        self.norm = torch.nn.BatchNorm2d(4)
        self.fc = torch.nn.Linear(16, 3)
    def forward(self, x):
        x = torch.nn.functional.avg_pool2d(self.norm(self.conv(x)).relu(), 4)
        return self.fc(x.view(len(x), -1))
def broken():
    raise ValueError("no luck")
def number():
    return 3
"""


def check_programs(folder):
    def path(name):
        return os.path.join(folder, name)

    w, b, x = normal(6, 4), normal(4), normal(20, 6)
    dense = model([("Gemm", ["x", "w", "b"], ["y"], {})], [6], {"w": w, "b": b}, 13)
    onnx.save(dense, path("net.onnx"))
    labels = (x @ w + b).argmax(1)
    np.savez(path("data.npz"), x=x, labels=labels)
    with open(path("names.txt"), "w", encoding="utf-8") as f:
        f.write("one\ntwo\nthree\nfour\n")
    expect("onnx_to_folder", program("onnx_to_folder.py", path("net.onnx"), "-o", path("a"),
                                     "--eval", path("data.npz"), "--labels", path("names.txt")), 0)
    graph, weights, rows_read, labels_read = oracle.load_folder(path("a"))
    check("onnx_to_folder, accuracy of the written folder",
          oracle.figure(oracle.run(graph, weights, rows_read), labels_read)["accuracy"] == 1.0)
    check("onnx_to_folder, labels and notice", graph["labels"][3] == "four"
          and sorted(os.listdir(path("a"))) == ["NOTICE.md", "eval.safetensors", "graph.json",
                                                "model.safetensors"])
    expect("over an existing model", program("onnx_to_folder.py", path("net.onnx"), "-o",
                                             path("a")), 3, "--force")
    expect("with --force", program("onnx_to_folder.py", path("net.onnx"), "-o", path("a"),
                                   "--force"), 0)
    onnx.save(model(*REFUSED[0][:4]), path("elu.onnx"))
    expect("an operator without a place", program("onnx_to_folder.py", path("elu.onnx"), "-o",
                                                  path("b")), 4, "Elu_0")
    check("a refusal writes nothing", not os.path.exists(path("b")))
    expect("not an ONNX file", program("onnx_to_folder.py", path("names.txt"), "-o", path("b")), 3,
           "is not an ONNX file")
    expect("no such file", program("onnx_to_folder.py", path("none"), "-o", path("b")), 3, "none")
    expect("not an npz file", program("onnx_to_folder.py", path("net.onnx"), "-o", path("b"),
                                      "--eval", path("names.txt")), 3, "names.txt")
    for what, arrays, word in (
            ("no labels", dict(x=x), "labels"), ("wrong rows", dict(x=x[:, :5], labels=labels),
                                                 "shape"),
            ("too few labels", dict(x=x, labels=labels[:3]), "rows"),
            ("labels too large", dict(x=x, labels=labels + 4), "from 0 to 3")):
        np.savez(path("bad.npz"), **arrays)
        expect(f"--eval: {what}", program("onnx_to_folder.py", path("net.onnx"), "-o", path("b"),
                                          "--eval", path("bad.npz")), 3, word)
    with open(path("one.txt"), "w", encoding="utf-8") as f:
        f.write("one\n")
    expect("wrong number of names", program("onnx_to_folder.py", path("net.onnx"), "-o", path("b"),
                                            "--labels", path("one.txt")), 3, "4 classes")
    for name in ("onnx_to_folder.py", "torch_to_folder.py"):
        expect(f"{name} --help", program(name, "--help"), 0)
        expect(f"{name} without arguments", program(name), 2, "usage")
    check_torch_program(path)


def check_torch_program(path):
    with open(path("net.py"), "w", encoding="utf-8") as f:
        f.write(MODULE)
    module = randomize(torch_to_folder.make_module(f"{path('net.py')}:Net"))
    state = module.state_dict()
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}},
               path("net.pt"))
    x = RNG.integers(0, 256, (20, 1, 8, 8)).astype(np.uint8)
    real = torch.from_numpy((x.astype(np.float32) - 128) / 64)
    want = module(real).detach().numpy()
    np.savez(path("images.npz"), x=x, labels=want.argmax(1), scale=1 / 64, offset=128)
    base = ("torch_to_folder.py", path("net.pt"), "--module", f"{path('net.py')}:Net", "--input",
            "1,8,8")
    expect("torch_to_folder", program(*base, "-o", path("t"), "--eval", path("images.npz")), 0,
           "state_dict", "module.")
    graph, weights, rows_read, labels_read = oracle.load_folder(path("t"))
    got = oracle.run(graph, weights, rows_read)
    close("torch_to_folder, logits", got, want)
    check("torch_to_folder, labels", (got.argmax(1) == labels_read).all())
    check("torch_to_folder, batch normalization stays",
          "BatchNormalization" in {n["op"] for n in graph["nodes"]}
          and "norm.running_var" in weights)
    expect("a module that fails", program("torch_to_folder.py", path("net.pt"), "--module",
                                          f"{path('net.py')}:broken", "--input", "1,8,8", "-o",
                                          path("u")), 3, "no luck")
    expect("a module that is none", program("torch_to_folder.py", path("net.pt"), "--module",
                                            f"{path('net.py')}:number", "--input", "1,8,8", "-o",
                                            path("u")), 3, "torch.nn.Module")
    expect("rows that do not fit", program(*base[:-1], "3,8,8", "-o", path("u")), 4, "traced")
    expect("--module without --input", program(*base[:-2], "-o", path("u")), 2)

    mixed = {"a": torch.arange(6).reshape(2, 3).t(), "b": torch.randn(3).bfloat16(),
             "c": torch.tensor(True), "d": torch.randn(2, 2).half(), "e": torch.randn(2).double(),
             "f": torch.zeros(0, 4), "step": 7}
    torch.save(mixed, path("mixed.bin"))
    expect("a plain checkpoint", program("torch_to_folder.py", path("mixed.bin"), "-o",
                                         path("mixed.safetensors")), 0, "step")
    tensors, _ = safetensors_io.load(path("mixed.safetensors"))
    check("a plain checkpoint, values",
          all(np.array_equal(tensors[k], (v.float() if k == "b" else v).numpy())
              for k, v in mixed.items() if k != "step"))
    plain = {k: v.numpy() for k, v in mixed.items() if k not in ("step", "b")}
    modelfolder.write_safetensors(path("1"), plain, {"n": "ü"})
    safetensors_io.save(path("2"), plain, {"n": "ü"})
    with open(path("1"), "rb") as one, open(path("2"), "rb") as two:
        check("both safetensors writers write the same bytes", one.read() == two.read())
    torch.save({"a": torch.zeros(2)}, path("shard.bin"))
    expect("two shards with one name", program("torch_to_folder.py", path("mixed.bin"),
                                               path("shard.bin"), "-o", path("v")), 3, "tensor a")
    torch.save({"q": torch.quantize_per_tensor(torch.randn(4), 0.1, 0, torch.qint8)},
               path("quantized.pt"))
    expect("quantized tensors", program("torch_to_folder.py", path("quantized.pt"), "-o",
                                        path("v"), "--unsafe"), 4, "qint8")
    torch.save(module, path("whole.pt"))
    expect("a pickle of a whole module", program("torch_to_folder.py", path("whole.pt"), "-o",
                                                 path("v")), 3, "--unsafe")
    with open(path("junk.pt"), "wb") as f:
        f.write(b"\x80\x02junk that is no pickle")
    expect("not a checkpoint", program("torch_to_folder.py", path("junk.pt"), "-o", path("v")), 3,
           "is not a PyTorch checkpoint")
    check("no half-written file", not os.path.exists(path("v")) and not [
        name for name in os.listdir(path("t")) if ".tmp" in name])
    with open(path("t/graph.json"), encoding="utf-8") as f:
        check("graph.json says its schema", json.load(f)["schema"] == "qexplore.graph/1")
    print("programs done")


def main():
    warnings.simplefilter("ignore")
    modelfolder.note = onnx_rewrite.note = lambda text: None
    check_oracle()
    check_torch()
    check_hand_made()
    with tempfile.TemporaryDirectory() as folder:
        check_programs(folder)
    if failures:
        sys.exit(f"{len(failures)} checks failed")
    print("all checks passed")


if __name__ == "__main__":
    main()
