#!/usr/bin/python3
"""GPTQ (arXiv 2210.17323) written plainly in NumPy, on the last layer of samples/fashion-mlp: gptq.txt.

Float64, one column after the other, no blocks. Inputs follow a formula that test_method.c repeats; scales are
those of min-max per channel; columns come in falling order of the diagonal; damping is 0.01 of its mean.
usage: gptq.py (Debian's python3-numpy)
"""
import json
import os
import struct

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = os.path.join(HERE, "../../../samples/fashion-mlp/model.safetensors")


def last_weight():
    with open(MODEL, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        header = json.loads(f.read(n))
        graph = json.load(open(os.path.join(os.path.dirname(MODEL), "graph.json")))
        name = [x for x in graph["nodes"] if x["op"] == "Gemm"][-1]["inputs"][1]
        a, b = header[name]["data_offsets"]
        f.seek(8 + n + a)
        return np.frombuffer(f.read(b - a), "<f4").reshape(header[name]["shape"]).astype(np.float64)


def inputs(samples, k):
    s, i = np.arange(samples)[:, None], np.arange(k)[None, :]
    return np.sin(0.37 * (s + 1) * (i % 9 + 1)) * (1 + i % 5) + np.cos(0.11 * s * (i + 2)) + 0.5


def gptq(w, h, bits):
    n, k = w.shape
    most = 2 ** (bits - 1) - 1
    scale = (np.abs(w).max(axis=1).astype(np.float32) / np.float32(most)).astype(np.float64)
    order = np.argsort(-np.diag(h), kind="stable")
    hp = h[np.ix_(order, order)] + np.eye(k) * 0.01 * np.mean(np.diag(h))
    upper = np.linalg.cholesky(np.linalg.inv(hp)).T
    rest, codes = w[:, order].copy(), np.zeros((n, k), int)
    for j in range(k):
        q = np.clip(np.rint(rest[:, j] / scale), -most, most)
        codes[:, j] = q
        rest[:, j:] -= np.outer((rest[:, j] - q * scale) / upper[j, j], upper[j, j:])
    out = np.zeros((n, k), int)
    out[:, order] = codes
    e = out * scale[:, None] - w
    return out, np.einsum("ri,ij,rj->", e, h, e) / np.einsum("ri,ij,rj->", w, h, w)


def main():
    w = last_weight()
    x = inputs(600, w.shape[1])
    h = x.T @ x / len(x)
    with open(os.path.join(HERE, "gptq.txt"), "w") as f:
        for bits in (2, 3, 4):
            codes, error = gptq(w, h, bits)
            f.write("%d %d %d %.12g\n" % (bits, *w.shape, error))
            for row in codes:
                f.write(" ".join(map(str, row)) + "\n")


main()
