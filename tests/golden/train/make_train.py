#!/usr/bin/python3
"""Ten steps of quantization-aware training of small networks, in torch.

Needs Debian's python3-torch and python3-numpy:

    /usr/bin/python3 tests/golden/train/make_train.py

Writes conv/ beside this script: graph.json, model.safetensors, eval.safetensors (96 rows, labels), and
losses.safetensors: the loss of each of ten steps, all rows each, for every pair QUANTIZER.OPTIMIZER,
in float64. Weights and inputs have 8 bits: with fewer, one value that float32 rounds to the next code moves the
loss by more than the tolerance. Scales start at T = 0.8 of the largest weight and at an input range of 0 to 2
(the graph's input: -2 to 2). The quantizers are written here from the papers' formulas. Rows and weights are the
first drawn ones whose losses stay within 4e-5 while everything that is rounded is moved by a few units in the last
place of float32, so that no value of theirs lies between two codes.
"""
import json
import os
import sys

import numpy as np
import torch
from torch.nn import functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "..", "samples"))
import safetensors_io  # noqa: E402

BITS, STEPS, BATCH, ROWS, CLASSES = 8, 10, 96, 96, 5
PAIRS = [(q, o) for q in ("lsq", "pact", "ste") for o in ("adamw", "sgd")]
STEADY = 4e-5


class Round(torch.autograd.Function):
    """rint with slope 1."""
    @staticmethod
    def forward(_, x):
        return torch.round(x)

    @staticmethod
    def backward(_, g):
        return g


class ScaleGradient(torch.autograd.Function):
    """The same value, the gradient times g."""
    @staticmethod
    def forward(ctx, x, g):
        ctx.g = g
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.g, None


def lsq(x, scale, zero, lo, hi, n):
    """arXiv 1902.08153: clamp, round with slope 1, gradient of the scale by 1 / sqrt(n hi)."""
    scale = ScaleGradient.apply(scale, 1 / np.sqrt(n * hi))
    v = torch.clamp(x / scale, lo - zero, hi - zero)
    return Round.apply(v) * scale


def straight(x, scale, zero, lo, hi):
    """Slope 1 where the code is within its range."""
    code = torch.round(x / scale) + zero
    inside = ((code >= lo) & (code <= hi)).to(x.dtype)
    value = (torch.clamp(code, lo, hi) - zero) * scale
    return (x * inside) + (value - x * inside).detach()


class Pact(torch.autograd.Function):
    """arXiv 1805.06085, with a lower end that learns alike; the gradient is that by the scale."""
    @staticmethod
    def forward(ctx, x, scale, zero, lo, hi):
        ctx.save_for_backward(x, scale)
        ctx.ends = lo - zero, hi - zero
        return (torch.clamp(torch.round(x / scale) + zero, lo, hi) - zero) * scale

    @staticmethod
    def backward(ctx, g):
        x, scale = ctx.saved_tensors
        lo, hi = ctx.ends
        below, above = x < lo * scale, x >= hi * scale
        d_scale = lo * (g * below).sum() + hi * (g * above).sum()
        return g * ~(below | above), d_scale.reshape(scale.shape), None, None, None


class Net(torch.nn.Module):
    def __init__(self, weights, quantizer, noise=None):
        super().__init__()
        self.quantizer, self.noise = quantizer, noise
        self.p = torch.nn.ParameterDict({
            name.replace(".", "_"): torch.nn.Parameter(torch.from_numpy(a.astype(np.float64)))
            for name, a in weights.items() if "running" not in name})
        self.mean = torch.from_numpy(weights["bn.running_mean"].astype(np.float64))
        self.var = torch.from_numpy(weights["bn.running_var"].astype(np.float64))
        top = 2 ** (BITS - 1) - 1
        for name in ("conv", "deep", "head"):
            w = self.p[f"{name}_weight"]
            t = np.float32(0.8 * float(w.abs().max()))
            step = torch.tensor(float(t / np.float32(top)), dtype=torch.float64)
            scale = (4 if name == "conv" else 2) / (2 ** BITS - 1)
            act = torch.tensor(float(np.float32(scale)), dtype=torch.float64)
            if quantizer == "lsq":
                self.p[f"{name}_step"] = torch.nn.Parameter(step)
            if quantizer in ("lsq", "pact"):
                self.p[f"{name}_act"] = torch.nn.Parameter(act)
            else:
                self.register_buffer(f"{name}_act", act)

    def moved(self, x):
        """As float32 might have it instead."""
        if self.noise is None:
            return x
        return x * (1 + 3e-7 * torch.randn(x.shape, dtype=x.dtype, generator=self.noise))

    def weight(self, name):
        w, top = self.moved(self.p[f"{name}_weight"]), 2 ** (BITS - 1) - 1
        if self.quantizer == "lsq":
            return lsq(w, self.p[f"{name}_step"], 0, -top, top, w.numel())
        return straight(w, 0.8 * w.detach().abs().max() / top, 0, -top, top)

    def act(self, name, x):
        x = self.moved(x)
        hi, zero = 2 ** BITS - 1, 2 ** (BITS - 1) if name == "conv" else 0
        features = x[0].numel()
        if self.quantizer == "lsq":
            return lsq(x, self.p[f"{name}_act"], zero, 0, hi, features)
        if self.quantizer == "pact":
            scale = ScaleGradient.apply(self.p[f"{name}_act"], 1 / np.sqrt(features * hi))
            return Pact.apply(x, scale, zero, 0, hi)
        return straight(x, getattr(self, f"{name}_act"), zero, 0, hi)

    def forward(self, x):
        p = self.p
        x = F.conv2d(self.act("conv", x), self.weight("conv"), padding=1)
        x = F.batch_norm(x, self.mean, self.var, p["bn_weight"], p["bn_bias"], True, 0.1, 1e-5)
        x = F.max_pool2d(F.relu(x), 2)
        x = F.relu(F.conv2d(self.act("deep", x), self.weight("deep"), p["deep_bias"], groups=8))
        return F.linear(self.act("head", x.flatten(1)), self.weight("head"), p["head_bias"])


