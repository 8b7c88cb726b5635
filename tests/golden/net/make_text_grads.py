#!/usr/bin/python3
"""Writes the gradients of the encoders and decoders beside this script, as torch's autograd has them.

Needs Debian's python3-torch and python3-numpy; run it after make_encoders.py and make_decoders.py:

    /usr/bin/python3 tests/golden/net/make_text_grads.py

Each of their folders gets gradients.safetensors: the gradient of sum(logits * G) by every weight
("eval.NAME"), G[i] = cos(i) over all rows of eval.safetensors in order, of a decoder over every
place of each document but its last token's, in float64 by those scripts' own networks.
"""
import os

import numpy as np
import torch

import make_decoders
import make_encoders
from make_encoders import safetensors_io

HERE = os.path.dirname(os.path.abspath(__file__))


def write(name, forward):
    folder = os.path.join(HERE, name)
    weights, _ = safetensors_io.load(os.path.join(folder, "model.safetensors"))
    rows, _ = safetensors_io.load(os.path.join(folder, "eval.safetensors"))
    w = {key: torch.tensor(np.array(a), dtype=torch.float64, requires_grad=True)
         for key, a in weights.items()}
    logits = forward(w, rows).flatten()
    (logits * torch.cos(torch.arange(len(logits), dtype=torch.float64))).sum().backward()
    safetensors_io.save(os.path.join(folder, "gradients.safetensors"), {
        f"eval.{key}": np.zeros(v.shape, np.float32) if v.grad is None
        else v.grad.numpy().astype(np.float32) for key, v in w.items()})


def encoder(case):
    return lambda w, rows: make_encoders.forward(case, w, rows["input_ids"],
                                                 rows["attention_mask"])


def decoder(case):
    def forward(w, rows):
        ids, at = rows["input_ids"].astype(np.int64), rows["doc_offsets"]
        return torch.cat([make_decoders.logits(case, w, ids[a:b - 1]) for a, b in zip(at, at[1:])])
    return forward


if __name__ == "__main__":
    for title, description in make_encoders.CASES.items():
        write(title, encoder(description))
    for title, description in make_decoders.CASES.items():
        write(title, decoder(description))
