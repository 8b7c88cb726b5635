#!/usr/bin/python3
"""The same quantization-aware training steps in torch and in qexplore, on one core: CPU seconds a row.

Needs Debian's python3-torch and python3-numpy:

    OMP_NUM_THREADS=1 /usr/bin/python3 tests/bench/peer_train.py QEXPLORE

fashion-cnn from its checkpoint, LSQ at 4 bits for weights and inputs (per tensor), AdamW, batches of 64, half of
the loss by distillation. torch's figure is its loop alone; qexplore's is the difference between runs of one and
three epochs: of its steps alone (wall time), and of all, with the measuring after each epoch in it (CPU time).
The two take turns, and the least of each counts.
"""
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
from torch.nn import functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
FOLDER = os.path.join(ROOT, "samples", "fashion-cnn")
sys.path.insert(0, os.path.join(ROOT, "samples"))
import safetensors_io  # noqa: E402

ROWS, BATCH, BITS, ROUNDS = 1280, 64, 4, 2


def module(name, *path):
    """A script of this project as a module."""
    spec = importlib.util.spec_from_file_location(name, os.path.join(ROOT, *path))
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


lsq = module("make_train", "tests", "golden", "train", "make_train.py").lsq
FashionCnn = module("make_cnn", "samples", "fashion-cnn", "make.py").FashionCnn


def quantized(layer):
    """Gives a layer LSQ quantizers of its weight and its input."""
    top, high = 2 ** (BITS - 1) - 1, 2 ** BITS - 1
    weight = layer.weight
    layer.step = torch.nn.Parameter(0.6 * weight.detach().abs().max() / top)
    layer.act = torch.nn.Parameter(torch.tensor(4.0 / high))

    def forward(x):
        w = lsq(weight, layer.step, 0, -top, top, weight.numel())
        x = lsq(x, layer.act, 0, 0, high, x[0].numel())
        if isinstance(layer, torch.nn.Linear):
            return F.linear(x, w, layer.bias)
        return F.conv2d(x, w, layer.bias, layer.stride, layer.padding, 1, layer.groups)
    layer.forward = forward


def torch_seconds(x, y):
    """CPU seconds a row of one pass over the rows."""
    weights, _ = safetensors_io.load(os.path.join(FOLDER, "model.safetensors"))
    state = {name: torch.from_numpy(a.copy()) for name, a in weights.items()}
    teacher, net = FashionCnn().eval(), FashionCnn()
    for model in (teacher, net):
        model.load_state_dict(state, strict=False)
    for layer in list(net.modules()):
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            quantized(layer)
    with torch.no_grad():
        answers = torch.cat([teacher(part) for part in x.split(BATCH)])
    opt = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-4)
    net.train()
    start = time.process_time()
    for i in range(0, len(x) - BATCH + 1, BATCH):
        logits = net(x[i:i + BATCH])
        far = F.kl_div(F.log_softmax(logits / 2, 1), F.softmax(answers[i:i + BATCH] / 2, 1),
                       reduction="batchmean") * 4
        loss = 0.5 * far + 0.5 * F.cross_entropy(logits, y[i:i + BATCH])
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5)
        opt.step()
    return (time.process_time() - start) / len(x)


def program_seconds(program, epochs):
    """CPU seconds of a whole run, and wall seconds of its steps alone."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run([program, "train", FOLDER, "--bits", str(BITS), "--act-bits", str(BITS),
                               "--gran", "tensor", "--epochs", str(epochs), "--max-rows",
                               str(ROWS * 20 // 19), "--data",
                               os.path.join(FOLDER, "calib.safetensors"), "--threads", "1", "-q",
                               "--json"], check=True, capture_output=True,
                              env={**os.environ, "HOME": home, "OPENBLAS_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return np.array([cpu, json.loads(done.stdout)["steps_s"]])


def main():
    torch.set_num_threads(1)
    tensors, _ = safetensors_io.load(os.path.join(FOLDER, "train.safetensors"))
    x = torch.from_numpy(tensors["x"][:ROWS].astype(np.float32) / 128)
    y = torch.from_numpy(tensors["labels"][:ROWS].astype(np.int64))
    theirs, ours = [], []
    for _ in range(ROUNDS):
        theirs.append(torch_seconds(x, y))
        ours.append((program_seconds(sys.argv[1], 3) - program_seconds(sys.argv[1], 1)) / (2 * ROWS))
    least, (all_of_it, steps) = min(theirs), np.min(ours, axis=0)
    print(f"torch {torch.__version__}: {1e3 * least:.3f} ms a row; "
          f"qexplore: {1e3 * steps:.3f} ms, torch / qexplore = {least / steps:.2f}; "
          f"measuring included {1e3 * all_of_it:.3f} ms, {least / all_of_it:.2f}")


if __name__ == "__main__":
    main()
