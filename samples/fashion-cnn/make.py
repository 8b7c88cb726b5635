#!/usr/bin/python3
"""Trains the sample network fashion-cnn and writes its model folder.

Needs Debian's python3-torch, python3-numpy and dataset-fashion-mnist:

    OMP_NUM_THREADS=2 /usr/bin/python3 samples/fashion-cnn/make.py [--epochs N] [--out DIR]

Writes model.safetensors, graph.json, eval.safetensors and calib.safetensors into this folder
(or DIR); samples/reference.py then computes reference.json and reference.safetensors from
them. It also writes train.safetensors, 10,000 images for training from the checkpoint; with
--data it writes the data files only and trains nothing. The seed is fixed, and the same torch build with the same number of threads gives the
same weights; another build gives a network of about the same accuracy, not the same bytes.

The test part of the data is never looked at during training: the number of epochs and every
other setting are fixed in advance.
"""
import argparse
import os
import sys
import time

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
PEAK_RATE = 0.2


class Unit(nn.Module):
    """Convolution without bias, then batch normalization; relu is the caller's."""

    def __init__(self, inputs, outputs, kernel=3, group=1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=group,
                              bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return self.bn(self.conv(x))


class Residual(nn.Module):
    """relu(x + b(relu(a(x))))"""

    def __init__(self, channels):
        super().__init__()
        self.a = Unit(channels, channels)
        self.b = Unit(channels, channels)

    def forward(self, x):
        return F.relu(x + self.b(F.relu(self.a(x))))


class FashionCnn(nn.Module):
    """Plain, residual, depthwise and pointwise convolutions, then two dense layers."""

    def __init__(self):
        super().__init__()
        self.stem = Unit(1, 16)
        self.widen1 = Unit(16, 32)
        self.block1 = Residual(32)
        self.widen2 = Unit(32, 64)
        self.block2 = Residual(64)
        self.depthwise = Unit(64, 64, group=64)
        self.pointwise = Unit(64, 128, kernel=1)
        self.dense = nn.Linear(128, 64)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.stem(x)), 2)
        x = self.block1(F.relu(self.widen1(x)))
        x = F.max_pool2d(x, 2)
        x = self.block2(F.relu(self.widen2(x)))
        x = F.relu(self.pointwise(F.relu(self.depthwise(x))))
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.head(F.relu(self.dense(x)))


class GraphWriter:
    """Collects the nodes of graph.json; each method returns the name of its output."""

    def __init__(self):
        self.nodes = []

    def node(self, op, name, inputs, output=None, **attrs):
        output = output or f"{name}.out"
        self.nodes.append({"op": op, "name": name, "inputs": inputs, "outputs": [output],
                           "attrs": attrs})
        return output

    def unit(self, name, module, x):
        conv = module.conv
        (kh, kw), (ph, pw) = conv.kernel_size, conv.padding
        x = self.node("Conv", f"{name}.conv", [x, f"{name}.conv.weight"], kernel_shape=[kh, kw],
                      strides=[1, 1], pads=[ph, pw, ph, pw], dilations=[1, 1],
                      group=conv.groups)
        return self.node("BatchNormalization", f"{name}.bn",
                         [x] + [f"{name}.bn.{part}"
                                for part in ("weight", "bias", "running_mean", "running_var")],
                         epsilon=module.bn.eps)

    def relu(self, name, x):
        return self.node("Relu", f"{name}.relu", [x])

    def residual(self, name, module, x):
        y = self.relu(f"{name}.a", self.unit(f"{name}.a", module.a, x))
        y = self.unit(f"{name}.b", module.b, y)
        return self.relu(name, self.node("Add", f"{name}.add", [x, y]))

    def pool(self, name, x):
        return self.node("MaxPool", name, [x], kernel_shape=[2, 2], strides=[2, 2])

    def dense(self, name, x, output=None):
        return self.node("Gemm", name, [x, f"{name}.weight", f"{name}.bias"], output, transB=1)


