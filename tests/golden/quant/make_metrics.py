#!/usr/bin/python3
"""Writes metrics.txt: error figures of every test tensor under many settings (NumPy 1.24)."""
import itertools
import os

import oracle
import values

KEYS = ["mse", "mae", "cosine", "clipped_low", "clipped_high", "mse_clip", "mse_round", "bias",
        "entropy", "used", "scale_min", "scale_max", "sum_sq"]
GRANS = [("tensor", 0, (2, 3, 4, 8), (1.0, 0.5, 0.2, 0.05))]
GRANS += [(g, n, (2, 4, 8), (1.0, 0.5)) for g, n in
          [("channel", 0), ("group", 32), ("group", 64), ("group", 128)]]


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "metrics.txt"), "w") as f:
        f.write("# values gran group sym bits ratio " + " ".join(KEYS) + "\n")
        for name in values.NAMES:
            x = values.values(name)
            for gran, group, bits, ratios in GRANS:
                for sym, b, r in itertools.product((1, 0), bits, ratios):
                    m = oracle.metrics(x, b, sym, gran, group, ratio=r)
                    f.write(f"{name} {gran} {group} {sym} {b} {r:g} " +
                            " ".join(f"{m[k]:.12g}" for k in KEYS) + "\n")


main()
