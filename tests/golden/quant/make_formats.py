"""Makes formats.txt: size, SQNR and output error of number formats on samples/fashion-mlp's first layer.

Needs Debian's python3-numpy. Formulas from the formats' publications; nothing of the program is used.
Integers and tables: symmetric, one float32 scale per row of the weight at its largest magnitude.
Inputs X: the sample's calibration rows, as the layer gets them (it is the first one)."""
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
SAMPLES = os.path.join(HERE, "..", "..", "..", "samples")
sys.path.insert(0, SAMPLES)
import safetensors_io  # noqa: E402

NF4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
       -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
       0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
       0.7229568362236023, 1.0]
E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6]


def float_levels(exponent_bits, mantissa_bits, bias, n):
    """The first n positive values of a small float."""
    out = []
    for code in range(n):
        e, m = code >> mantissa_bits, code & ((1 << mantissa_bits) - 1)
        scale = 2.0 ** (max(e, 1) - bias - mantissa_bits)
        out.append((m + (1 << mantissa_bits if e else 0)) * scale)
    return np.array(out)


def both(levels):
    return np.unique(np.concatenate([-np.asarray(levels, np.float64), levels]))


def nearest(x, levels):
    """Values of the levels nearest to x (ties are too rare to matter in a sum of squares)."""
    levels = np.sort(np.asarray(levels, np.float64))
    at = np.searchsorted((levels[1:] + levels[:-1]) / 2, x)
    return levels[at]


def integers(w, bits):
    top = 2 ** (bits - 1) - 1
    s = (np.abs(w).max(1, keepdims=True) / np.float32(top)).astype(np.float32)
    return np.clip(np.rint(w / s), -top, top) * s.astype(np.float64)


def table(w, levels):
    top = np.float32(max(levels))
    s = (np.abs(w).max(1, keepdims=True) / top).astype(np.float32)
    return nearest((w / s).astype(np.float64), levels) * s


def grouped(w, size):
    """Values of each row in groups; the last of a row may be short: zeros fill it up."""
    n, k = w.shape
    full = -(-k // size) * size
    return np.concatenate([w, np.zeros((n, full - k), w.dtype)], 1).reshape(-1, size)


def nested(s):
    """Scales quantized once more, as QLoRA describes it: E4M3 of what is left of the mean, 256 at a time."""
    e4m3 = both(float_levels(4, 3, 7, 127))
    mean, out = np.float32(s.astype(np.float64).mean()), []
    for at in range(0, len(s), 256):
        d = (s[at:at + 256] - mean).astype(np.float32)
        top = np.float32(np.abs(d).max() / np.float32(448))
        out.append(nearest((d / top).astype(np.float64), e4m3) * top + mean if top > 0 else d * 0 + mean)
    return np.concatenate(out).astype(np.float32)


def nf4_nested(w, size):
    n, k = w.shape
    g = grouped(w, size)
    s = nested(np.abs(g).max(1).astype(np.float32))[:, None]
    return (nearest((g / s).astype(np.float64), NF4) * s).reshape(n, -1)[:, :k]


def blocks(w, size, one):
    """Rows in blocks of `size`, the last filled up with the row's last value."""
    n, k = w.shape
    full = -(-k // size) * size
    filled = np.concatenate([w, np.repeat(w[:, -1:], full - k, 1)], 1)
    return one(filled.reshape(n, -1, size)).reshape(n, full)[:, :k]


def half(x):
    return x.astype(np.float32).astype(np.float16).astype(np.float32)


def divided(x, d):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(d != 0, x * (np.float32(1) / d), np.float32(0)).astype(np.float32)


def q8_0(x):
    d = (np.abs(x).max(-1, keepdims=True) / np.float32(127)).astype(np.float32)
    y = divided(x, d)
    return np.trunc(y + np.copysign(np.float32(0.5), y)) * half(d)


def signed(bits):
    def one(x):
        top = 2 ** (bits - 1)
        at = np.abs(x).argmax(-1)[..., None]
        d = (np.take_along_axis(x, at, -1) / np.float32(-top)).astype(np.float32)
        q = np.minimum(2 * top - 1, np.trunc(divided(x, d) + np.float32(top + 0.5)))
        return (q - top) * half(d)
    return one


def shifted(bits):
    def one(x):
        top, lo = 2 ** bits - 1, x.min(-1, keepdims=True)
        d = ((x.max(-1, keepdims=True) - lo) / np.float32(top)).astype(np.float32)
        q = np.minimum(top, np.trunc(divided(x - lo, d) + np.float32(0.5)))
        return q * half(d).astype(np.float64) + half(lo)
    return one


def mxfp4(x):
    amax = np.abs(x).max(-1, keepdims=True).astype(np.float64)
    with np.errstate(divide="ignore"):
        d = np.where(amax > 0, 2.0 ** (np.floor(np.log2(amax)) - 2), 0)
    return np.where(d > 0, nearest(x / np.where(d > 0, d, 1), both(E2M1)) * d, 0)


def nvfp4(w):
    e4m3 = float_levels(4, 3, 7, 127)
    whole = np.float64(np.abs(w).max()) / (6 * 448)

    def one(x):
        amax = np.abs(x).max(-1, keepdims=True).astype(np.float64)
        d = nearest(amax / 6, e4m3)
        return np.where(d > 0, nearest(x / np.where(d > 0, d, 1), both(E2M1)) * d, 0)
    return blocks((w / whole).astype(np.float32), 16, one) * whole


def bf16(w):
    word = w.view(np.uint32)
    return ((word + 0x7FFF + (word >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def formats(w):
    for bits in range(2, 9):
        yield f"int{bits}", integers(w, bits)
    yield "fp16", w.astype(np.float16).astype(np.float32)
    yield "bf16", bf16(w)
    yield "fp8-e4m3", table(w, both(float_levels(4, 3, 7, 127)))
    yield "fp8-e5m2", table(w, both(float_levels(5, 2, 15, 124)))
    yield "fp4", table(w, both(E2M1))
    yield "nf4", table(w, NF4)
    yield "nf4+dq:64", nf4_nested(w, 64)
    yield "q8_0", blocks(w, 32, q8_0)
    for bits in (4, 5):
        yield f"q{bits}_0", blocks(w, 32, signed(bits))
        yield f"q{bits}_1", blocks(w, 32, shifted(bits))
    yield "mxfp4", blocks(w, 32, mxfp4)
    yield "nvfp4", nvfp4(w)


def main():
    folder = os.path.join(SAMPLES, "fashion-mlp")
    w = safetensors_io.load(os.path.join(folder, "model.safetensors"))[0]["dense1.weight"]
    x = safetensors_io.load(os.path.join(folder, "calib.safetensors"))[0]["x"]
    x = x.reshape(len(x), -1).astype(np.float64)
    full = x @ w.astype(np.float64).T
    with open(os.path.join(HERE, "formats.txt"), "w") as f:
        f.write("# format, SQNR in dB, output error; made by make_formats.py\n")
        for name, y in formats(np.ascontiguousarray(w, np.float32)):
            e = w.astype(np.float64) - y
            db = 10 * np.log10(np.sum(w.astype(np.float64) ** 2) / np.sum(e ** 2))
            f.write(f"{name} {db:.6f} {np.sum((x @ e.T) ** 2) / np.sum(full ** 2):.8e}\n")


if __name__ == "__main__":
    main()
