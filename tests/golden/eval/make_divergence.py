#!/usr/bin/python3
"""Writes divergence.json: how samples/llama-tiny's next-token distributions change when its weights are
rounded, token by token against float32, over the first 24 documents. Debian packages: python3-torch,
python3-numpy. Networks and rounding are those of samples/reference_text.py; the measures are worked out here
in float64 from their definitions (the names are llama.cpp's).

    OMP_NUM_THREADS=1 /usr/bin/python3 tests/golden/eval/make_divergence.py
"""
import json
import math
import os
import sys

import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
SAMPLES = os.path.join(HERE, "..", "..", "..", "samples")
sys.path.insert(0, SAMPLES)
import oracle  # noqa: E402
import reference_text  # noqa: E402
import safetensors_io  # noqa: E402

MODEL = "llama-tiny"
N_DOCUMENTS = 24
CASES = (("linear", "channel", 8), ("linear", "channel", 4), ("all", "tensor", 3))


def log_probs(config, w, docs):
    """[tokens, vocabulary] in float64, and the tokens that came."""
    w = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in w.items()}
    rows, came = [], []
    for doc in docs:
        z = reference_text.llama(config, w, doc[None, :-1])[0].double()
        rows.append(torch.log_softmax(z, -1).numpy())
        came.append(doc[1:].numpy())
    return np.concatenate(rows), np.concatenate(came)


def measures(base, other, came):
    n = len(came)
    kl = (np.exp(base) * (base - other)).sum(-1)
    p, q = (np.exp(x[np.arange(n), came]) for x in (base, other))
    squares = (q - p) ** 2
    rms = math.sqrt(squares.mean())
    nll, nll_base = (-x[np.arange(n), came] for x in (other, base))
    same = (base.argmax(-1) == other.argmax(-1)).mean()
    return {"tokens": n, "nll": nll.mean(), "nll_se": nll.std() / math.sqrt(n), "ppl": math.exp(nll.mean()),
            "nll_delta": (nll - nll_base).mean(), "nll_delta_se": (nll - nll_base).std() / math.sqrt(n),
            "kld_mean": kl.mean(), "kld_se": kl.std() / math.sqrt(n), "kld_p99": np.quantile(kl, 0.99),
            "kld_max": kl.max(), "delta_p": (q - p).mean(), "rms_delta_p": rms,
            "rms_delta_p_se": squares.std() / math.sqrt(n) / (2 * rms),
            "same_top": same, "same_top_se": math.sqrt(same * (1 - same) / n)}


def main():
    folder = os.path.join(SAMPLES, MODEL)
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    weights, _ = safetensors_io.load(os.path.join(folder, "model.safetensors"))
    weights = {name: a.astype(np.float32) for name, a in weights.items()}
    docs = reference_text.documents(os.path.join(folder, "eval.safetensors"))[:N_DOCUMENTS]
    base, came = log_probs(config, weights, docs)
    rows = []
    for scope, granularity, bits in CASES:
        axes = {name: 0 for name, a in weights.items()
                if a.ndim == 2 and (scope == "all" or not reference_text.is_table(name))}
        rounded = oracle.round_weights(weights, axes, granularity, bits)
        rows.append({"scope": scope, "gran": granularity, "bits": bits,
                     **measures(base, log_probs(config, rounded, docs)[0], came)})
        print(rows[-1], flush=True)
    with open(os.path.join(HERE, "divergence.json"), "w", encoding="utf-8") as f:
        f.write(json.dumps({"model": MODEL, "documents": N_DOCUMENTS, "cases": rows}, indent=1) + "\n")


with torch.no_grad():
    main()
