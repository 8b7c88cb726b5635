"""Fashion-MNIST for the scripts that make the samples fashion-cnn and fashion-mlp: the images as
Debian's package dataset-fashion-mnist has them, and the files of a model folder."""
import gzip
import json
import os

import numpy as np

import safetensors_io

DATA = "/usr/share/datasets/fashion-mnist"
LABELS = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
          "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
SOURCE = "Fashion-MNIST (Zalando SE), Debian package dataset-fashion-mnist"
TRAIN = {"data": "fashion-mnist/train-images-idx3-ubyte.gz", "augment": "shift,flip"}
SCALE = 1 / 128  # a pixel p stands for p * SCALE: exact in float32, 0 stays the background


def read_idx(name):
    """Reads one gzipped IDX file: two zero bytes, the type, the rank, sizes, then bytes."""
    with gzip.open(os.path.join(DATA, name)) as f:
        raw = f.read()
    rank = raw[3]
    shape = np.frombuffer(raw, ">u4", rank, 4).astype(int)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def read_part(stem):
    """Returns the images [n,1,28,28] and labels [n] of one part ("train", "t10k"), both U8."""
    return (read_idx(f"{stem}-images-idx3-ubyte.gz")[:, None],
            read_idx(f"{stem}-labels-idx1-ubyte.gz"))


def write_part(out, model, name, images, labels, of):
    """Writes one data file of the folder."""
    safetensors_io.save(os.path.join(out, f"{name}.safetensors"),
                        {"x": images, "labels": labels},
                        {"task": "classification", "name": f"{model}-{name}",
                         "n": str(len(images)), "source": f"{SOURCE}, {of}", "licence": "MIT",
                         "x.scale": repr(SCALE), "x.offset": "0"})


def write_graph(path, graph):
    """One node a line, so that a reader and a diff see the network."""
    lines = ",\n  ".join(json.dumps(node) for node in graph["nodes"])
    text = json.dumps({**graph, "nodes": ["@"]}, indent=1).replace('"@"', lines)
    safetensors_io.write_bytes(path, text.encode() + b"\n")
