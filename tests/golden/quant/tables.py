"""Formats with uneven levels, from their published definitions; nothing shared with the engine."""
from statistics import NormalDist

import numpy as np

f32 = np.float32

# QLoRA (arXiv 2305.14314), appendix E.
NF4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
       -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
       0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
       0.7229568362236023, 1.0]


def check_nf4():
    """The printed levels are the quantiles that the paper's section 3 describes."""
    ppf, top = NormalDist().inv_cdf, 0.9677083
    up = [ppf(p) for p in np.linspace(top, 0.5, 9)[:-1]]
    down = [-ppf(p) for p in np.linspace(top, 0.5, 8)[:-1]]
    want = np.sort(np.array(up + [0.0] + down)) / max(up)
    assert np.abs(want - NF4).max() < 2e-7


def small_float(e_bits, m_bits, n_positive):
    """Finite values of sign, exponent, mantissa: the first n_positive patterns and their negatives."""
    bias, out = 2**(e_bits - 1) - 1, []
    for code in range(n_positive):
        e, m = code >> m_bits, code & (2**m_bits - 1)
        out.append(2.0**(1 - bias) * m / 2**m_bits if e == 0 else
                   2.0**(e - bias) * (1 + m / 2**m_bits))
    return [-v for v in out[:0:-1]] + out


# E4M3: pattern 127 is NaN. E5M2: patterns from 124 on are infinity and NaN.
LEVELS = {"nf4": NF4, "fp4": small_float(2, 1, 8), "fp8-e4m3": small_float(4, 3, 127),
          "fp8-e5m2": small_float(5, 2, 124)}
BITS = {"nf4": 4, "fp4": 4, "fp8-e4m3": 8, "fp8-e5m2": 8}


def code(name, u):
    """Nearest level; half-way the lower one (nf4) or that of even mantissa (floats)."""
    level = np.array(LEVELS[name])
    mid = (level[:-1] + level[1:]) / 2
    k = np.searchsorted(mid, u.astype(np.float64), side="left")
    if name != "nf4":
        odd = (k - LEVELS[name].index(0.0)) % 2 == 1
        tie = (k < len(mid)) & (u == mid[np.minimum(k, len(mid) - 1)])
        k = k + (tie & odd)
    return k


def reconstruct(name, x, t):
    """(x^, codes, scale) of float32 x under the threshold t."""
    level = np.array(LEVELS[name], dtype=f32)
    s = f32(t) / f32(np.abs(level).max())
    s = s if s > 0 else f32(1)
    k = code(name, (x / s).astype(f32))
    return level[k] * s, k, s
