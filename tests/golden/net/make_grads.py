#!/usr/bin/python3
"""Writes the gradients of the networks beside this script, as torch's autograd has them.

Needs Debian's python3-torch and python3-numpy; run it after make_ops.py:

    /usr/bin/python3 tests/golden/net/make_grads.py

Each folder with a graph.json gets gradients.safetensors: the gradient of sum(logits * G) by every
float weight ("eval.NAME"), G[i] = cos(i) over all rows of eval.safetensors in order, computed in
float64 by samples/oracle.py. Where there is a BatchNormalization, also with the statistics of the
batch ("train.NAME"), and the running statistics one step of momentum 0.1 further ("next.NAME").
"""
import os
import sys

import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "..", "samples"))
import oracle  # noqa: E402
import safetensors_io  # noqa: E402

MOMENTUM = 0.1


def batch_norm_in_training(followed):
    """The operator with the batch's statistics; the running ones are followed in place."""
    def batch_norm(x, scale, bias, mean, var, *, epsilon=1e-5):
        stats = mean.detach().clone(), var.detach().clone()
        y = torch.nn.functional.batch_norm(x, *stats, scale, bias, True, MOMENTUM, epsilon)
        followed[id(mean)], followed[id(var)] = stats
        return y
    return batch_norm


def gradients(graph, weights, x, operators):
    """{name: gradient} of the float weights, and {name: tensor} of what was run on."""
    values = {name: torch.from_numpy(np.array(a)) for name, a in weights.items()}
    values = {name: v.double().requires_grad_() if v.is_floating_point() else v.long()
              for name, v in values.items()}
    given = dict(values)
    values[graph["inputs"][0]["name"]] = torch.from_numpy(np.array(x)).to(
        torch.int64 if x.dtype == np.int64 else torch.float64)
    for node in graph["nodes"]:
        inputs = [values[name] if name else None for name in node["inputs"]]
        values[node["outputs"][0]] = operators[node["op"]](*inputs, **node["attrs"])
    logits = values[graph["outputs"][0]]
    weight = torch.cos(torch.arange(logits.numel(), dtype=torch.float64)).reshape(logits.shape)
    (logits * weight).sum().backward()
    given = {name: v for name, v in given.items() if v.is_floating_point()}
    return {name: np.zeros(v.shape, np.float32) if v.grad is None
            else v.grad.numpy().astype(np.float32) for name, v in given.items()}, given


def write(folder):
    graph, weights, x, _ = oracle.load_folder(folder)
    found, _ = gradients(graph, weights, x, oracle.OPERATORS)
    out = {f"eval.{name}": g for name, g in found.items()}
    if any(node["op"] == "BatchNormalization" for node in graph["nodes"]):
        followed = {}
        operators = {**oracle.OPERATORS, "BatchNormalization": batch_norm_in_training(followed)}
        found, given = gradients(graph, weights, x, operators)
        out.update({f"train.{name}": g for name, g in found.items()})
        out.update({f"next.{name}": followed[id(v)].numpy().astype(np.float32)
                    for name, v in given.items() if id(v) in followed})
    safetensors_io.save(os.path.join(folder, "gradients.safetensors"), out)


def main():
    for name in sorted(os.listdir(HERE)):
        if os.path.exists(os.path.join(HERE, name, "graph.json")):
            write(os.path.join(HERE, name))


if __name__ == "__main__":
    main()
