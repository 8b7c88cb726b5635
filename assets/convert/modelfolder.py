"""What the converters share: refusals, and writing the files of a model folder.

Everything is checked before the first byte is written; each file is written beside its place
and renamed.
"""
import json
import os
import struct
import sys

import numpy as np

INVALID, UNSUPPORTED = 3, 4  # exit codes, as qexplore's own

DTYPES = {np.dtype(t): name for name, t in (
    ("F64", "f8"), ("F32", "f4"), ("F16", "f2"), ("I64", "i8"), ("I32", "i4"), ("I16", "i2"),
    ("I8", "i1"), ("U64", "u8"), ("U32", "u4"), ("U16", "u2"), ("U8", "u1"), ("BOOL", "?"))}


class Refused(Exception):
    """One finished sentence for the user, and the exit code."""

    def __init__(self, text, code=INVALID):
        super().__init__(text)
        self.code = code


def note(text):
    """A remark that does not stop the conversion."""
    print(f"note: {text}", file=sys.stderr)


def run_main(main):
    """Runs main(); a refusal becomes one sentence on stderr and its exit code."""
    program = os.path.basename(sys.argv[0])
    try:
        main()
    except Refused as refusal:
        print(f"{program}: {refusal}", file=sys.stderr)
        sys.exit(refusal.code)
    except OSError as error:
        print(f"{program}: {error.filename}: {error.strerror}.", file=sys.stderr)
        sys.exit(INVALID)


def write_file(path, *parts):
    """Writes the parts one after the other by way of a temporary file."""
    temp = f"{path}.tmp{os.getpid()}"
    try:
        with open(temp, "wb") as f:
            for part in parts:
                f.write(part)
        os.replace(temp, path)
    except BaseException:
        if os.path.exists(temp):
            os.unlink(temp)
        raise


def write_safetensors(path, tensors, metadata=None):
    """Writes {name: array, or (dtype name, shape, bytes)}.

    Header padded so that the data starts at a multiple of 8; tensors by falling element size,
    then by name; no holes.
    """
    entries = {}
    for name, t in tensors.items():
        if not isinstance(t, tuple):
            t = np.asarray(t)
            t = (DTYPES[t.dtype], t.shape, t.astype(t.dtype.newbyteorder("<")).tobytes())
        entries[name] = t
    sizes = {"BF16": 2, **{name: dtype.itemsize for dtype, name in DTYPES.items()}}
    order = sorted(entries, key=lambda name: (-sizes[entries[name][0]], name.encode()))
    header, at = {"__metadata__": {"format": "pt", **(metadata or {})}}, 0
    for name in order:
        dtype, shape, data = entries[name]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    write_file(path, struct.pack("<Q", len(text)), text, *(entries[name][2] for name in order))


def read_labels(path, classes):
    """Class names, one a line; without a file the classes are numbered."""
    if not path:
        return [str(i) for i in range(classes)]
    with open(path, encoding="utf-8") as f:
        labels = f.read().splitlines()
    if len(labels) != classes:
        raise Refused(f"{path} has {len(labels)} lines, but the network has {classes} classes.")
    return labels


def read_eval(path, graph):
    """Returns the tensors and metadata of eval.safetensors from an .npz file.

    Arrays: x [n, ...] and labels [n]; optionally scale and offset, when the real value is
    (x - offset) * scale.
    """
    try:
        with np.load(path) as arrays:
            data = {name: arrays[name] for name in arrays.files}
    except (ValueError, AttributeError, EOFError) as error:
        raise Refused(f"{path} is not an .npz file of plain arrays ({error}).") from error
    for name in ("x", "labels"):
        if name not in data:
            raise Refused(f"{path} has no array '{name}'; it needs x [n, ...] and labels [n].")
    graph_input, classes = graph["inputs"][0], len(graph["labels"])
    x, labels = data["x"], data["labels"]
    if list(x.shape[1:]) != graph_input["shape"][1:]:
        raise Refused(f"{path}: x has rows of shape {list(x.shape[1:])}, but the network takes "
                      f"{graph_input['shape'][1:]}.")
    if labels.shape != x.shape[:1]:
        raise Refused(f"{path}: labels has shape {list(labels.shape)}, but x has {len(x)} rows.")
    if not np.issubdtype(labels.dtype, np.integer) or not all(0 <= labels) \
            or not all(labels < classes):
        raise Refused(f"{path}: labels must be whole numbers from 0 to {classes - 1}.")
    metadata = {"task": "classification", "name": f"{graph['name']}-eval", "n": str(len(x)),
                "source": os.path.basename(path), "licence": "not stated"}
    if graph_input["dtype"] == "I64":
        if not np.issubdtype(x.dtype, np.integer) or x.min() < 0 or x.max() > 65535:
            raise Refused(f"{path}: x must hold ids from 0 to 65535.")
        x = x.astype(np.uint8 if x.max() < 256 else np.uint16)
    elif x.dtype not in (np.uint8, np.int8, np.uint16):
        x = x.astype(np.float32)
    for name in ("scale", "offset"):
        if name in data:
            metadata[f"x.{name}"] = repr(float(data[name]))
    return {"x": x, "labels": labels.astype(np.uint8 if classes <= 256 else np.int64)}, metadata


def graph_text(graph):
    """graph.json with one node a line."""
    lines = ",\n  ".join(json.dumps(node) for node in graph["nodes"])
    frame = json.dumps({**graph, "nodes": ["@nodes@"]}, indent=1)
    return frame.replace('"@nodes@"', lines).encode() + b"\n"


def check_target(folder, force):
    """Refuses to write over a model that is already there."""
    for name in ("graph.json", "model.safetensors"):
        if not force and os.path.exists(os.path.join(folder, name)):
            raise Refused(f"{folder} already holds a {name}; choose another folder or add "
                          "--force.")


def write_folder(folder, graph, tensors, source, evaluation=None):
    """Writes the model folder; evaluation is what read_eval returned."""
    os.makedirs(folder, exist_ok=True)
    write_safetensors(os.path.join(folder, "model.safetensors"), tensors,
                      {"name": graph["name"], "source": source, "licence": "not stated"})
    if evaluation:
        write_safetensors(os.path.join(folder, "eval.safetensors"), *evaluation)
    write_file(os.path.join(folder, "NOTICE.md"),
               f"# {graph['name']}\nConverted from {source}. The licences of the weights and of "
               "the data are not stated there: add them here before passing the folder on.\n"
               .encode())
    write_file(os.path.join(folder, "graph.json"), graph_text(graph))
    count = sum(int(np.prod(t.shape)) for t in tensors.values() if t.dtype.kind == "f")
    print(f"{folder}: {len(graph['nodes'])} nodes, {count} values, {len(graph['labels'])} classes"
          + (f", {len(evaluation[0]['x'])} evaluation rows" if evaluation
             else "; without evaluation data no accuracy is shown (--eval data.npz)"))
