#!/usr/bin/python3
"""Golden data and expectations of the histogram: data.safetensors and expected.txt beside this file.

Everything is computed element by element with NumPy (Debian python3-numpy, 1.24); nothing of the
engine's bins, kernels or tables is used. Run it in its own folder; the seed is fixed.
"""
import json
import os
import struct

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(20240607)


def bf16(x):
    b = x.astype(np.float32).view(np.uint32)
    return ((b + 0x7FFF + ((b >> 16) & 1)) >> 16).astype(np.uint16)


def bf16_value(h):
    return (h.astype(np.uint32) << 16).view(np.float32)


gauss = rng.standard_normal((48, 64)).astype(np.float32) * np.float32(0.07)
channels = gauss * np.exp(rng.standard_normal((48, 1))).astype(np.float32)
channels[7] = 0.0
outlier = gauss.copy()
outlier[3, 5] = 7.0
skewed = (np.abs(gauss) + 0.02 * rng.standard_normal((48, 64))).astype(np.float32)
skewed[9] = -np.abs(skewed[9])
broken = gauss.copy()
broken[0, 3] = np.nan
broken[5, 1] = np.inf
broken[5, 2] = -np.inf
broken[6, :] = 0.0
broken[7, 1] = -0.0
tiny = (gauss * np.float32(1e-38)).astype(np.float32)  # mostly subnormal
conv = rng.standard_t(3, (6, 10, 3, 3)).astype(np.float32)
five = np.array([-2, -1, 0, 1, 8], np.float32)
ints = rng.integers(-128, 128, (30, 17)).astype(np.int8)
wide = rng.integers(-(2**40), 2**40, 100).astype(np.int64)
empty = np.zeros((0, 4), np.float32)
nans = np.full((2, 3), np.nan, np.float32)
half = gauss.astype(np.float16)
brain = bf16(channels)

TENSORS = {
    "gauss": ("F32", gauss, gauss), "channels": ("F32", channels, channels),
    "outlier": ("F32", outlier, outlier), "skewed": ("F32", skewed, skewed),
    "broken": ("F32", broken, broken), "tiny": ("F32", tiny, tiny), "conv": ("F32", conv, conv),
    "five": ("F32", five, five), "ints": ("I8", ints, ints.astype(np.float32)),
    "wide": ("I64", wide, wide.astype(np.float32)), "empty": ("F32", empty, empty),
    "nans": ("F32", nans, nans), "half": ("F16", half, half.astype(np.float32)),
    "brain": ("BF16", brain, bf16_value(brain)),
}

# name, granularity, axis, group, symmetric
CASES = [(n, "tensor", 0, 0, 1) for n in TENSORS] + [
    ("gauss", "channel", 0, 0, 1), ("channels", "channel", 0, 0, 1), ("channels", "channel", 1, 0, 1),
    ("channels", "channel", 0, 0, 0), ("skewed", "channel", 0, 0, 0), ("skewed", "group", 0, 24, 0),
    ("skewed", "channel", 1, 0, 0), ("channels", "group", 0, 32, 1), ("channels", "group", 1, 20, 1),
    ("broken", "channel", 0, 0, 1), ("broken", "group", 0, 7, 0), ("conv", "channel", 0, 0, 1),
    ("conv", "channel", 1, 0, 1), ("conv", "group", 1, 8, 0), ("tiny", "channel", 0, 0, 1),
    ("ints", "channel", 0, 0, 1), ("brain", "channel", 0, 0, 1), ("brain", "group", 0, 32, 0),
    ("half", "channel", 1, 0, 1), ("nans", "channel", 0, 0, 1), ("empty", "channel", 1, 0, 1),
]


def half_trunc(y):
    """|y| rounded toward zero to FP16, as float64."""
    a = np.minimum(np.abs(y), 65504.0)
    h = a.astype(np.float16)
    up = h.astype(np.float64) > a
    return np.where(up, np.nextafter(h, np.float16(0)), h).astype(np.float64)


