#!/usr/bin/python3
"""Writes mix.txt: compositions of made-up sites, and their anchored predictions (NumPy 1.24).

Inputs are closed formulas, the same in test_predict_golden.c. Everything from the definitions: entries
split into gain, shift and residual; pieces between and beyond them; the composition; what of a residual
goes with float32's class and lead, and the ensemble of signs of the rest; drops, anchors and the band."""
import math
import os

import numpy as np

POWER = 0.8
RIDGE = 4.0
N, C, LAYERS, MEMBERS, SEED = 64, 5, 3, 8, 7
E_ROWS, E_FP32 = 900, 0.84
SHARE = N / E_ROWS  # P is among E's rows
FAMILIES = 4  # W round, W clip, A round, A clip
AMPLITUDES = [[0.03, 0.11, 0.35], [0.08, 0.3], [0.1], [0.15, 0.5]]
n, c = np.meshgrid(np.arange(N), np.arange(C), indexing="ij")
MASK = (1 << 64) - 1


def centre(z):
    return z - z.mean(1, keepdims=True)


z0 = centre(2.4 * np.sin(1.7 * n + 2.3 * c + 0.1 * n * c))
labels = z0.argmax(1)
labels[::6] = (labels[::6] + 1) % C
sq_dev = ((z0 - z0.mean(0))**2).sum()


def site_logits(layer, family, k):
    t = AMPLITUDES[family][k]
    i = 1 + layer + 3 * family
    return ((1 - (0.4 + 0.3 * family) * t) * z0 + 2 * t * np.sin(i + 1.1 * c)
            + 1.5 * t * np.cos(0.9 * i * n + 1.3 * (k + 1) * c))


def split(z):
    z = centre(z)
    m = z.mean(0)
    gamma = ((z - m) * (z0 - z0.mean(0))).sum() / sq_dev
    b = m - gamma * z0.mean(0)
    return gamma, b, (z - gamma * z0 - b).astype(np.float16).astype(float)


TABLE = {(l, f): [(t, *split(site_logits(l, f, k))) for k, t in enumerate(AMPLITUDES[f])]
         for l in range(LAYERS) for f in range(FAMILIES)}


def piece(layer, family, t):
    """gamma, b, r at amplitude t (prediction.md 3.2)."""
    v = TABLE[layer, family]
    if t == 0:
        return 1.0, np.zeros(C), np.zeros((N, C))
    if t < v[0][0]:
        a = t / v[0][0]
        return 1 + (v[0][1] - 1) * a * a, a * v[0][2], a * v[0][3]
    if t >= v[-1][0]:
        a = t / v[-1][0]
        return max(0.0, 1 + (v[-1][1] - 1) * a), a * v[-1][2], a * v[-1][3]
    i = max(j for j in range(len(v)) if v[j][0] <= t)
    (t0, g0, b0, r0), (t1, g1, b1, r1) = v[i], v[i + 1]
    w = math.log(t / t0) / math.log(t1 / t0)
    u, x = r0 * t / t0, r1 * t / t1
    mean = (1 - w) * u + w * x
    norm = np.linalg.norm
    want = norm(u)**(1 - w) * norm(x)**w
    return (max(0.0, (1 - w) * g0 + w * g1), (1 - w) * b0 * t / t0 + w * b1 * t / t1,
            mean * min(want / norm(mean), 2))


