"""Test values made of exact IEEE operations only (+ - * / sqrt), so that C makes the same bits:
tests/unit/test_quant_data.c."""
import numpy as np

ROWS, COLS = 96, 1500
NAMES = ["gauss", "laplace", "t3", "outlier", "bf16", "shifted"]
ZERO_ROW, POSITIVE_ROW, NEGATIVE_ROW = 7, 11, 13
DRAWS = 48


def splitmix64(counter):
    z = (counter + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def normals(seed):
    """[4, n] nearly normal: sums of 12 uniforms, minus 6."""
    i = np.arange(ROWS * COLS * DRAWS, dtype=np.uint64) + np.uint64(seed << 32)
    u = (splitmix64(i) >> np.uint64(40)).astype(np.float64) * 2.0**-24
    return u.reshape(-1, 4, 12).sum(axis=2).T - 6.0


def to_bf16(x):
    b = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    b = (b + 0x7FFF + ((b >> 16) & 1)) >> 16 << 16
    return b.astype(np.uint32).view(np.float32)


def values(name):
    g = normals(1 + NAMES.index(name))
    if name == "laplace":
        x = g[0] * g[1] + g[2] * g[3]
    elif name == "t3":
        x = g[0] / np.sqrt((g[1] * g[1] + g[2] * g[2] + g[3] * g[3]) / 3.0)
    else:
        x = g[0]
    if name == "shifted":
        x = x + 1.5
    row = np.arange(ROWS)
    scale = (1.0 + row % 7) * np.array([1.0, 0.5, 0.25, 0.125, 0.0625])[row % 5] * 0.01
    x = (x.reshape(ROWS, COLS) * scale[:, None]).astype(np.float32)
    x[ZERO_ROW] = 0.0
    x[POSITIVE_ROW] = np.abs(x[POSITIVE_ROW])
    x[NEGATIVE_ROW] = -np.abs(x[NEGATIVE_ROW])
    if name == "outlier":
        x[5, 17] = 7.0
    return to_bf16(x) if name == "bf16" else x
