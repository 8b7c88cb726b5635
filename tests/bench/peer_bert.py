#!/usr/bin/python3
"""Sentences through a classifier of BERT-base's shape with random weights (the network of samples/bert-sentiment,
larger): the whole program beside torch.

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

SAMPLES = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
                       "samples")
sys.path[:0] = [SAMPLES, os.path.join(SAMPLES, "bert-sentiment")]
import make  # noqa: E402
import safetensors_io  # noqa: E402

LENGTH, WORDS, BATCH = 128, 30522, 32


def network(layers):
    make.LENGTH = LENGTH
    make.CONFIG.update(hidden_size=768, num_hidden_layers=layers, num_attention_heads=12,
                       intermediate_size=3072, vocab_size=WORDS, max_position_embeddings=LENGTH)
    return make.Bert().eval()


def folder_write(folder, net, ids, labels):
    safetensors_io.save(os.path.join(folder, "model.safetensors"), net.names(), {})
    safetensors_io.save(os.path.join(folder, "eval.safetensors"),
                        {"input_ids": ids.astype(np.int32),
                         "attention_mask": (ids != 0).astype(np.uint8),
                         "labels": labels.astype(np.uint8)}, {"task": "classification"})
    safetensors_io.write_json(os.path.join(folder, "config.json"), make.CONFIG)


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
    net = network(args.layers)
    int8 = torch.ao.quantization.quantize_dynamic(net, {torch.nn.Linear}, dtype=torch.qint8)
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
