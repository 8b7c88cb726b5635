#!/usr/bin/python3
"""Reads a folder that `quantize -o` wrote and runs it in torch, with nothing of the program: one JSON line.

Of a graph {"correct", "n"} on eval.safetensors, of a llama {"perplexity", "tokens"}. What methods folded into
neighbours, or put into biases, must then be in the tensors; a factor that is nowhere would be missed here.
usage: folded.py FOLDER (Debian's python3-torch and python3-numpy)
"""
import json
import os
import sys

import numpy as np
import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../samples"))
import oracle  # noqa: E402
import reference_text  # noqa: E402
import safetensors_io  # noqa: E402


def main():
    folder = sys.argv[1]
    if os.path.exists(os.path.join(folder, "graph.json")):
        graph, weights, x, labels = oracle.load_folder(folder)
        answer = oracle.figure(oracle.run_rows(graph, weights, x), labels)
    else:
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
            config = json.load(f)
        weights, _ = safetensors_io.load(os.path.join(folder, "model.safetensors"))
        w = {name: torch.from_numpy(np.ascontiguousarray(a.astype(np.float32)))
             for name, a in weights.items()}
        docs = reference_text.documents(os.path.join(folder, "eval.safetensors"))
        answer = reference_text.perplexity(config, w, docs)
    print(json.dumps(answer))


with torch.no_grad():
    main()
