#!/usr/bin/python3
"""The same quantization-aware training steps in torch and in qexplore, on one core: CPU seconds a row.

Needs Debian's python3-torch and python3-numpy:

    OMP_NUM_THREADS=1 /usr/bin/python3 tests/bench/peer_train.py QEXPLORE

fashion-cnn from its checkpoint, LSQ at 4 bits for weights and inputs (per tensor), AdamW, batches of 64, half of
the loss by distillation. torch's figure is its loop alone; qexplore's is the difference between runs of one and
three epochs, with the measuring after each epoch in it, on 64 rows. CPU time on both sides, so that a busy
machine does not matter much; the two take turns, and the median of the rounds' ratios counts.
"""
import importlib.util
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

ROWS, BATCH, BITS, ROUNDS = 1280, 64, 4, 5


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


def program_seconds(program, few, home, epochs):
    """CPU seconds of a whole run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([program, "train", FOLDER, "--bits", str(BITS), "--act-bits", str(BITS), "--gran",
                    "tensor", "--epochs", str(epochs), "--max-rows", str(ROWS * 20 // 19), "--data", few,
                    "--calib", os.path.join(FOLDER, "calib.safetensors"), "--no-installed-data",
                    "--threads", "1", "-q", "--json"], check=True, capture_output=True,
                   env={**os.environ, "HOME": home, "OPENBLAS_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    torch.set_num_threads(1)
    tensors, _ = safetensors_io.load(os.path.join(FOLDER, "train.safetensors"))
    x = torch.from_numpy(tensors["x"][:ROWS].astype(np.float32) / 128)
    y = torch.from_numpy(tensors["labels"][:ROWS].astype(np.int64))
    calib, meta = safetensors_io.load(os.path.join(FOLDER, "calib.safetensors"))
    theirs, ours = [], []
    with tempfile.TemporaryDirectory() as home:
        few = os.path.join(home, "few.safetensors")
        safetensors_io.save(few, {name: a[:64] for name, a in calib.items()},
                            {key: v for key, v in meta.items() if key != "format"})
        for i in range(ROUNDS):
            theirs.append(torch_seconds(x, y))
            ours.append((program_seconds(sys.argv[1], few, home, 3) -
                         program_seconds(sys.argv[1], few, home, 1)) / (2 * ROWS))
            print(f"round {i + 1}: torch {1e3 * theirs[-1]:.3f} ms a row, qexplore "
                  f"{1e3 * ours[-1]:.3f} ms, torch / qexplore = {theirs[-1] / ours[-1]:.2f}",
                  flush=True)
    ratio = np.median(np.array(theirs) / np.array(ours))
    print(f"torch {torch.__version__}, medians: {1e3 * np.median(theirs):.3f} ms a row, qexplore "
          f"{1e3 * np.median(ours):.3f} ms; torch / qexplore = {ratio:.2f}")


if __name__ == "__main__":
    main()
