#!/usr/bin/python3
"""Computes reference.json and reference.safetensors of a language model or a text classifier.

Needs Debian's python3-torch and python3-numpy. Runs the families of config.json (llama, bert) from
their tensors, by Hugging Face's definitions, with none of the code that trained them.

    OMP_NUM_THREADS=1 /usr/bin/python3 samples/reference_text.py FOLDER
"""
import json
import math
import os
import sys

import numpy as np
import torch
from torch.nn import functional as F

import oracle
import safetensors_io

BITS = (8, 4, 3)
GRANULARITIES = ("channel", "tensor", "group:32")
BATCH = 32


def rms_norm(x, weight, epsilon):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + epsilon) * weight


def rotate(x, theta):
    """Rotary positions, half-split: pairs (i, i + size / 2) turn by position * theta^(-2i/size)."""
    size, t = x.shape[-1], x.shape[-2]
    i = torch.arange(size // 2, dtype=torch.float64)
    angle = (torch.arange(t, dtype=torch.float64)[:, None] * theta ** (-2 * i / size)).float()
    a, b = x[..., :size // 2], x[..., size // 2:]
    return torch.cat((a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()), -1)


def heads(x, n):
    return x.unflatten(-1, (n, -1)).transpose(1, 2)


def attend(q, k, v, mask):
    """[n, heads, t, size]; a head of k and v serves consecutive heads of q; mask: -inf shuts out."""
    times = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(times, 1), v.repeat_interleave(times, 1)
    scores = torch.einsum("nhid,nhjd->nhij", q, k) / math.sqrt(q.shape[-1]) + mask
    return torch.einsum("nhij,nhjd->nhid", scores.softmax(-1), v).transpose(1, 2).flatten(2)


def llama(config, w, ids):
    """Logits [n, t, vocabulary] of ids [n, t]."""
    epsilon, theta = config["rms_norm_eps"], config["rope_theta"]
    n_heads, n_kv = config["num_attention_heads"], config["num_key_value_heads"]
    mask = torch.full((ids.shape[1], ids.shape[1]), -math.inf).triu(1)
    x = w["model.embed_tokens.weight"][ids]
    for layer in range(config["num_hidden_layers"]):
        def of(name, layer=layer):
            return w[f"model.layers.{layer}.{name}.weight"]
        h = rms_norm(x, of("input_layernorm"), epsilon)
        q = rotate(heads(h @ of("self_attn.q_proj").T, n_heads), theta)
        k = rotate(heads(h @ of("self_attn.k_proj").T, n_kv), theta)
        v = heads(h @ of("self_attn.v_proj").T, n_kv)
        x = x + attend(q, k, v, mask) @ of("self_attn.o_proj").T
        h = rms_norm(x, of("post_attention_layernorm"), epsilon)
        gate = h @ of("mlp.gate_proj").T
        x = x + (gate * torch.sigmoid(gate) * (h @ of("mlp.up_proj").T)) @ of("mlp.down_proj").T
    x = rms_norm(x, w["model.norm.weight"], epsilon)
    tied = config["tie_word_embeddings"]
    return x @ w["model.embed_tokens.weight" if tied else "lm_head.weight"].T


def bert(config, w, ids, attention_mask):
    """Logits [n, classes]."""
    def dense(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"],
                            config["layer_norm_eps"])

    at = "bert.embeddings"
    x = norm(w[f"{at}.word_embeddings.weight"][ids]
             + w[f"{at}.position_embeddings.weight"][:ids.shape[1]]
             + w[f"{at}.token_type_embeddings.weight"][0], f"{at}.LayerNorm")
    n = config["num_attention_heads"]
    mask = torch.zeros(attention_mask.shape).masked_fill(attention_mask == 0, -math.inf)
    mask = mask[:, None, None, :]
    for layer in range(config["num_hidden_layers"]):
        at = f"bert.encoder.layer.{layer}"
        q, k, v = (heads(dense(x, f"{at}.attention.self.{part}"), n)
                   for part in ("query", "key", "value"))
        y = dense(attend(q, k, v, mask), f"{at}.attention.output.dense")
        x = norm(x + y, f"{at}.attention.output.LayerNorm")
        y = dense(oracle.gelu(dense(x, f"{at}.intermediate.dense")), f"{at}.output.dense")
        x = norm(x + y, f"{at}.output.LayerNorm")
    pooled = torch.tanh(dense(x[:, 0], "bert.pooler.dense"))
    return dense(pooled, "classifier")


def documents(path):
    tensors, _ = safetensors_io.load(path)
    ids, offsets = tensors["input_ids"].astype(np.int64), tensors["doc_offsets"]
    return [torch.from_numpy(ids[a:b]) for a, b in zip(offsets, offsets[1:])]


def perplexity(config, w, docs):
    """One entry of reference.json: every token but a document's first is predicted."""
    nll, right, tokens = 0.0, 0, 0
    for length in sorted({len(d) for d in docs}):
        rows = torch.stack([d for d in docs if len(d) == length])
        for part in rows.split(BATCH):
            logits = llama(config, w, part[:, :-1]).double()
            target = part[:, 1:]
            nll += float(F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum"))
            right += int((logits.argmax(-1) == target).sum())
            tokens += target.numel()
    return {"metric": "perplexity", "perplexity": math.exp(nll / tokens), "nll": nll / tokens,
            "tokens": tokens, "top1": right / tokens}


def accuracy(config, w, tensors):
    ids = torch.from_numpy(tensors["input_ids"].astype(np.int64))
    mask = torch.from_numpy(tensors["attention_mask"].astype(np.int64))
    logits = torch.cat([bert(config, w, a, b) for a, b in zip(ids.split(BATCH), mask.split(BATCH))])
    return oracle.figure(logits.numpy(), tensors["labels"]), logits


def is_table(name):
    return "embed_tokens" in name or "embeddings.weight" in name


def figures(weights, axes, measure, what):
    """{granularity: {bits: figure}} with the tensors of axes rounded."""
    table = {}
    for granularity in GRANULARITIES:
        for bits in BITS:
            entry = measure(oracle.round_weights(weights, axes, granularity, bits))
            table.setdefault(granularity, {})[str(bits)] = entry
            print(what, granularity, bits, {k: v for k, v in entry.items() if k != "metric"},
                  flush=True)
    return table


def main():
    folder = sys.argv[1]
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    weights, _ = safetensors_io.load(os.path.join(folder, "model.safetensors"))
    weights = {name: a.astype(np.float32) for name, a in weights.items()}
    matrices = [name for name, a in weights.items() if a.ndim == 2]
    linear = {name: 0 for name in matrices if not is_table(name)}
    tables = {name: 0 for name in matrices if is_table(name)}
    path = os.path.join(folder, "eval.safetensors")

    def as_torch(w):
        return {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in w.items()}

    if config["model_type"] == "llama":
        docs = documents(path)

        def measure(w):
            return perplexity(config, as_torch(w), docs)

        logits = llama(config, as_torch(weights), docs[0][None, :-1])[0, :16]
    else:
        tensors, _ = safetensors_io.load(path)

        def measure(w):
            return accuracy(config, as_torch(w), tensors)[0]

        logits = accuracy(config, as_torch(weights), tensors)[1][:16]
    fp32 = measure(weights)
    print("fp32", fp32, flush=True)
    safetensors_io.write_json(os.path.join(folder, "reference.json"), {
        "schema": "qexplore.reference/1", "model": os.path.basename(os.path.abspath(folder)),
        "sets": {"eval.safetensors": {
            "fp32": fp32,
            "rtn_sym_all": figures(weights, {**linear, **tables}, measure, "all"),
            "rtn_sym_linear": figures(weights, linear, measure, "linear")}},
        "quantized_tensors": {"linear": list(linear), "embedding": list(tables)}})
    safetensors_io.save(os.path.join(folder, "reference.safetensors"),
                        {"logits": logits.detach().numpy()},
                        {"name": os.path.basename(os.path.abspath(folder)),
                         "of": "fp32 logits of the first rows, or of the first positions of the "
                               "first document, of eval.safetensors"})


if __name__ == "__main__":
    with torch.no_grad():
        main()
