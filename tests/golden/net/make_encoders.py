#!/usr/bin/python3
"""Writes small model folders of the encoder families (config.json), with reference figures.

Needs Debian's python3-torch and python3-numpy:

    /usr/bin/python3 tests/golden/net/make_encoders.py

Each folder of CASES holds config.json, model.safetensors, eval.safetensors (input_ids,
attention_mask with sequences of all lengths and one hole, labels), and the reference files that
make_ops.py writes. The logits are computed in float64 on padded batches with masked scores, as the
models' own classes do it: nothing is shared with the engine, which leaves padding out.
"""
import os
import shutil
import sys

import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "..", "samples"))
import oracle  # noqa: E402
import safetensors_io  # noqa: E402

D, HEADS, INNER, LAYERS, VOCABULARY, PLACES, CLASSES = 32, 4, 48, 2, 60, 12, 3
ROUNDED = [("all", "channel", 4), ("linear", "tensor", 3), ("linear", "group:32", 4)]

BERT = {
    "prefix": "bert.", "config": {"model_type": "bert", "hidden_act": "gelu"},
    "keys": ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    "names": {"word": "embeddings.word_embeddings", "position": "embeddings.position_embeddings",
              "type": "embeddings.token_type_embeddings", "norm": "embeddings.LayerNorm",
              "layer": "encoder.layer.", "q": "attention.self.query", "k": "attention.self.key",
              "v": "attention.self.value", "o": "attention.output.dense",
              "on": "attention.output.LayerNorm", "up": "intermediate.dense",
              "down": "output.dense", "dn": "output.LayerNorm"},
    "head": ("bert.pooler.dense", torch.tanh, "classifier"), "offset": 0, "epsilon": 1e-12}
ROBERTA = {**BERT, "prefix": "roberta.",
           "config": {"model_type": "xlm-roberta", "hidden_act": "gelu", "pad_token_id": 1,
                      "layer_norm_eps": 1e-5},
           "head": ("classifier.dense", torch.tanh, "classifier.out_proj"),
           "offset": 2, "epsilon": 1e-5}
DISTILBERT = {
    "prefix": "distilbert.", "config": {"model_type": "distilbert", "activation": "gelu"},
    "keys": ("dim", "n_layers", "n_heads", "hidden_dim"),
    "names": {"word": "embeddings.word_embeddings", "position": "embeddings.position_embeddings",
              "norm": "embeddings.LayerNorm", "layer": "transformer.layer.",
              "q": "attention.q_lin", "k": "attention.k_lin", "v": "attention.v_lin",
              "o": "attention.out_lin", "on": "sa_layer_norm", "up": "ffn.lin1",
              "down": "ffn.lin2", "dn": "output_layer_norm"},
    "head": ("pre_classifier", torch.relu, "classifier"), "offset": 0, "epsilon": 1e-12}

CASES = {
    "encoder_bert": BERT,
    # names of the first release: no model_type, gamma and beta; the tanh form of gelu
    "encoder_bert_old": {**BERT, "old_names": True, "config": {"hidden_act": "gelu_new"}},
    # an encoder alone: no prefix, relu, mean over the places
    "encoder_bert_bare": {**BERT, "prefix": "", "head": None,
                          "config": {"model_type": "bert", "hidden_act": "relu",
                                     "architectures": ["BertModel"]}},
    "encoder_roberta": ROBERTA,
    "encoder_distilbert": DISTILBERT,
}


def make_weights(case, rng):
    """All tensors, and which of them are linear weights and tables."""
    names, weights, linear, tables = case["names"], {}, {}, {}

    def add(name, shape, scale, centre=0.0):
        weights[name] = (centre + rng.normal(size=shape) * scale).astype(np.float32)

    def table(key, rows):
        add(case["prefix"] + names[key] + ".weight", (rows, D), 0.7)
        tables[case["prefix"] + names[key] + ".weight"] = 0

    def dense(base, rows, columns):
        add(base + ".weight", (rows, columns), 1.3 / np.sqrt(columns))
        add(base + ".bias", (rows,), 0.3)
        linear[base + ".weight"] = 0

    def norm(base):
        ends = ("gamma", "beta") if case.get("old_names") else ("weight", "bias")
        add(f"{base}.{ends[0]}", (D,), 0.2, 1.0)
        add(f"{base}.{ends[1]}", (D,), 0.2)

    table("word", VOCABULARY)
    table("position", PLACES + case["offset"])
    if "type" in names:
        table("type", 2)
    norm(case["prefix"] + names["norm"])
    for i in range(LAYERS):
        base = f"{case['prefix']}{names['layer']}{i}."
        for key in ("q", "k", "v", "o"):
            dense(base + names[key], D, D)
        norm(base + names["on"])
        dense(base + names["up"], INNER, D)
        dense(base + names["down"], D, INNER)
        norm(base + names["dn"])
    if case["head"]:
        dense(case["head"][0], D, D)
        dense(case["head"][2], CLASSES, D)
    return weights, linear, tables