def graph_of(net):
    """The network as graph.json describes it; follows FashionCnn.forward."""
    g = GraphWriter()
    x = g.pool("pool1", g.relu("stem", g.unit("stem", net.stem, "x")))
    x = g.relu("widen1", g.unit("widen1", net.widen1, x))
    x = g.pool("pool2", g.residual("block1", net.block1, x))
    x = g.relu("widen2", g.unit("widen2", net.widen2, x))
    x = g.residual("block2", net.block2, x)
    for name in ("depthwise", "pointwise"):
        x = g.relu(name, g.unit(name, getattr(net, name), x))
    x = g.node("Flatten", "flatten", [g.node("GlobalAveragePool", "mean", [x])])
    x = g.relu("dense", g.dense("dense", x))
    g.dense("head", x, "logits")
    return {"schema": "qexplore.graph/1", "name": "fashion-cnn", "task": "classification",
            "inputs": [{"name": "x", "dtype": "F32", "shape": ["N", 1, 28, 28]}],
            "nodes": g.nodes, "outputs": ["logits"], "train": TRAIN, "labels": LABELS}


def augment(x, rng):
    """Mirrors half of the images and moves each batch by up to two pixels."""
    flip = torch.from_numpy(rng.random(len(x)) < 0.5)
    x = torch.where(flip[:, None, None, None], x.flip(3), x)
    down, right = rng.integers(0, 5, 2)
    return F.pad(x, (2, 2, 2, 2))[:, :, down:down + 28, right:right + 28]


def correct(net, x, y):
    """Number of rows whose largest logit is the label."""
    net.eval()
    with torch.no_grad():
        return sum(int((net(a).argmax(1) == b).sum()) for a, b in zip(x.split(500), y.split(500)))


def train(net, x, y, epochs):
    """SGD with momentum; the rate rises for two epochs, then falls to 0 linearly."""
    rng = np.random.default_rng(SEED)
    steps = len(x) // BATCH
    optimizer = torch.optim.SGD(net.parameters(), lr=PEAK_RATE, momentum=0.9, nesterov=True,
                                weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(
        (i + 1) / (2 * steps), (epochs * steps - i) / ((epochs - 2) * steps)))
    for epoch in range(epochs):
        net.train()
        start, total = time.time(), 0.0
        order = torch.from_numpy(rng.permutation(len(x)))
        for i in range(steps):
            rows = order[i * BATCH:(i + 1) * BATCH]
            loss = F.cross_entropy(net(augment(x[rows], rng)), y[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}: loss {total / steps:.4f}, {time.time() - start:.0f} s",
              flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--out", default=HERE, help="folder to write to")
    parser.add_argument("--data", action="store_true", help="write the data files only")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)

    train_x, train_y = read_part("train")
    test_x, test_y = read_part("t10k")
    write_part(args.out, "fashion-cnn", "eval", test_x[::5], test_y[::5],
               "test part, every 5th image")
    write_part(args.out, "fashion-cnn", "calib", train_x[::117][:512], train_y[::117][:512],
               "training part, every 117th image")
    write_part(args.out, "fashion-cnn", "train", train_x[::6], train_y[::6],
               "training part, every 6th image")
    if args.data:
        return

    torch.manual_seed(SEED)
    net = FashionCnn()
    x, tx = (torch.from_numpy(part.astype(np.float32) * SCALE) for part in (train_x, test_x))
    y, ty = (torch.from_numpy(part.astype(np.int64)) for part in (train_y, test_y))
    train(net, x, y, args.epochs)
    print(f"test part: {correct(net, tx, ty)} of {len(ty)} right; "
          f"eval: {correct(net, tx[::5], ty[::5])} of {len(ty[::5])}")

    weights = {name: t.numpy() for name, t in net.state_dict().items()
               if not name.endswith("num_batches_tracked")}
    safetensors_io.save(os.path.join(args.out, "model.safetensors"), weights,
                        {"name": "fashion-cnn", "source": "samples/fashion-cnn/make.py",
                         "licence": "MIT"})
    write_graph(os.path.join(args.out, "graph.json"), graph_of(net))
    print(f"{sum(p.numel() for p in net.parameters())} trained parameters")


if __name__ == "__main__":
    main()
