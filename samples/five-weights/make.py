#!/usr/bin/python3
"""Writes the sample five-weights: one tensor of five values and no network.

Needs Debian's python3-numpy. Prints the figures that MODEL.md states.
"""
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import safetensors_io  # noqa: E402

WEIGHTS = np.array([[-2, -1, 0, 1, 8]], dtype=np.float32)


def symmetric(x, threshold, bits):
    """Codes and values of the symmetric quantizer with threshold T, in float32."""
    limit = np.float32(2 ** (bits - 1) - 1)
    scale = np.float32(threshold) / limit
    codes = np.clip(np.rint(x / scale), -limit, limit)
    return scale, codes, codes * scale


def asymmetric(x, bits):
    """Codes and values of the asymmetric quantizer over the whole range."""
    low, high, top = min(x.min(), np.float32(0)), x.max(), np.float32(2 ** bits - 1)
    scale = (high - low) / top
    zero = np.clip(np.rint(-low / scale), 0, top)
    codes = np.clip(np.rint(x / scale) + zero, 0, top)
    return scale, zero, codes, (codes - zero) * scale


def errors(x, y):
    """MSE, MAE, SQNR in dB and cosine similarity of y against x, in double."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    noise = np.sum((x - y) ** 2)
    return (noise / x.size, np.abs(x - y).mean(), 10 * np.log10(np.sum(x * x) / noise),
            np.sum(x * y) / np.sqrt(np.sum(x * x) * np.sum(y * y)))


def best_threshold(x, bits, power):
    """The threshold of a fine grid over (0, absmax] with the least mean |error|^power."""
    grid = np.linspace(0, float(np.abs(x).max()), 8001)[1:]
    cost = [np.mean(np.abs(x - symmetric(x, t, bits)[2]).astype(np.float64) ** power)
            for t in grid]
    least = len(cost) - 1 - int(np.argmin(cost[::-1]))
    return grid[least], cost[least]


def describe(label, codes, values):
    mse, mae, sqnr, cosine = errors(WEIGHTS, values)
    print(f"{label}: codes {codes.ravel().astype(int).tolist()}, "
          f"values {[round(float(v), 5) for v in values.ravel()]}, MSE {mse:.4g}, "
          f"MAE {mae:.4g}, SQNR {sqnr:.2f} dB, cosine {cosine:.5f}")


def main():
    safetensors_io.save(os.path.join(HERE, "model.safetensors"), {"five.weight": WEIGHTS},
                        {"name": "five-weights", "source": "samples/five-weights/make.py",
                         "licence": "Apache-2.0"})
    for threshold in (8, 3):
        scale, codes, values = symmetric(WEIGHTS, threshold, 8)
        describe(f"8 bits, T {threshold}, scale {scale:.7f}", codes, values)
    scale, zero, codes, values = asymmetric(WEIGHTS, 8)
    describe(f"8 bits, asymmetric, scale {scale:.7f}, zero point {zero:.0f}", codes, values)
    for bits in (8, 6, 5, 4, 3, 2):
        (mse_t, mse), (mae_t, mae) = (best_threshold(WEIGHTS, bits, p) for p in (2, 1))
        minmax = errors(WEIGHTS, symmetric(WEIGHTS, 8, bits)[2])
        print(f"{bits} bits: min-max MSE {minmax[0]:.3g}, {minmax[2]:.2f} dB; "
              f"least MSE {mse:.3g} at T {mse_t:.3f}; least MAE {mae:.3g} at T {mae_t:.3f}")


if __name__ == "__main__":
    main()
