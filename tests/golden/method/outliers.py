#!/usr/bin/python3
"""samples/llama-tiny with made outlier channels, into a folder: its function is unchanged.

In every block six channels of both normalizations are multiplied by 64, and the columns of the layers that read
them are divided by it: powers of two, so that all values stay exact.
usage: outliers.py FOLDER (Debian's python3-numpy)
"""
import json
import os
import shutil
import struct
import sys

import numpy as np

FROM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../samples/llama-tiny")
READERS = {"input_layernorm": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
           "post_attention_layernorm": ["mlp.gate_proj", "mlp.up_proj"]}
TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def scale(data, dtype, shape, select, power):
    """Multiply the selected values by 2^power, whatever the type."""
    x = np.frombuffer(data, TYPES[dtype]).reshape(shape).copy()
    if dtype == "BF16":
        wide = (x.astype("<u4") << 16).view("<f4")
        wide[select] *= np.float32(2.0 ** power)
        x = (wide.view("<u4") >> 16).astype("<u2")
    else:
        x[select] *= x.dtype.type(2.0 ** power)
    return x.tobytes()


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    for name in os.listdir(FROM):
        if name != "model.safetensors" and os.path.isfile(os.path.join(FROM, name)):
            shutil.copy(os.path.join(FROM, name), out)
    raw = open(os.path.join(FROM, "model.safetensors"), "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    header, body = json.loads(raw[8:8 + n]), bytearray(raw[8 + n:])
    for name, t in header.items():
        if name == "__metadata__":
            continue
        a, b = t["data_offsets"]
        for norm, readers in READERS.items():
            block = ".".join(name.split(".")[:3])
            channels = (np.arange(6) * 29 + 7) % header["model.norm.weight"]["shape"][0]
            if name == f"{block}.{norm}.weight":
                body[a:b] = scale(bytes(body[a:b]), t["dtype"], t["shape"], channels, 6)
            elif any(name == f"{block}.{r}.weight" for r in readers):
                body[a:b] = scale(bytes(body[a:b]), t["dtype"], t["shape"],
                                  (slice(None), channels), -6)
    with open(os.path.join(out, "model.safetensors"), "wb") as f:
        f.write(raw[:8 + n] + bytes(body))


main()
