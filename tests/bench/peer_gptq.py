#!/usr/bin/python3
"""GPTQ of one layer in PyTorch beside bench_gptq: the algorithm of the paper (arXiv 2210.17323, section 3 and its
pseudocode: Cholesky of the inverse, blocks of 128 columns, lazy updates) with act-order and scales per group fixed
beforehand, as bench_gptq has them. Runs in turn on the same cores; medians, by the clock and by CPU time.

usage: peer_gptq.py BENCH_GPTQ [--size 4096] [--bits 4] [--group 128] [--threads 2] [--rounds 3]
(Debian's python3-torch)
"""
import argparse
import re
import statistics
import subprocess
import time

import torch


def moments(k):
    x = torch.randn(8192, k) * (1 + torch.arange(k) % 7)
    x[:, 1:] += 0.5 * x[:, :-1]
    return x.T @ x / len(x)


def gptq(w, h, bits, group, block=128):
    """Codes of w [outputs, inputs] for moments h."""
    k = w.shape[1]
    most = 2 ** (bits - 1) - 1
    scale = w.reshape(len(w), -1, group).abs().amax(2) / most
    order = torch.argsort(torch.diag(h), descending=True)
    unit = order // group
    w, h = w[:, order].clone(), h[order][:, order].clone()
    h.diagonal().add_(0.01 * h.diagonal().mean())
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    codes = torch.empty_like(w, dtype=torch.int8)
    for first in range(0, k, block):
        end = min(first + block, k)
        part, errors = w[:, first:end].clone(), torch.empty(len(w), end - first)
        near = upper[first:end, first:end]
        for i in range(end - first):
            s = scale[:, unit[first + i]]
            code = (part[:, i] / s).round_().clamp_(-most, most)
            codes[:, first + i] = code.to(torch.int8)
            errors[:, i] = (part[:, i] - code * s) / near[i, i]
            part[:, i:] -= errors[:, i : i + 1] * near[i : i + 1, i:]
        w[:, end:] -= errors @ upper[first:end, end:]
    out = torch.empty_like(codes)
    out[:, order] = codes
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("bench")
    for name, value in (("size", 4096), ("bits", 4), ("group", 128), ("threads", 2), ("rounds", 3)):
        p.add_argument("--" + name, type=int, default=value)
    a = p.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(a.threads)
    w, h = 0.02 * torch.randn(a.size, a.size), moments(a.size)
    command = [a.bench, "--rounds", "1"]
    for name, value in (("outputs", a.size), ("inputs", a.size), ("bits", a.bits), ("group", a.group), ("threads", a.threads)):
        command += ["--" + name, str(value)]
    theirs, ours = {"wall": [], "cpu": []}, {"wall": [], "cpu": []}
    for _ in range(a.rounds):
        wall, cpu = time.monotonic(), time.process_time()
        gptq(w, h, a.bits, a.group)
        theirs["wall"].append(time.monotonic() - wall)
        theirs["cpu"].append(time.process_time() - cpu)
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for kind, seconds in re.findall(r"^(\w+): GPTQ ([0-9.]+) s", text, re.M):
            ours[kind].append(float(seconds))
    print(f"{a.size} x {a.size}, {a.bits} bits, group {a.group}, {a.threads} threads, torch {torch.__version__}, medians of {a.rounds}")
    for kind in theirs:
        t, o = statistics.median(theirs[kind]), statistics.median(ours[kind])
        print(f"{kind}: torch {t:.3f} s, qexplore {o:.3f} s, torch / qexplore {t / o:.2f}")


if __name__ == "__main__":
    main()