def splitmix(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    z = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK
    return x, z ^ z >> 31


def signs(p):
    """Bits of the first number of xoshiro256** seeded for piece p: bit m-1 set means minus."""
    x, s = (SEED ^ 0x9E3779B97F4A7C15 * (p + 1)) & MASK, []
    for _ in range(2):
        x, z = splitmix(x)
        s.append(z)
    r = (s[1] * 5) & MASK
    bits = (((r << 7 | r >> 57) & MASK) * 9) & MASK
    return [-1 if bits >> m & 1 else 1 for m in range(MEMBERS)]


def softmax_log(z):
    z = z - z.max(1, keepdims=True)
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def kl_of(z):
    l0 = softmax_log(z0)
    return (np.exp(l0) * (l0 - softmax_log(z))).sum(1).mean()


def odds(t):
    """What float32 expects each class to be right, at temperature t."""
    e = np.exp((z0 - z0.max(1, keepdims=True)) / t)
    return e / e.sum(1, keepdims=True)


def temperature(accuracy):
    """At which the class on top is expected to be right that often."""
    low, high = 0.05, 20.0
    for _ in range(80):
        t = math.sqrt(low * high)
        if odds(t).max(1).mean() > accuracy:
            low = t
        else:
            high = t
    return t


def odds_of_e():
    """P's labels, as far as P is E; of the rest what float32 expects, when it is right as often there."""
    on_p = (z0.argmax(1) == labels).mean()
    rest = odds(temperature((E_FP32 - SHARE * on_p) / (1 - SHARE)))
    return SHARE * np.eye(C)[labels] + (1 - SHARE) * rest


ODDS = odds_of_e()


def leads():
    """Of the class on top, from their mean in it, in spreads of all."""
    best = np.sort(z0, 1)
    lead, top = best[:, -1] - best[:, -2], z0.argmax(1)
    mean = np.array([lead[top == top[i]].mean() for i in range(N)])
    return (lead - mean) / lead.std()


LEAD = leads()


def systematic(r):
    """Ridge regression r ~ 1 + lead within each class on top."""
    out, top = np.zeros_like(r), z0.argmax(1)
    for k in set(top):
        at = top == k
        x = np.stack([np.ones(at.sum()), LEAD[at]], 1)
        out[at] = x @ np.linalg.solve(x.T @ x + RIDGE * np.eye(2), x.T @ r[at])
    return out


def compose(pieces):
    """pieces: {index: (gamma, b, r)}. Member 0: all +. Then M with random signs, and M with those turned;
    weight[m]: the share of the noise's energy that has + in member m."""
    gain, common, rest = 1.0, np.zeros((N, C)), []
    for p, (g, b, res) in pieces.items():
        g = max(g, 1e-3)
        gain *= g
        h = systematic(res)
        common = common + (b + h) / g**POWER
        rest.append((signs(p), (res - h) / g**POWER, (np.linalg.norm(res) / g**POWER)**2))
    noise = [sum(r for _, r, _ in rest)]
    noise += [sum(e[m] * r for e, r, _ in rest) for m in range(MEMBERS)]
    z = [gain * z0 + gain**POWER * (common + r) for r in noise]
    z += [gain * z0 + gain**POWER * (common - r) for r in noise[1:]]
    energy = sum(v for _, _, v in rest) or 1
    weight = [sum(v for e, _, v in rest if e[m] > 0) / energy for m in range(MEMBERS)]
    return np.array(z), np.array(weight)


def mix(change):
    """change: amplitudes [layer][family]."""
    every = {l * FAMILIES + f: piece(l, f, change[l][f])
             for l in range(LAYERS) for f in range(FAMILIES)}
    z, weight = compose(every)
    top = z.argmax(2)
    weight = np.concatenate([[0], weight, 1 - weight]) / MEMBERS
    right, same = ODDS[np.arange(N), top].mean(1), (top == z0.argmax(1)).mean(1)
    k = [kl_of(compose({p: every[p] for p in (2 * s, 2 * s + 1)})[0][0])
         for s in range(2 * LAYERS)]
    return {"kl": kl_of(z[0]), "ce": -softmax_log(z[0])[np.arange(N), labels].mean(),
            "accuracy": weight @ right, "same_top": weight @ same, "k": np.array(k),
            "acc0": ODDS[np.arange(N), z0.argmax(1)].mean()}


def logit(p):
    q = (E_ROWS * p + 0.5) / (E_ROWS + 1)
    return math.log(q / (1 - q))


def drop_of(share):
    return logit(E_FP32) - logit(min(max(share, 0), 1))


def share_after(drop):
    p = ((E_ROWS + 1) / (1 + math.exp(drop - logit(E_FP32))) - 0.5) / E_ROWS
    return min(max(p, 0), 1)


def change_of(j):
    """Amplitudes of configuration j."""
    def one(l, f):
        x = abs(math.sin(0.7 * j + 1.9 * l + 3.1 * f + 0.3))
        return 0.0 if (j + l + f) % 3 == 0 else 0.05 * (1 + j % 6) * x * x
    return [[one(l, f) for f in range(FAMILIES)] for l in range(LAYERS)]


def nearest(k, points, skip=-1):
    best, rho = -1, 0.0
    for i, p in enumerate(points):
        if i == skip:
            continue
        r = np.minimum(k, p["k"]).sum() / np.maximum(k, p["k"]).sum()
        if r > rho:
            best, rho = i, r
    return best, rho


def sigma_of(drop, rho):
    return math.sqrt(0.08**2 + (0.25 * drop)**2) * (1 - 0.9 * rho)


def anchored(drop, points, at, rho):
    return drop if at < 0 else drop + rho * (points[at]["true"] - points[at]["drop"])


def main():
    def seen(j):
        m = mix(change_of(j))
        m["drop"] = drop_of(E_FP32 + m["accuracy"] - m["acc0"])
        # measured: somewhat worse than composed, so that there is something to correct
        m["true"] = drop_of(share_after(m["drop"] * (1.1 + 0.3 * math.sin(j)) + 0.03 * math.cos(j)))
        m["value"] = share_after(m["drop"] * (1.1 + 0.3 * math.sin(j)) + 0.03 * math.cos(j))
        m["kl_true"] = m["kl"] * (1.2 + 0.2 * math.sin(2 * j))
        return m

    here = os.path.dirname(os.path.abspath(__file__))
    every = [seen(j) for j in range(30)]
    with open(os.path.join(here, "mix.txt"), "w") as f:
        f.write("# mix j kl ce accuracy same_top k[6] | point j value kl | "
                "ask K j drop_plain drop rho sigma q value lo hi floor kl\n")
        for j, m in enumerate(every):
            f.write(f"mix {j} " + " ".join(f"{x:.9g}" for x in
                    [m["kl"], m["ce"], m["accuracy"], m["same_top"], *m["k"]]) + "\n")
        for j in range(20):
            f.write(f"point {j} {every[j]['value']:.17g} {every[j]['kl_true']:.17g}\n")
        for n_points in (0, 5, 9, 12, 20):
            points = every[:n_points]
            u = []
            for i, p in enumerate(points):
                at, rho = nearest(p["k"], points, i)
                u.append(abs(p["true"] - anchored(p["drop"], points, at, rho)) /
                         sigma_of(p["drop"], rho))
            q = 2.5 if n_points < 9 else sorted(u)[math.ceil((n_points + 1) * 0.9) - 1]
            for j in range(20, 30):
                m = every[j]
                at, rho = nearest(m["k"], points)
                drop, sigma = anchored(m["drop"], points, at, rho), sigma_of(m["drop"], rho)
                kl = m["kl"]
                if at >= 0:
                    kl *= (points[at]["kl_true"] / points[at]["kl"])**rho
                value = share_after(drop)
                unseen = (1 - SHARE) * min(1 / N, math.sqrt(m["kl"] / 2))
                floor = 1.64 * math.sqrt((1 - m["same_top"] + unseen) / E_ROWS)
                lo = max(min(share_after(drop + q * sigma), value - floor), min(1 / C, value))
                hi = min(max(share_after(drop - q * sigma), value + floor), 1,
                         max(E_FP32 + floor, value))
                f.write(f"ask {n_points} {j} " + " ".join(f"{x:.9g}" for x in
                        [m["drop"], drop, rho, sigma, q, value, lo, hi, floor, kl]) + "\n")


main()
