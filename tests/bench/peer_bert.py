#!/usr/bin/python3
"""Sentences through a classifier of BERT-base's shape with random weights: the whole program beside torch.

`qexplore eval` in FP32 and in INT8 with dynamic activations (per token), and torch in FP32 and after
torch.ao.quantization.quantize_dynamic, in turn on the same rows and cores. torch gets batches of rows of like
length, padded to the longest of the batch, as a careful user would do it. Times of the evaluation: reading
the file is not counted on either side, packing the weights is on ours. Prints medians, ratios, and how many classes
agree with torch's FP32.

usage: peer_bert.py QEXPLORE [--rows 512] [--layers 12] [--threads 2] [--rounds 3]
(Debian's python3-torch, python3-numpy)
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "samples"))
import safetensors_io  # noqa: E402

WIDTH, HEADS, INNER, LENGTH, WORDS, CLASSES, BATCH = 768, 12, 3072, 128, 30522, 3, 32
PARTS = (("query", "attention.self.query", WIDTH, WIDTH), ("key", "attention.self.key", WIDTH, WIDTH),
         ("value", "attention.self.value", WIDTH, WIDTH), ("mixed", "attention.output.dense", WIDTH, WIDTH),
         ("inner", "intermediate.dense", WIDTH, INNER), ("outer", "output.dense", INNER, WIDTH))
NORMS = (("norm1", "attention.output.LayerNorm"), ("norm2", "output.LayerNorm"))


class Bert(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.word, self.position = nn.Embedding(WORDS, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.kind, self.norm = nn.Embedding(2, WIDTH), nn.LayerNorm(WIDTH, 1e-12)
        self.layers = nn.ModuleList(nn.ModuleDict(
            {**{part: nn.Linear(k, n) for part, _, k, n in PARTS},
             **{norm: nn.LayerNorm(WIDTH, 1e-12) for norm, _ in NORMS}}) for _ in range(layers))
        self.pooler, self.classifier = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.05)

    def forward(self, ids):
        n, t = ids.shape
        x = self.norm(self.word(ids) + self.position.weight[:t] + self.kind.weight[0])
        mask = torch.zeros(n, 1, 1, t).masked_fill((ids == 0)[:, None, None], -float("inf"))
        for layer in self.layers:
            q, k, v = (layer[p](x).view(n, t, HEADS, -1).transpose(1, 2)
                       for p in ("query", "key", "value"))
            weights = (q @ k.transpose(2, 3) / (WIDTH // HEADS) ** 0.5 + mask).softmax(-1)
            x = layer["norm1"](x + layer["mixed"]((weights @ v).transpose(1, 2).reshape(n, t, -1)))
            x = layer["norm2"](x + layer["outer"](F.gelu(layer["inner"](x))))
        return self.classifier(torch.tanh(self.pooler(x[:, 0])))

    def names(self):
        at = "bert.embeddings"
        modules = {f"{at}.word_embeddings": self.word, f"{at}.position_embeddings": self.position,
                   f"{at}.token_type_embeddings": self.kind, f"{at}.LayerNorm": self.norm,
                   "bert.pooler.dense": self.pooler, "classifier": self.classifier}
        for i, layer in enumerate(self.layers):
            for part, name in [p[:2] for p in PARTS] + list(NORMS):
                modules[f"bert.encoder.layer.{i}.{name}"] = layer[part]
        return {f"{name}.{part}": p.detach().numpy() for name, module in modules.items()
                for part, p in module.named_parameters()}


def folder_write(folder, net, ids, labels):
    safetensors_io.save(os.path.join(folder, "model.safetensors"), net.names(), {})
    safetensors_io.save(os.path.join(folder, "eval.safetensors"),
                        {"input_ids": ids.astype(np.int32),
                         "attention_mask": (ids != 0).astype(np.uint8),
                         "labels": labels.astype(np.uint8)}, {"task": "classification"})
    safetensors_io.write_json(os.path.join(folder, "config.json"), {
        "architectures": ["BertForSequenceClassification"], "model_type": "bert",
        "hidden_size": WIDTH, "num_hidden_layers": len(net.layers), "num_attention_heads": HEADS,
        "intermediate_size": INNER, "vocab_size": WORDS, "max_position_embeddings": LENGTH,
        "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
        "id2label": {str(i): str(i) for i in range(CLASSES)}})


def torch_run(net, ids):
    """Seconds and classes, batches of rows of like length."""
    lengths = (ids != 0).sum(1)
    order = np.argsort(lengths, kind="stable")
    classes = np.empty(len(ids), int)
    start = time.perf_counter()
    with torch.inference_mode():
        for at in range(0, len(order), BATCH):
            rows = order[at:at + BATCH]
            classes[rows] = net(torch.from_numpy(ids[rows, :lengths[rows].max()])).argmax(1).numpy()
    return time.perf_counter() - start, classes


def ours_run(program, folder, threads, *flags):
    out = subprocess.run([program, "eval", folder, "--json", "--quiet", "--threads", str(threads),
                          *flags], stdout=subprocess.PIPE, check=True)
    answer = json.loads(out.stdout)
    return answer["time_s"], answer["metrics"]["accuracy"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", metavar="QEXPLORE")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    net = Bert(args.layers).eval()
    int8 = torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)
    ids = np.zeros((args.rows, LENGTH), np.int64)
    for row in ids:
        n = rng.integers(8, LENGTH + 1)
        row[:n] = rng.integers(1000, WORDS, n)
    labels = torch_run(net, ids)[1]
    times = {"torch fp32": [], "torch int8": [], "ours fp32": [], "ours int8": []}
    agree = {}
    with tempfile.TemporaryDirectory() as folder:
        folder_write(folder, net, ids, labels)
        for _ in range(args.rounds):
            for name, quantized in (("torch fp32", net), ("torch int8", int8)):
                seconds, classes = torch_run(quantized, ids)
                times[name].append(seconds)
                agree[name] = float((classes == labels).mean())
            for name, flags in (("ours fp32", ()), ("ours int8", ("--bits", "8", "--dynamic",
                                                                  "--act-gran", "token"))):
                seconds, agree[name] = ours_run(args.program, folder, args.threads, *flags)
                times[name].append(seconds)
    best = {name: statistics.median(t) for name, t in times.items()}
    for name, seconds in best.items():
        print(f"{name:11} {seconds:8.2f} s  {args.rows / seconds:7.1f} rows/s  agreement with "
              f"torch fp32 {100 * agree[name]:.2f} %")
    print(f"torch / ours: fp32 {best['torch fp32'] / best['ours fp32']:.2f}, "
          f"int8 {best['torch int8'] / best['ours int8']:.2f}; "
          f"fp32 / int8: ours {best['ours fp32'] / best['ours int8']:.2f}, "
          f"torch {best['torch fp32'] / best['torch int8']:.2f}")


if __name__ == "__main__":
    main()