def units_of(x, gran, axis, group):
    """Unit number of every element, in storage order."""
    if gran == "tensor" or x.size == 0:
        return np.zeros(x.size, np.int64), 1 if gran == "tensor" else x.shape[axis]
    moved = np.moveaxis(np.arange(x.size).reshape(x.shape), axis, 0).reshape(x.shape[axis], -1)
    unit = np.empty(x.size, np.int64)
    per = 1 if gran == "channel" else -(-moved.shape[1] // group)
    for c, row in enumerate(moved):
        unit[row] = c * per + (0 if gran == "channel" else np.arange(row.size) // group)
    return unit, x.shape[axis] * per


def nearest_rank(v, p):
    v = np.sort(v)
    return v[max(1, int(np.ceil(p * v.size - 1e-9))) - 1]


def num(v):
    return "nan" if np.isnan(v) else repr(float(v))


def run(out, name, gran, axis, group, sym):
    x = TENSORS[name][2]
    flat = x.reshape(-1)
    fin = np.isfinite(flat)
    unit, n_units = units_of(x, gran, axis, group)
    f = flat[fin].astype(np.float64)
    has = f.size > 0
    first = int(np.argmin(fin)) if not fin.all() else -1
    key = f"{name} {gran} {axis} {group} {sym}"
    lo, hi = np.zeros(n_units, np.float32), np.zeros(n_units, np.float32)
    for u in range(n_units):
        v = flat[fin & (unit == u)]
        if v.size:
            lo[u], hi[u] = v.min(), v.max()
    absmax = np.maximum(np.abs(lo), np.abs(hi))
    if gran == "tensor":
        a = np.ones(n_units, np.float32)
        u32 = flat[fin]
    else:
        a = absmax if sym else np.maximum(hi, 0) - np.minimum(lo, 0)
        a = np.where(a < np.finfo(np.float32).tiny, np.float32(0), a).astype(np.float32)
        with np.errstate(divide="ignore"):
            inv = np.float32(1) / a
        over = a * inv > 1
        inv[over] = np.nextafter(inv[over], np.float32(0))
        inv[a == 0] = 0
        u32 = flat[fin] * inv[unit[fin]]
    w = a[unit[fin]].astype(np.float64)
    u = u32.astype(np.float64)
    k = 15.0 - (np.floor(np.log2(absmax.max())) if gran == "tensor" and has and absmax.max() > 0 else 0)
    k = 0.0 if TENSORS[name][0] == "F16" and gran == "tensor" else min(k, 127.0)
    k = k if has and (gran != "tensor" or absmax.max() > 0) else (0.0 if gran == "tensor" else k)
    stats = [f.min(), f.max(), f.mean(), f.std()] if has else [np.nan] * 4
    used = a[a > 0]
    p999 = nearest_rank(np.abs(f), 0.999) if has and gran == "tensor" else np.nan
    out.append(f"case {key} {f.size} {int(np.isnan(flat).sum())} {int(np.isinf(flat).sum())} "
               f"{int((f == 0).sum())} {first} {n_units} " + " ".join(num(v) for v in stats + [p999]))
    for i in sorted({0, n_units // 3, n_units - 1}):
        if 0 <= i < n_units:
            out.append(f"unit {i} {num(lo[i])} {num(hi[i])} {num(absmax[i])}")
    if not has:
        return
    if used.size:
        out.append(f"scale {num(used.min())} {num(used.max())}")
    top = max(abs(u).max(), 1e-300)
    for edge in (-1.0, -0.7, -0.3, -0.01, 0.0, 1e-4, 0.02, 0.25, 0.6, 0.99):
        # everything strictly below the half-key bin that holds this value
        b = half_trunc(np.array([edge * top * 2.0**k]))[0]
        mag = half_trunc(u * 2.0**k)
        below = (u < 0) & (mag > b) if edge < 0 else (u < 0) | (mag < b)
        uu, ww = u[below], w[below]
        sums = [below.sum(), (ww * ww).sum(), (ww * ww * uu).sum(), (ww * ww * uu * uu).sum(),
                ww.sum(), (ww * uu).sum()]
        out.append(f"below {num(edge * top)} " + " ".join(num(s) for s in sums))
    for p in (0.001, 0.1, 0.5, 0.9, 0.99, 1.0):
        out.append(f"quantile {p} {num(nearest_rank(np.abs(u), p))} {num(nearest_rank(u, p))}")
    lin_top = np.abs(f).max() if gran == "tensor" else 1.0
    if lin_top > 0:
        cells = np.minimum((np.abs(u) / lin_top * 2048).astype(np.int64), 2047)
        counts = np.bincount(cells, minlength=2048)
        out.append("coarse " + " ".join(str(c) for c in counts.reshape(32, 64).sum(axis=1)))


def main():
    header, blobs, at = {"__metadata__": {"format": "pt"}}, [], 0
    order = ["F64", "I64", "F32", "BF16", "F16", "I8"]
    for name in sorted(TENSORS, key=lambda n: (order.index(TENSORS[n][0]), n)):
        dtype, stored, _ = TENSORS[name]
        raw = stored.tobytes()
        header[name] = {"dtype": dtype, "shape": list(stored.shape), "data_offsets": [at, at + len(raw)]}
        blobs.append(raw)
        at += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(HERE, "data.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    out = []
    for case in CASES:
        run(out, *case)
    with open(os.path.join(HERE, "expected.txt"), "w") as f:
        f.write("\n".join(out) + "\n")


main()
