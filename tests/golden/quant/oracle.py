"""Quantization element by element: the definitions of decisions.md, nothing shared with the engine."""
import numpy as np

f32 = np.float32


def units(x, gran, group):
    """Views of the units, in order."""
    if gran == "tensor":
        return [x.reshape(-1)]
    if gran == "channel":
        return list(x)
    return [r[i:i + group] for r in x for i in range(0, len(r), group)]


def params(lo, hi, bits, sym, clip):
    """scale, zero, qmin, qmax for the clipping range clip = (lo, hi)."""
    if sym:
        q = 2**(bits - 1) - 1
        s = f32(clip[1]) / f32(q)
        return (s if s > 0 else f32(1)), f32(0), f32(-q), f32(q)
    n = 2**bits - 1
    s = (f32(clip[1]) - f32(clip[0])) / f32(n)
    s = s if s > 0 else f32(1)
    return s, min(np.rint(-f32(clip[0]) / s), f32(n)), f32(0), f32(n)


def quantize(x, p):
    s, z, qmin, qmax = p
    return np.clip(np.rint(x / s) + z, qmin, qmax).astype(f32)


def clip_of(x, sym, ratio):
    lo, hi = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    if sym:
        t = ratio * max(-lo, hi)
        return -t, t
    return ratio * lo, ratio * hi


def sums(x, bits, sym, clip):
    """Sums over one unit; x float32."""
    p = params(x.min(), x.max(), bits, sym, clip)
    q = quantize(x, p)
    y = ((q - p[1]) * p[0]).astype(f32).astype(np.float64)
    d = x.astype(np.float64)
    c = np.clip(d, clip[0], clip[1])
    ends = ((quantize(np.array(clip, dtype=f32), p) - p[1]) * p[0]).astype(f32).astype(np.float64)
    yc = np.where(d < clip[0], ends[0], np.where(d > clip[1], ends[1], y))
    out = np.array([d.size, (d * d).sum(), (y * y).sum(), (d * y).sum(), ((y - d)**2).sum(),
                    np.abs(y - d).sum(), (y - d).sum(), (d < clip[0]).sum(), (d > clip[1]).sum(),
                    ((c - d)**2).sum(), ((yc - c)**2).sum()])
    return out, np.bincount((q - p[2]).astype(int), minlength=2**bits), p[0]


def metrics(x, bits, sym, gran, group, ratio=None, clip=None):
    total, codes, scales = np.zeros(11), np.zeros(2**bits), []
    for u in units(x, gran, group):
        out, k, s = sums(u, bits, sym, clip if clip else clip_of(u, sym, ratio))
        total += out
        codes += k
        if np.any(u != 0):
            scales.append(float(s))
    n, xx, yy, xy, sse, sae, bias, low, high, clip2, round2 = total
    share = codes[codes > 0] / n
    return {"mse": sse / n, "mae": sae / n, "cosine": xy / np.sqrt(xx * yy) if xx * yy > 0 else 0,
            "clipped_low": low, "clipped_high": high, "mse_clip": clip2 / n,
            "mse_round": round2 / n, "bias": bias / n,
            "entropy": -(share * np.log2(share)).sum(), "used": (codes > 0).sum(),
            "scale_min": min(scales), "scale_max": max(scales), "sum_sq": xx}
