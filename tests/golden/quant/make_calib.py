#!/usr/bin/python3
"""Writes calib.txt: the range every calibrator must choose for every test tensor (NumPy 1.24).

Searches try 128 even ratios of the range, then 40 at four per octave below 1/128, and refine twice by
16 steps to the next candidate on either side; of equal errors the largest ratio stays."""
import itertools
import math
import os

import numpy as np

import values

f32 = np.float32


def error_fn(x, bits, sym, kind):
    """error(ratio) over x [rows, cols], one range per row."""
    lo = np.minimum(x.min(axis=1, keepdims=True), 0).astype(np.float64)
    hi = np.maximum(x.max(axis=1, keepdims=True), 0).astype(np.float64)
    top = np.maximum(-lo, hi)
    n = 2**(bits - 1) - 1 if sym else 2**bits - 1
    d = x.astype(np.float64)

    def error(r):
        if sym:
            s = (r * top).astype(f32) / f32(n)
            z, qmin = f32(0), f32(-n)
        else:
            s = ((r * hi).astype(f32) - (r * lo).astype(f32)) / f32(n)
        s = np.where(s > 0, s, f32(1)).astype(f32)
        if not sym:
            z, qmin = np.minimum(np.rint(-(r * lo).astype(f32) / s), f32(n)), f32(0)
        q = np.clip(np.rint(x / s) + z, qmin, f32(n))
        e = ((q - z) * s).astype(f32).astype(np.float64) - d
        return (e * e).mean() if kind == "mse" else np.abs(e).mean()

    return error


def coarse(i):
    return (128 - i) / 128 if i < 128 else 2.0**(-(i - 127) / 4) / 128


def search(error):
    e = [error(coarse(i)) for i in range(168)]
    i = int(np.argmin(e))  # the first of equals: the largest ratio
    best, high, low = coarse(i), coarse(max(i - 1, 0)), coarse(i + 1)
    for _ in range(2):
        up, down = (high - best) / 16, (best - low) / 16
        c = [best + j * (up if j > 0 else down) for j in range(16, -17, -1)]
        c = [r for r in c if r > 0]
        best = c[int(np.argmin([error(r) for r in c]))]
        high, low = min(best + up, 1.0), best - down
    return best


def rank(a, p):
    """Nearest rank."""
    return np.sort(a.reshape(-1))[max(math.ceil(p * a.size - 1e-9), 1) - 1]


def linear(x):
    top = np.abs(x).max().astype(np.float64)
    j = np.minimum((np.abs(x).astype(np.float64) * (2048 / top)).astype(int), 2047)
    return np.bincount(j.reshape(-1), minlength=2048).astype(np.float64)


def nonzero(x):
    """Values of exactly 0 left out: they have a code whatever the threshold is."""
    h = linear(x)
    h[0] -= np.count_nonzero(x == 0)
    return h


def kl_tensorrt(h, bits):
    levels, best, least = 2**(bits - 1), 2048, np.inf
    for i in range(levels, 2049):
        p = h[:i].copy()
        p[-1] += h[i:].sum()
        level = np.arange(i) * levels // i
        used = np.bincount(level, weights=h[:i] > 0, minlength=levels)
        mass = np.bincount(level, weights=h[:i], minlength=levels)
        q = np.where(h[:i] > 0, (mass / np.maximum(used, 1))[level], 0.0)
        if np.count_nonzero(h[:i]) <= levels or np.any((q == 0) & (p > 0)):
            continue
        k = p > 0
        p, q = p / p.sum(), q / q.sum()
        kl = (p[k] * np.log(p[k] / q[k])).sum()
        if kl <= least + 1e-13:
            best, least = i, min(kl, least)
    return best / 2048


def kl_full(h, bits):
    qmax, best, least = 2**(bits - 1) - 1, 2048, np.inf
    p = h / h.sum()
    cdf = np.concatenate([[0.0], np.cumsum(p)])
    for i in range(2**(bits - 1), 2049):
        edges = np.concatenate([[0.0], (np.arange(qmax) + 0.5) * i / qmax, [float(i)]])
        at = np.interp(edges, np.arange(2049.0), cdf)
        at[-1] = 1.0
        spread = np.interp(np.arange(i + 1.0), edges, at)
        q = np.concatenate([np.diff(spread), np.full(2048 - i, 1e-6)])
        q /= q.sum()
        k = p > 0
        kl = (p[k] * np.log(p[k] / q[k])).sum()
        if kl <= least:
            best, least = i, kl
    return best / 2048


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "calib.txt"), "w") as f:
        f.write("# values gran sym bits calibrator lo hi (granularity channel: -ratio ratio)\n")

        def put(*row):
            f.write(" ".join(str(c) if isinstance(c, (str, int)) else f"{c:.10g}" for c in row) +
                    "\n")

        for name in values.NAMES:
            x = values.values(name)
            flat, top = x.reshape(1, -1), float(np.abs(x).max())
            lo, hi = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
            for p in (99.99, 99.9, 99.0):
                t = float(rank(np.abs(x), p / 100))
                put(name, "tensor", 1, 8, f"percentile:{p:g}", -t, t)
                cut = (1 - p / 100) / 2
                put(name, "tensor", 0, 8, f"percentile:{p:g}", min(float(rank(x, cut)), 0.0),
                    max(float(rank(x, 1 - cut)), 0.0))
            h = nonzero(x)
            for bits, (calib, fn) in itertools.product((4, 8), (("kl", kl_tensorrt),
                                                                ("kl-full", kl_full))):
                t = fn(h, bits) * top
                put(name, "tensor", 1, bits, calib, -t, t)
                put(name, "tensor", 0, bits, calib, max(lo, -t), min(hi, t))
            for kind, bits in itertools.product(("mse", "mae"), (2, 4, 8)):
                r = search(error_fn(flat, bits, True, kind))
                put(name, "tensor", 1, bits, kind, -r * top, r * top)
                r = search(error_fn(flat, bits, False, kind))
                put(name, "tensor", 0, bits, kind, r * lo, r * hi)
                r = search(error_fn(x, bits, True, kind))
                put(name, "channel", 1, bits, kind, -r, r)


if __name__ == "__main__":
    main()
