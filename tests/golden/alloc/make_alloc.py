#!/usr/bin/python3
"""Small allocation problems with their answers by trying every combination (Debian's python3-numpy).

usage: make_alloc.py > problems.txt

One problem a block: sites, choices, then a row of costs and one of scores for each site (inf: not to be
had), ties, locks, bits, sensitivities, variances; then the answers: the front (cost, score), and for
three budgets the greedy and the closed-form choice.
"""
import itertools

import numpy as np


def combos(n, k, tie, lock, score):
    for c in itertools.product(range(k), repeat=n):
        if any(lock[i] >= 0 and c[i] != lock[i] for i in range(n)):
            continue
        if any(tie[i] >= 0 and tie[i] == tie[j] and c[i] != c[j]
               for i in range(n) for j in range(i)):
            continue
        if all(np.isfinite(score[i, c[i]]) for i in range(n)):
            yield c


def front(n, k, cost, score, tie, lock):
    sums = sorted((sum(cost[i, c[i]] for i in range(n)), sum(score[i, c[i]] for i in range(n)))
                  for c in combos(n, k, tie, lock, score))
    out = []
    for cost_, score_ in sums:
        if not out or score_ < out[-1][1] - 1e-12:
            out.append((cost_, score_))
    return out


def groups(n, tie):
    seen = {}
    for i in range(n):
        seen.setdefault(("tie", tie[i]) if tie[i] >= 0 else ("site", i), []).append(i)
    return list(seen.values())


def allowed(g, c, lock, score):
    return all((lock[i] < 0 or lock[i] == c) and np.isfinite(score[i, c]) for i in g)


def greedy(n, k, cost, score, tie, lock, budget):
    gs = groups(n, tie)
    total = lambda m, g, c: sum(m[i, c] for i in g)
    now = [min((c for c in range(k) if allowed(g, c, lock, score)),
               key=lambda c, g=g: (total(score, g, c), total(cost, g, c))) for g in gs]
    while sum(total(cost, g, c) for g, c in zip(gs, now)) > budget:
        best = None
        for at, g in enumerate(gs):
            for c in range(k):
                saved = total(cost, g, now[at]) - total(cost, g, c)
                if allowed(g, c, lock, score) and saved > 0:
                    rate = (total(score, g, c) - total(score, g, now[at])) / saved
                    if best is None or rate < best[0]:
                        best = (rate, at, c)
        if best is None:
            return None
        now[best[1]] = best[2]
    out = [0] * n
    for g, c in zip(gs, now):
        for i in g:
            out[i] = c
    return out


def closed(n, k, cost, score, tie, lock, bits, sens, var, budget):
    """Every b at which a nearest choice changes, tried from the largest down."""
    gs = groups(n, tie)
    half = [np.mean([0.5 * np.log2(sens[i] * var[i]) for i in g]) for g in gs]

    def pick(b):
        out = [0] * n
        for g, h in zip(gs, half):
            c = min((c for c in range(k) if allowed(g, c, lock, score)),
                    key=lambda c: (abs(bits[c] - b - h), -bits[c]))
            for i in g:
                out[i] = c
        return out

    edges = sorted({(x + y) / 2 - h for h in half for x in bits for y in bits})
    tries = [edges[0] - 1] + [(x + y) / 2 for x, y in zip(edges, edges[1:])] + [edges[-1] + 1]
    for b in reversed(tries):
        c = pick(b)
        if sum(cost[i, c[i]] for i in range(n)) <= budget:
            return c
    return None


def line(name, values):
    print(name, *(f"{v:.17g}" if isinstance(v, (float, np.floating)) else v for v in values))


def main():
    rng = np.random.default_rng(20261128)
    for p in range(24):
        n, k = int(rng.integers(1, 6)), int(rng.integers(2, 6))
        bits = np.sort(rng.choice(np.array([2.0, 3, 4, 5, 6, 8, 16]), k, replace=False))
        size = rng.integers(10, 2000, n)
        cost = np.outer(size, bits) / 8 + rng.integers(0, 9, (n, k))
        cost = np.sort(cost, axis=1)
        score = np.outer(10 ** rng.uniform(-3, 0, n), 4.0 ** -bits) * rng.uniform(0.6, 1.7, (n, k))
        tie = [int(t) if p % 3 == 1 else -1 for t in rng.integers(-1, 2, n)]
        lock = [-1] * n
        if p % 4 == 2:
            lock[0] = k - 1
            tie[0] = -1
        if p % 5 == 3 and n > 1:
            score[1, 0] = np.inf
        sens, var = 10 ** rng.uniform(-2, 2, n), 10 ** rng.uniform(-4, -1, n)
        line("problem", [n, k])
        for i in range(n):
            line("cost", cost[i])
            line("score", score[i])
        line("tie", tie)
        line("lock", lock)
        line("bits", bits)
        line("sensitivity", sens)
        line("variance", var)
        f = front(n, k, cost, score, tie, lock)
        line("front", [len(f)])
        for point in f:
            line("point", point)
        for share in (0.15, 0.45, 0.8):
            budget = f[0][0] + share * (cost.max(axis=1).sum() - f[0][0])
            line("budget", [budget])
            line("greedy", greedy(n, k, cost, score, tie, lock, budget))
            line("closed", closed(n, k, cost, score, tie, lock, bits, sens, var, budget))


main()
