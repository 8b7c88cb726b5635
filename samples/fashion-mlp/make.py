#!/usr/bin/python3
"""Trains the sample network fashion-mlp and writes its model folder.

Needs Debian's python3-torch, python3-numpy and dataset-fashion-mnist:

    OMP_NUM_THREADS=1 /usr/bin/python3 samples/fashion-mlp/make.py [--epochs N] [--out DIR]

Writes model.safetensors, graph.json, eval.safetensors and calib.safetensors into this folder
(or DIR); samples/reference.py then computes reference.json and reference.safetensors from them.
The seed is fixed, and the same torch build with one thread gives the same weights; another build
gives a network of about the same accuracy, not the same bytes.

The test part of the data is never looked at during training: the number of epochs and every
other setting are fixed in advance.
"""
import argparse
import os
import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import safetensors_io  # noqa: E402
from fashion_mnist import (LABELS, SCALE, TRAIN, read_part, write_graph,  # noqa: E402
                           write_part)

SEED = 1
BATCH = 128
RATE = 0.1
WIDTHS = (14 * 14, 128, 96, 64, 10)


def halve(images):
    """28x28 to 14x14: the mean of 2x2 pixels, rounded to whole grey levels."""
    blocks = images.reshape(-1, 1, 14, 2, 14, 2).astype(np.uint16).sum(axis=(3, 5))
    return ((blocks + 2) // 4).astype(np.uint8)


class FashionMlp(nn.Module):
    """Four dense layers with Relu between them."""

    def __init__(self):
        super().__init__()
        self.dense1, self.dense2, self.dense3, self.head = (
            nn.Linear(a, b) for a, b in zip(WIDTHS, WIDTHS[1:]))

    def forward(self, x):
        x = x.flatten(1)
        for layer in (self.dense1, self.dense2, self.dense3):
            x = F.relu(layer(x))
        return self.head(x)


def graph():
    """The network as graph.json describes it; follows FashionMlp.forward."""
    nodes = [{"op": "Flatten", "name": "flatten", "inputs": ["x"], "outputs": ["flatten.out"],
              "attrs": {"axis": 1}}]
    x = "flatten.out"
    for name in ("dense1", "dense2", "dense3"):
        nodes.append({"op": "Gemm", "name": name,
                      "inputs": [x, f"{name}.weight", f"{name}.bias"],
                      "outputs": [f"{name}.out"], "attrs": {"transB": 1}})
        nodes.append({"op": "Relu", "name": f"{name}.relu", "inputs": [f"{name}.out"],
                      "outputs": [f"{name}.relu.out"], "attrs": {}})
        x = f"{name}.relu.out"
    nodes.append({"op": "Gemm", "name": "head", "inputs": [x, "head.weight", "head.bias"],
                  "outputs": ["logits"], "attrs": {"transB": 1}})
    return {"schema": "qexplore.graph/1", "name": "fashion-mlp", "task": "classification",
            "inputs": [{"name": "x", "dtype": "F32", "shape": ["N", 1, 14, 14]}],
            "nodes": nodes, "outputs": ["logits"], "train": TRAIN, "labels": LABELS}


def train(net, x, y, epochs):
    """SGD with momentum, the rate falling to 0 linearly."""
    rng = np.random.default_rng(SEED)
    steps = len(x) // BATCH
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE, momentum=0.9, nesterov=True,
                                weight_decay=2e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: 1 - i / (epochs * steps))
    for epoch in range(epochs):
        total = 0.0
        order = torch.from_numpy(rng.permutation(len(x)))
        for i in range(steps):
            rows = order[i * BATCH:(i + 1) * BATCH]
            loss = F.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}: loss {total / steps:.4f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", default=HERE, help="folder to write to")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)

    train_x, train_y = read_part("train")
    test_x, test_y = read_part("t10k")
    train_x, test_x = halve(train_x), halve(test_x)
    rows = np.arange(len(test_x)) % 5 < 2
    write_part(args.out, "fashion-mlp", "eval", test_x[rows], test_y[rows],
               "test part, the first two of every five images, at half size")
    write_part(args.out, "fashion-mlp", "calib", train_x[::117][:512], train_y[::117][:512],
               "training part, every 117th image, at half size")

    torch.manual_seed(SEED)
    net = FashionMlp()
    x, tx = (torch.from_numpy(part.astype(np.float32) * SCALE) for part in (train_x, test_x))
    y, ty = (torch.from_numpy(part.astype(np.int64)) for part in (train_y, test_y))
    train(net, x, y, args.epochs)
    with torch.no_grad():
        right = (net(tx).argmax(1) == ty).numpy()
    print(f"test part: {right.sum()} of {len(ty)} right; eval: {right[rows].sum()} of {rows.sum()}")

    safetensors_io.save(os.path.join(args.out, "model.safetensors"),
                        {name: t.numpy() for name, t in net.state_dict().items()},
                        {"name": "fashion-mlp", "source": "samples/fashion-mlp/make.py",
                         "licence": "MIT"})
    write_graph(os.path.join(args.out, "graph.json"), graph())
    print(f"{sum(p.numel() for p in net.parameters())} trained parameters")


if __name__ == "__main__":
    main()
