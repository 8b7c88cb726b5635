#!/usr/bin/python3
"""Ten steps of training of small language models and of a text classifier, in torch.

Needs Debian's python3-torch and python3-numpy; run it after make_encoders.py and make_decoders.py:

    /usr/bin/python3 tests/golden/train/make_train_text.py

Writes texts.safetensors beside this script: for each network of CASES (tests/golden/net) the loss of each of ten
steps of AdamW over all its rows, in float64. The loss is the mean over the answers - a decoder's: every token but a
document's first - of half cross-entropy and half KL at temperature 2 against the network as it was, times 4. Nothing
is rounded: ../net/make_grads.py and make_train.py have the rest.
"""
import os
import sys

import numpy as np
import torch
from torch.nn import functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
NET = os.path.join(HERE, "..", "net")
sys.path.insert(0, NET)
import make_decoders  # noqa: E402
import make_encoders  # noqa: E402
from make_encoders import safetensors_io  # noqa: E402

CASES = ["decoder_llama", "decoder_qwen3", "decoder_gpt2", "encoder_bert"]
STEPS, RATE, DECAY, SHARE, TEMPERATURE = 10, 3e-3, 0.01, 0.5, 2.0


def answers(name, rows):
    """A function from weights to logits [answers, classes], and the labels."""
    if name in make_encoders.CASES:
        case = make_encoders.CASES[name]
        return (lambda w: make_encoders.forward(case, w, rows["input_ids"],
                                                rows["attention_mask"]),
                rows["labels"].astype(np.int64))
    case, ids, at = make_decoders.CASES[name], rows["input_ids"].astype(np.int64), \
        rows["doc_offsets"]
    pairs = list(zip(at, at[1:]))
    return (lambda w: torch.cat([make_decoders.logits(case, w, ids[a:b - 1]) for a, b in pairs]),
            np.concatenate([ids[a + 1:b] for a, b in pairs]))


def losses(name):
    folder = os.path.join(NET, name)
    weights, _ = safetensors_io.load(os.path.join(folder, "model.safetensors"))
    rows, _ = safetensors_io.load(os.path.join(folder, "eval.safetensors"))
    w = {key: torch.tensor(np.array(a), dtype=torch.float64, requires_grad=True)
         for key, a in weights.items()}
    run, labels = answers(name, rows)
    with torch.no_grad():
        teacher = F.log_softmax(run(w) / TEMPERATURE, -1)
    matrices = [v for v in w.values() if v.dim() == 2]
    others = [v for v in w.values() if v.dim() != 2]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": DECAY},
                                   {"params": others, "weight_decay": 0.0}], lr=RATE)
    out = []
    for _ in range(STEPS):
        logits = run(w)
        kl = F.kl_div(F.log_softmax(logits / TEMPERATURE, -1), teacher, reduction="batchmean",
                      log_target=True)
        loss = (1 - SHARE) * F.cross_entropy(logits, torch.from_numpy(labels)) \
            + SHARE * TEMPERATURE ** 2 * kl
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        out.append(loss.item())
    return np.array(out)


if __name__ == "__main__":
    found = {name: losses(name) for name in CASES}
    safetensors_io.save(os.path.join(HERE, "texts.safetensors"), found)
    for title, values in found.items():
        print(title, np.round(values, 4))