def activation(config):
    name = config.get("hidden_act", config.get("activation"))
    return {"gelu": torch.nn.functional.gelu, "relu": torch.relu,
            "gelu_new": lambda x: 0.5 * x * (1 + torch.tanh(
                np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))}[name]


def forward(case, w, ids, mask):
    """Logits [N, classes], or mean vectors, of float64 tensors."""
    names = case["names"]
    n, length = ids.shape
    mask = torch.tensor(mask.astype(np.float64))
    blocked = torch.where(mask[:, None, None, :] > 0, 0.0, -np.inf)

    def dense(base, x):
        return x @ w[base + ".weight"].T + w[base + ".bias"]

    def norm(base, x):
        scale = w.get(base + ".gamma", w.get(base + ".weight"))
        shift = w.get(base + ".beta", w.get(base + ".bias"))
        x = x - x.mean(-1, keepdim=True)
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + case["epsilon"]) * scale + shift

    def heads(x):
        return x.reshape(n, length, HEADS, D // HEADS).transpose(1, 2)

    prefix, offset = case["prefix"], case["offset"]
    x = w[f"{prefix}{names['word']}.weight"][torch.tensor(ids.astype(np.int64))]
    x = x + w[f"{prefix}{names['position']}.weight"][offset:offset + length]
    if "type" in names:
        x = x + w[f"{prefix}{names['type']}.weight"][0]
    x = norm(prefix + names["norm"], x)
    for i in range(LAYERS):
        base = f"{prefix}{names['layer']}{i}."
        q, k, v = (heads(dense(base + names[key], x)) for key in ("q", "k", "v"))
        scores = q @ k.transpose(2, 3) / np.sqrt(D // HEADS) + blocked
        mixed = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(n, length, D)
        x = norm(base + names["on"], x + dense(base + names["o"], mixed))
        y = activation(case["config"])(dense(base + names["up"], x))
        x = norm(base + names["dn"], x + dense(base + names["down"], y))
    if case["head"]:
        first, act, last = case["head"]
        return dense(last, act(dense(first, x[:, 0])))
    return (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)


def run(case, weights, ids, mask):
    w = {name: torch.tensor(value, dtype=torch.float64) for name, value in weights.items()}
    return forward(case, w, ids, mask).numpy()


def make_rows(rng, n):
    ids = rng.integers(2, VOCABULARY, size=(n, PLACES)).astype(np.uint16)
    mask = (np.arange(PLACES) <= (np.arange(n) % PLACES)[:, None]).astype(np.uint8)
    mask[PLACES - 1, 4] = 0
    return np.where(mask, ids, 1).astype(np.uint16), mask


def write_case(seed, name, case):
    rng = np.random.default_rng(seed + 100)
    folder = os.path.join(HERE, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    weights, linear, tables = make_weights(case, rng)
    config = dict(case["config"])
    config.update(zip(case["keys"], (D, LAYERS, HEADS, INNER)))
    config.update(vocab_size=VOCABULARY, max_position_embeddings=PLACES + case["offset"])
    if case["head"]:
        config["id2label"] = {str(i): f"class {i}" for i in range(CLASSES)}
    ids, mask = make_rows(rng, 20)
    logits = run(case, weights, ids, mask)
    labels = logits.argmax(axis=1)
    labels[::4] = (labels[::4] + 1) % logits.shape[1]

    def path(file):
        return os.path.join(folder, file)

    def save(file, tensors):
        safetensors_io.save(path(file), tensors, {"name": name})

    safetensors_io.write_json(path("config.json"), config)
    save("model.safetensors", weights)
    save("eval.safetensors", {"input_ids": ids, "attention_mask": mask,
                              "labels": labels.astype(np.uint8)})
    save("reference.safetensors", {"logits": logits[:16].astype(np.float32)})
    rounded = {}
    for scope, granularity, bits in ROUNDED:
        axes = {**linear, **tables} if scope == "all" else linear
        w = oracle.round_weights(weights, axes, granularity, bits)
        rounded[f"{scope}.{granularity}.{bits}"] = run(case, w, ids, mask)[:16].astype(np.float32)
    save("reference_quant.safetensors", rounded)
    safetensors_io.write_json(path("reference.json"), {
        "schema": "qexplore.reference/1", "model": name,
        "sets": {"eval.safetensors": {"fp32": oracle.figure(logits, labels)}},
        "quantized_tensors": {"linear": list(linear), "embedding": list(tables)}})
    safetensors_io.write_bytes(path("NOTICE.md"), (
        f"# {name}\nRandom numbers written by tests/golden/net/make_encoders.py. Apache-2.0.\n")
        .encode())


if __name__ == "__main__":
    for number, (title, description) in enumerate(CASES.items()):
        write_case(number, title, description)
