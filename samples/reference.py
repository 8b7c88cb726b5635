#!/usr/bin/python3
"""Computes reference.json and reference.safetensors of a model folder with a graph.json.

Needs Debian's python3-torch and python3-numpy. Runs graph.json with the operators of
samples/oracle.py, not the network of the folder's make.py, so it also checks that the graph is
the network that was trained (make.py prints its own count of right answers). Prints the figures
that MODEL.md states.

    /usr/bin/python3 samples/reference.py FOLDER
"""
import os
import sys

import oracle
import safetensors_io

BITS = (8, 6, 5, 4, 3, 2)
GRANULARITIES = ("channel", "tensor", "group:32")


def figures(graph, weights, axes, x, labels):
    """{granularity: {bits: figure}} with the tensors of axes rounded."""
    table = {}
    for granularity in GRANULARITIES:
        table[granularity] = {}
        for bits in BITS:
            rounded = oracle.round_weights(weights, axes, granularity, bits)
            entry = oracle.figure(oracle.run_rows(graph, rounded, x), labels)
            table[granularity][str(bits)] = entry
            print(f"{granularity:9} {bits} bits: {entry['correct']} of {entry['n']}", flush=True)
    return table


def print_layers(graph, weights, axes, x, labels):
    """Right answers with a single layer rounded, and all others in fp32."""
    for name, axis in axes.items():
        row = [oracle.figure(oracle.run_rows(
            graph, oracle.round_weights(weights, {name: axis}, granularity, bits), x),
            labels)["correct"] for granularity in ("channel", "tensor") for bits in (4, 3, 2)]
        print(f"{name} {list(weights[name].shape)} alone, channel 4 3 2, tensor 4 3 2: {row}",
              flush=True)


def main():
    folder = sys.argv[1]
    graph, weights, x, labels = oracle.load_folder(folder)
    linear, tables = oracle.quantized_tensors(graph, weights)
    logits = oracle.run_rows(graph, weights, x)
    fp32 = oracle.figure(logits, labels)
    print(f"fp32: {fp32['correct']} of {fp32['n']}")
    safetensors_io.write_json(os.path.join(folder, "reference.json"), {
        "schema": "qexplore.reference/1", "model": graph["name"],
        "sets": {"eval.safetensors": {
            "fp32": fp32,
            "rtn_sym_all": figures(graph, weights, {**linear, **tables}, x, labels)}},
        "quantized_tensors": {"linear": list(linear), "embedding": list(tables)}})
    safetensors_io.save(os.path.join(folder, "reference.safetensors"), {"logits": logits[:16]},
                        {"name": graph["name"],
                         "of": "fp32 logits of the first rows of eval.safetensors"})
    print_layers(graph, weights, linear, x, labels)


if __name__ == "__main__":
    main()
