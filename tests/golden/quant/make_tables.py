#!/usr/bin/python3
"""Writes tables.txt (error figures) and tables_calib.txt (ranges) of the formats with uneven levels
(NumPy 1.24)."""
import itertools
import os

import numpy as np

import make_calib as calib
import oracle
import tables
import values

KEYS = ["mse", "mae", "cosine", "clipped_low", "clipped_high", "mse_clip", "mse_round", "bias",
        "entropy", "used", "scale_min", "scale_max", "sum_sq"]


def metrics(name, x, gran, group, ratio):
    total, codes, scales = np.zeros(11), np.zeros(256), []
    for u in oracle.units(x, gran, group):
        t = ratio * float(np.abs(u).max())
        y, k, s = tables.reconstruct(name, u, t)
        ends = tables.reconstruct(name, np.array([-t, t], dtype=np.float32), t)[0]
        d, y, ends = u.astype(np.float64), y.astype(np.float64), ends.astype(np.float64)
        c = np.clip(d, -t, t)
        yc = np.where(d < -t, ends[0], np.where(d > t, ends[1], y))
        total += [d.size, (d * d).sum(), (y * y).sum(), (d * y).sum(), ((y - d)**2).sum(),
                  np.abs(y - d).sum(), (y - d).sum(), (d < -t).sum(), (d > t).sum(),
                  ((c - d)**2).sum(), ((yc - c)**2).sum()]
        codes += np.bincount(k, minlength=256)
        if t > 0:
            scales.append(float(s))
    n, xx, yy, xy, sse, sae, bias, low, high, clip2, round2 = total
    share = codes[codes > 0] / n
    return [sse / n, sae / n, xy / np.sqrt(xx * yy), low, high, clip2 / n, round2 / n, bias / n,
            -(share * np.log2(share)).sum(), (codes > 0).sum(), min(scales), max(scales), xx]


def error_fn(name, x, kind):
    top = np.abs(x).max(axis=1, keepdims=True).astype(np.float64)

    def error(r):
        level = np.array(tables.LEVELS[name], dtype=np.float32)
        s = (r * top).astype(np.float32) / np.abs(level).max()
        s = np.where(s > 0, s, np.float32(1)).astype(np.float32)
        y = level[tables.code(name, (x / s).astype(np.float32))] * s
        e = y.astype(np.float64) - x.astype(np.float64)
        return (e * e).mean() if kind == "mse" else np.abs(e).mean()

    return error


def cells(name):
    """Ends of the cells of the codes from 0 up, as shares of the threshold."""
    level = [v for v in tables.LEVELS[name] if v >= 0]
    return np.array([(a + b) / 2 / level[-1] for a, b in zip(level, level[1:])] + [1.0])


def kl_tensorrt(name, h):
    """As make_calib's; a bin belongs to the level in whose cell its centre lies, on
    its end included (1e-3 of a bin for rounding)."""
    ends, best, least = cells(name), 2048, np.inf
    for i in range(len(ends), 2049):
        p = h[:i].copy()
        p[-1] += h[i:].sum()
        level = np.minimum(np.searchsorted(ends * i + 1e-3, np.arange(i) + 0.5, side="left"),
                           len(ends) - 1)
        used = np.bincount(level, weights=h[:i] > 0, minlength=len(ends))
        mass = np.bincount(level, weights=h[:i], minlength=len(ends))
        q = np.where(h[:i] > 0, (mass / np.maximum(used, 1))[level], 0.0)
        if np.count_nonzero(h[:i]) <= len(ends) or np.any((q == 0) & (p > 0)):
            continue
        k = p > 0
        p, q = p / p.sum(), q / q.sum()
        kl = (p[k] * np.log(p[k] / q[k])).sum()
        if kl <= least + 1e-13:
            best, least = i, min(kl, least)
    return best / 2048


def kl_full(name, h):
    ends, best, least = cells(name), 2048, np.inf
    p = h / h.sum()
    cdf = np.concatenate([[0.0], np.cumsum(p)])
    for i in range(len(ends), 2049):
        edges = np.concatenate([[0.0], ends * i])
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
    tables.check_nf4()
    with open(os.path.join(here, "tables.txt"), "w") as f:
        f.write("# values format gran group ratio " + " ".join(KEYS) + "\n")
        layouts = [("tensor", 0, (1.0, 0.5, 0.05)), ("channel", 0, (1.0, 0.5)),
                   ("group", 64, (1.0, 0.5))]
        for name in values.NAMES:
            x = values.values(name)
            for fmt, (gran, group, ratios) in itertools.product(tables.LEVELS, layouts):
                for r in ratios:
                    row = " ".join(f"{v:.12g}" for v in metrics(fmt, x, gran, group, r))
                    f.write(f"{name} {fmt} {gran} {group} {r:g} {row}\n")
    with open(os.path.join(here, "tables_calib.txt"), "w") as f:
        f.write("# values format gran calibrator T (granularity channel: ratio)\n")
        for name in values.NAMES:
            x = values.values(name)
            flat, top, h = x.reshape(1, -1), float(np.abs(x).max()), calib.nonzero(x)
            for fmt, kind in itertools.product(("nf4", "fp4"), ("mse", "mae")):
                r = calib.search(error_fn(fmt, flat, kind))
                f.write(f"{name} {fmt} tensor {kind} {r * top:.10g}\n")
                r = calib.search(error_fn(fmt, x, kind))
                f.write(f"{name} {fmt} channel {kind} {r:.10g}\n")
            for fmt in tables.LEVELS:
                f.write(f"{name} {fmt} tensor kl {kl_tensorrt(fmt, h) * top:.10g}\n")
                f.write(f"{name} {fmt} tensor kl-full {kl_full(fmt, h) * top:.10g}\n")


main()
