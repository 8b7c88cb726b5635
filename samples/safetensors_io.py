"""Reads and writes safetensors files for the scripts that make the samples and golden files.

Layout: u64 little-endian header length, JSON header padded with spaces so that the data starts
at a multiple of 8, then the tensors in order of falling element size, then by name, no holes.
Files are written beside their place and renamed, so a reader never sees half a file.
"""
import json
import os
import struct

import numpy as np

DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16,
          "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
          "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8,
          "BOOL": np.bool_}
BF16 = np.dtype([("bf16", "<u2")])  # numpy has no such type: a record holds the code
NAMES = {BF16: "BF16", **{np.dtype(t): name for name, t in DTYPES.items()}}


def write_bytes(path, *parts):
    """Writes the parts one after the other to path, by way of a temporary file."""
    temp = f"{path}.tmp"
    with open(temp, "wb") as f:
        for part in parts:
            f.write(part)
    os.replace(temp, path)


def write_json(path, value):
    """Writes a JSON file, one space of indent, as the committed samples have it."""
    write_bytes(path, (json.dumps(value, indent=1) + "\n").encode())


def bf16(a):
    """The BF16 code of each float32 value, rounded to nearest, ties to even (finite values)."""
    word = np.asarray(a, np.float32).view(np.uint32)
    return ((word + 0x7FFF + (word >> 16 & 1)) >> 16).astype(np.uint16).view(BF16)


def save(path, tensors, metadata=None):
    """Writes {name: array}; metadata is an object of strings ("format": "pt" is added)."""
    arrays = {name: np.asarray(a) for name, a in tensors.items()}
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name.encode()))
    header = {"__metadata__": {"format": "pt", **(metadata or {})}}
    at = 0
    for name in order:
        a = arrays[name]
        header[name] = {"dtype": NAMES[a.dtype], "shape": list(a.shape),
                        "data_offsets": [at, at + a.nbytes]}
        at += a.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    data = [a.astype(a.dtype.newbyteorder("<")).tobytes() for a in map(arrays.get, order)]
    write_bytes(path, struct.pack("<Q", len(text)), text, *data)


def load(path):
    """Returns ({name: array}, metadata); BF16 is widened to float32."""
    with open(path, "rb") as f:
        raw = f.read()
    size = struct.unpack_from("<Q", raw)[0]
    header = json.loads(raw[8:8 + size])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, t in header.items():
        begin, end = (8 + size + offset for offset in t["data_offsets"])
        if t["dtype"] == "BF16":
            a = (np.frombuffer(raw[begin:end], "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            dtype = np.dtype(DTYPES[t["dtype"]])
            a = np.frombuffer(raw[begin:end], dtype.newbyteorder("<")).astype(dtype)
        tensors[name] = a.reshape(t["shape"])
    return tensors, metadata
