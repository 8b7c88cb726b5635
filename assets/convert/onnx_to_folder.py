#!/usr/bin/python3
"""Turns an ONNX classifier into a model folder that qexplore opens and measures.

Needs Debian's python3-onnx and python3-numpy:

    /usr/bin/python3 onnx_to_folder.py net.onnx -o FOLDER [--eval data.npz] [--labels names.txt]

The network must have one input, whose dimensions are fixed but for the batch, and one output
[batch, classes]. Shape arithmetic, dropout and a final softmax disappear; Sub, Div by constants,
Squeeze, Unsqueeze, Slice, Split, Pad before Conv, HardSigmoid, HardSwish and the spelled-out
forms of Gelu and layer normalization are rewritten; every other operator outside the contract of
graph.json is refused with its name. --eval takes an .npz file with arrays x [n, ...] and labels
[n] (and optionally scale and offset: the real value is (x - offset) * scale).

Exit codes: 0 done, 2 wrong use, 3 unreadable or invalid input, 4 a network that a model folder
cannot express.
"""
import argparse
import os
import sys

try:
    import onnx
    from google.protobuf.message import DecodeError
except ImportError as missing:
    sys.exit(f"onnx_to_folder.py needs the Debian package python3-onnx ({missing}); run it with "
             "/usr/bin/python3.")

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import modelfolder  # noqa: E402
import onnx_graph  # noqa: E402
import onnx_rewrite  # noqa: E402
from modelfolder import Refused  # noqa: E402


def read(path):
    """Loads the ONNX file, with its external data."""
    try:
        model = onnx.load(path)
    except DecodeError as error:
        raise Refused(f"{path} is not an ONNX file.") from error
    except onnx.checker.ValidationError as error:
        raise Refused(f"{path}: its external data cannot be read ({error}).") from error
    if not model.graph.node:
        raise Refused(f"{path} is not an ONNX file, or holds no network.")
    return model


def build(model, name, output=None, traced_batch=None):
    """Returns graph.json without class names, the number of classes, and the tensors.

    traced_batch is a batch size that the exporter may have left in shapes as a number.
    """
    source = onnx_graph.Source(model, output)
    source.fixed_batch = source.fixed_batch or traced_batch
    nodes, result, classes, tensors = onnx_rewrite.convert(source)
    graph = {"schema": "qexplore.graph/1", "name": name, "task": "classification",
             "inputs": [{"name": source.input[0], "dtype": source.dtype,
                         "shape": ["N", *source.input[1]]}],
             "nodes": nodes, "outputs": [result], "labels": []}
    return graph, classes, tensors


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("onnx", help="the ONNX file")
    parser.add_argument("-o", "--out", required=True, metavar="FOLDER", help="folder to write")
    parser.add_argument("--name", help="name of the network (default: the file's)")
    parser.add_argument("--output", help="which output to take, if there are several")
    parser.add_argument("--labels", metavar="FILE", help="class names, one a line")
    parser.add_argument("--eval", metavar="FILE", help=".npz file with arrays x and labels")
    parser.add_argument("--force", action="store_true", help="write over an existing model")
    return parser.parse_args()


def main():
    args = parse_arguments()
    modelfolder.check_target(args.out, args.force)
    name = args.name or os.path.splitext(os.path.basename(args.onnx))[0]
    graph, classes, tensors = build(read(args.onnx), name, args.output)
    graph["labels"] = modelfolder.read_labels(args.labels, classes)
    evaluation = modelfolder.read_eval(args.eval, graph) if args.eval else None
    modelfolder.write_folder(args.out, graph, tensors, os.path.basename(args.onnx), evaluation)


if __name__ == "__main__":
    modelfolder.run_main(main)