def losses(weights, x, y, quantizer, optimizer, noise=None):
    net = Net(weights, quantizer, noise)
    decayed = [v for name, v in net.p.items()
               if name.endswith("_weight") and not name.startswith("bn")]
    scales = [v for name, v in net.p.items() if name.endswith(("_step", "_act"))]
    others = [v for name, v in net.p.items()
              if not any(v is d for d in decayed) and not any(v is d for d in scales)]
    rate = 1e-3 if optimizer == "adamw" else 0.02
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    # the rate of a scale is in proportion to it
    share = 10 if optimizer == "adamw" else 1
    groups += [{"params": [v], "weight_decay": 0.0, "lr": rate * share * v.item()} for v in scales]
    opt = (torch.optim.AdamW(groups, lr=rate) if optimizer == "adamw"
           else torch.optim.SGD(groups, lr=rate, momentum=0.9))
    out = []
    for i in range(STEPS):
        rows = slice(i % (ROWS // BATCH) * BATCH, i % (ROWS // BATCH) * BATCH + BATCH)
        loss = F.cross_entropy(net(x[rows]), y[rows])
        opt.zero_grad()
        loss.backward()
        opt.step()
        out.append(loss.item())
    return np.array(out, np.float64)


def graph():
    def node(op, name, inputs, output=None, **attrs):
        return {"op": op, "name": name, "inputs": inputs, "outputs": [output or f"{name}.out"],
                "attrs": attrs}
    stats = [f"bn.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
    nodes = [node("Conv", "conv", ["x", "conv.weight"], pads=[1, 1, 1, 1]),
             node("BatchNormalization", "bn", ["conv.out", *stats]),
             node("Relu", "relu", ["bn.out"]),
             node("MaxPool", "pool", ["relu.out"], kernel_shape=[2, 2], strides=[2, 2]),
             node("Conv", "deep", ["pool.out", "deep.weight", "deep.bias"], group=8),
             node("Relu", "relu2", ["deep.out"]),
             node("Flatten", "flatten", ["relu2.out"]),
             node("Gemm", "head", ["flatten.out", "head.weight", "head.bias"], "logits", transB=1)]
    return {"schema": "qexplore.graph/1", "name": "conv", "task": "classification",
            "inputs": [{"name": "x", "dtype": "F32", "shape": ["N", 1, 10, 10]}],
            "nodes": nodes, "outputs": ["logits"]}


def draw(seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, ROWS).astype(np.uint8)
    centres = rng.normal(size=(CLASSES, 1, 10, 10))
    x = (0.7 * centres[y] + 0.5 * rng.normal(size=(ROWS, 1, 10, 10))).astype(np.float32)
    weights = {"conv.weight": rng.normal(size=(8, 1, 3, 3)) / 3,
               "bn.weight": rng.uniform(0.7, 1.3, 8), "bn.bias": rng.normal(size=8) * 0.1,
               "bn.running_mean": rng.normal(size=8) * 0.1,
               "bn.running_var": rng.uniform(0.7, 1.3, 8),
               "deep.weight": rng.normal(size=(8, 1, 3, 3)) / 3,
               "deep.bias": rng.normal(size=8) * 0.1,
               "head.weight": rng.normal(size=(CLASSES, 72)) / 8.5,
               "head.bias": rng.normal(size=CLASSES) * 0.1}
    return x, y, {name: a.astype(np.float32) for name, a in weights.items()}


def pair_losses(x, y, weights, pair, seed=None):
    noise = None if seed is None else torch.Generator().manual_seed(seed)
    x, y = torch.from_numpy(x.astype(np.float64)), torch.from_numpy(y.astype(np.int64))
    return losses(weights, x, y, *pair, noise)


def is_steady(drawn):
    """Do the losses stay where they are while the last places of float32 move?"""
    for pair in PAIRS:
        found = pair_losses(*drawn, pair)
        if any(np.abs(pair_losses(*drawn, pair, seed) - found).max() > STEADY
               for seed in range(8)):
            return False
    return True


def main():
    seed = 39  # the first one from 7 on
    while not is_steady(draw(seed)):
        seed += 1
    x, y, weights = drawn = draw(seed)
    print("drawn by seed", seed)
    folder = os.path.join(HERE, "conv")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "graph.json"), "w", encoding="utf-8") as f:
        json.dump(graph(), f, indent=1)
        f.write("\n")
    safetensors_io.save(os.path.join(folder, "model.safetensors"), weights)
    safetensors_io.save(os.path.join(folder, "eval.safetensors"), {"x": x, "labels": y},
                        {"task": "classification", "n": str(ROWS)})
    found = {".".join(pair): pair_losses(*drawn, pair) for pair in PAIRS}
    safetensors_io.save(os.path.join(folder, "losses.safetensors"), found)
    for name, values in found.items():
        print(name, np.round(values, 4))


if __name__ == "__main__":
    main()
