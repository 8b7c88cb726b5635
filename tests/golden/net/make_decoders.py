#!/usr/bin/python3
"""Writes small model folders of the decoder families (config.json), with reference figures.

Needs Debian's python3-torch and python3-numpy:

    /usr/bin/python3 tests/golden/net/make_decoders.py

Each folder of CASES holds config.json, model.safetensors, eval.safetensors (documents of all
lengths), reference.safetensors (logits at the last fed token of each document), and the same with
rounded weights. Computed in float64, document by document, head by head.
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

D, HEADS, KV_HEADS, INNER, LAYERS, VOCABULARY, PLACES = 32, 4, 2, 40, 2, 48, 16
ROUNDED = [("all", "channel", 4), ("linear", "tensor", 3), ("linear", "group:32", 4)]

CASES = {
    # short waves turn as they are, long ones eight times slower, one lies between
    "decoder_llama": {"model_type": "llama", "tie_word_embeddings": True, "rope_theta": 50.0,
                      "rms_norm_eps": 1e-5,
                      "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                       "high_freq_factor": 4.0,
                                       "original_max_position_embeddings": 16}},
    "decoder_mistral": {"model_type": "mistral", "tie_word_embeddings": False,
                        "rope_scaling": {"type": "linear", "factor": 2.0}},
    "decoder_qwen2": {"model_type": "qwen2", "tie_word_embeddings": False, "biases": True},
    # Conv1D weights, query, key and value in one, the head is the table
    "decoder_gpt2": {"model_type": "gpt2"},
    # heads wider than hidden_size / num_attention_heads, each normalized
    "decoder_qwen3": {"model_type": "qwen3", "tie_word_embeddings": True, "head_dim": 12,
                      "head_norms": True},
    # a place sees five; wider heads; two files with an index, in BF16
    "decoder_window": {"model_type": "mistral", "tie_word_embeddings": False, "head_dim": 12,
                       "sliding_window": 5, "store": "BF16", "shards": 2},
    # names without prefix, in F16; the second layer has a window; both ends and the middle of YaRN's
    # ramp are met
    "decoder_yarn": {"model_type": "qwen2", "tie_word_embeddings": True, "biases": True,
                     "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1,
                     "rope_theta": 30.0, "store": "F16", "prefix": "",
                     "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "beta_fast": 2.0,
                                      "original_max_position_embeddings": 16}},
    # YaRN with DeepSeek's factors and a ramp that begins and ends between pairs, as transformers 5 writes it
    "decoder_mscale": {"model_type": "llama", "tie_word_embeddings": True,
                       "rope_parameters": {"rope_type": "yarn", "rope_theta": 30.0, "factor": 4.0,
                                           "beta_fast": 2.0, "mscale": 1.5, "mscale_all_dim": 0.5,
                                           "truncate": False,
                                           "original_max_position_embeddings": 16}},
}
# Of a case, not of its config.json.
OWN = ("biases", "head_norms", "store", "shards", "prefix")


def make_weights(config, rng):
    """All tensors, and which of them are linear weights and tables."""
    weights, linear, tables = {}, {}, {"model.embed_tokens.weight": 0}

    def add(name, *shape, scale, centre=0.0):
        weights[name] = (centre + rng.normal(size=shape) * scale).astype(np.float32)

    def dense(name, rows, columns, bias=False):
        add(name + ".weight", rows, columns, scale=1.3 / np.sqrt(columns))
        linear[name + ".weight"] = 0
        if bias:
            add(name + ".bias", rows, scale=0.5)

    d = config.get("head_dim", D // HEADS)
    add("model.embed_tokens.weight", VOCABULARY, D, scale=0.7)
    for i in range(LAYERS):
        base = f"model.layers.{i}."
        bias = config.get("biases", False)
        add(base + "input_layernorm.weight", D, scale=0.2, centre=1.0)
        add(base + "post_attention_layernorm.weight", D, scale=0.2, centre=1.0)
        dense(base + "self_attn.q_proj", HEADS * d, D, bias)
        dense(base + "self_attn.k_proj", KV_HEADS * d, D, bias)
        dense(base + "self_attn.v_proj", KV_HEADS * d, D, bias)
        dense(base + "self_attn.o_proj", D, HEADS * d)
        if config.get("head_norms"):
            add(base + "self_attn.q_norm.weight", d, scale=0.2, centre=1.0)
            add(base + "self_attn.k_norm.weight", d, scale=0.2, centre=1.0)
        dense(base + "mlp.gate_proj", INNER, D)
        dense(base + "mlp.up_proj", INNER, D)
        dense(base + "mlp.down_proj", D, INNER)
    add("model.norm.weight", D, scale=0.2, centre=1.0)
    if not config["tie_word_embeddings"]:
        dense("lm_head", VOCABULARY, D)
    return weights, linear, tables


def rope(config):
    return config.get("rope_scaling") or config.get("rope_parameters") or {}


def frequencies(config):
    """One for each pair of a head's values, as transformers' modeling_rope_utils defines them."""
    half = config.get("head_dim", D // HEADS) // 2
    base = config.get("rope_theta", 10000.0) ** (-np.arange(half) / half)
    scaling = rope(config)
    factor = scaling.get("factor", 1.0)
    if scaling.get("rope_type") != "llama3":
        return base / factor
    lengths = 2 * np.pi / base
    original = scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    smooth = (original / lengths - low) / (high - low)
    between = (1 - smooth) * base / factor + smooth * base
    return np.where(lengths > original / low, base / factor,
                    np.where(lengths < original / high, base, between))


def yarn(config):
    """Frequencies, and what sines and cosines are multiplied by (Peng et al. 2023, and
    transformers' _compute_yarn_parameters): pairs that turn more than beta_fast times in the
    original context stay, those that turn less than beta_slow times are stretched."""
    scaling, d = rope(config), config.get("head_dim", D // HEADS)
    original = scaling["original_max_position_embeddings"]
    theta = config.get("rope_theta") or scaling["rope_theta"]
    truncates = scaling.get("truncate", True)

    def pair(turns, whole):
        at = d * np.log(original / (turns * 2 * np.pi)) / (2 * np.log(theta))
        return whole(at) if truncates else at

    low = max(pair(scaling.get("beta_fast", 32.0), np.floor), 0)
    high = min(pair(scaling.get("beta_slow", 1.0), np.ceil), d - 1)
    stretched = np.clip((np.arange(d // 2) - low) / max(high - low, 0.001), 0, 1)
    base = theta ** (-np.arange(d // 2) * 2 / d)
    factor = scaling["factor"]
    size = 0.1 * np.log(factor) + 1
    if scaling.get("mscale") and scaling.get("mscale_all_dim"):
        size = (0.1 * scaling["mscale"] * np.log(factor) + 1) / (
            0.1 * scaling["mscale_all_dim"] * np.log(factor) + 1)
    return base * (1 - stretched) + base / factor * stretched, size


def window_of(config, layer):
    """Places that a layer looks back at, with its own."""
    if config["model_type"] == "mistral":
        return config.get("sliding_window")
    if config.get("use_sliding_window") and layer >= config["max_window_layers"]:
        return config["sliding_window"]
    return None


def attend(q, k, v, window=None):
    """One head; a place sees those up to itself, of them the last `window`."""
    scores = q @ k.T / np.sqrt(q.shape[1])
    hidden = torch.ones(scores.shape, dtype=torch.bool).triu(1)
    if window:
        hidden |= torch.ones(scores.shape, dtype=torch.bool).tril(-window)
    return torch.softmax(scores.masked_fill(hidden, -np.inf), -1) @ v


def run(config, w, ids):
    """Logits of every place of one document, of float64 tensors."""
    n, d = len(ids), config.get("head_dim", D // HEADS)
    is_yarn = rope(config).get("rope_type") == "yarn"
    speed, size = yarn(config) if is_yarn else (frequencies(config), 1.0)
    angle = torch.from_numpy(np.arange(n)[:, None] * speed)
    cos, sin = size * angle.cos(), size * angle.sin()

    def norm(x, name):
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + config.get("rms_norm_eps", 1e-6)) \
            * w[name]

    def dense(x, name):
        return x @ w[name + ".weight"].T + w.get(name + ".bias", 0.0)

    def turn(x, name):
        x = norm(x, name) if config.get("head_norms") else x
        a, b = x[:, :d // 2], x[:, d // 2:]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], 1)

    x = w["model.embed_tokens.weight"][torch.tensor(ids)]
    for i in range(LAYERS):
        base = f"model.layers.{i}."
        y = norm(x, base + "input_layernorm.weight")
        q, k, v = (dense(y, base + f"self_attn.{key}_proj") for key in "qkv")
        out = []
        for head in range(HEADS):
            mine = slice(head * d, (head + 1) * d)
            shared = slice(head * KV_HEADS // HEADS * d, (head * KV_HEADS // HEADS + 1) * d)
            out.append(attend(turn(q[:, mine], base + "self_attn.q_norm.weight"),
                              turn(k[:, shared], base + "self_attn.k_norm.weight"), v[:, shared],
                              window_of(config, i)))
        x = x + dense(torch.cat(out, 1), base + "self_attn.o_proj")
        y = norm(x, base + "post_attention_layernorm.weight")
        gate = dense(y, base + "mlp.gate_proj")
        x = x + dense(gate / (1 + torch.exp(-gate)) * dense(y, base + "mlp.up_proj"),
                      base + "mlp.down_proj")
    x = norm(x, "model.norm.weight")
    head = "model.embed_tokens" if config["tie_word_embeddings"] else "lm_head"
    return x @ w[head + ".weight"].T


def make_gpt2_weights(rng):
    """Conv1D weights are [in, out]: their outputs are axis 1."""
    weights, linear = {}, {}
    tables = {"transformer.wte.weight": 0, "transformer.wpe.weight": 0}

    def add(name, *shape, scale, centre=0.0):
        weights["transformer." + name] = (centre + rng.normal(size=shape) * scale).astype(
            np.float32)

    add("wte.weight", VOCABULARY, D, scale=0.7)
    add("wpe.weight", PLACES, D, scale=0.7)
    for i in range(LAYERS):
        for name in (f"h.{i}.ln_1", f"h.{i}.ln_2"):
            add(name + ".weight", D, scale=0.2, centre=1.0)
            add(name + ".bias", D, scale=0.2)
        for name, rows, columns in (("attn.c_attn", D, 3 * D), ("attn.c_proj", D, D),
                                    ("mlp.c_fc", D, 4 * D), ("mlp.c_proj", 4 * D, D)):
            add(f"h.{i}.{name}.weight", rows, columns, scale=1.3 / np.sqrt(rows))
            add(f"h.{i}.{name}.bias", columns, scale=0.3)
            linear[f"transformer.h.{i}.{name}.weight"] = 1
    add("ln_f.weight", D, scale=0.2, centre=1.0)
    add("ln_f.bias", D, scale=0.2)
    return weights, linear, tables


def run_gpt2(weights, ids):
    """Logits of every place of one document, of float64 tensors."""
    w = {name[len("transformer."):]: value for name, value in weights.items()}
    n, d = len(ids), D // HEADS

    def norm(x, name):
        x = x - x.mean(-1, keepdim=True)
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-5) * w[name + ".weight"] \
            + w[name + ".bias"]

    def conv1d(x, name):
        return x @ w[name + ".weight"] + w[name + ".bias"]

    x = w["wte.weight"][torch.tensor(ids)] + w["wpe.weight"][:n]
    for i in range(LAYERS):
        q, k, v = conv1d(norm(x, f"h.{i}.ln_1"), f"h.{i}.attn.c_attn").split(D, 1)
        out = [attend(q[:, at:at + d], k[:, at:at + d], v[:, at:at + d]) for at in range(0, D, d)]
        x = x + conv1d(torch.cat(out, 1), f"h.{i}.attn.c_proj")
        y = conv1d(norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc")
        y = 0.5 * y * (1 + torch.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y ** 3)))
        x = x + conv1d(y, f"h.{i}.mlp.c_proj")
    return norm(x, "ln_f") @ w["wte.weight"].T


def logits(case, w, ids):
    return run_gpt2(w, ids) if case["model_type"] == "gpt2" else run(case, w, ids)


def stored(case, weights):
    """The values that the file will hold, in float32, and the arrays as they are written."""
    kind = case.get("store", "F32")
    if kind == "F16":
        arrays = {name: w.astype(np.float16) for name, w in weights.items()}
        return {name: a.astype(np.float32) for name, a in arrays.items()}, arrays
    if kind == "BF16":
        arrays = {name: safetensors_io.bf16(w) for name, w in weights.items()}
        widened = {name: (a.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
                   for name, a in arrays.items()}
        return widened, arrays
    return weights, weights


def save_model(folder, name, case, arrays):
    """model.safetensors, or some files and their index; names as the case has them."""
    prefix = case.get("prefix", "model.")
    arrays = {prefix + key[len("model."):] if key.startswith("model.") else key: a
              for key, a in arrays.items()}
    n = case.get("shards", 1)
    if n == 1:
        safetensors_io.save(os.path.join(folder, "model.safetensors"), arrays, {"name": name})
        return
    place = {}
    for i in range(n):
        file = f"model-{i + 1:05d}-of-{n:05d}.safetensors"
        part = {key: arrays[key] for key in list(arrays)[i::n]}
        safetensors_io.save(os.path.join(folder, file), part, {"name": name})
        place.update({key: file for key in part})
    safetensors_io.write_json(os.path.join(folder, "model.safetensors.index.json"), {
        "metadata": {"total_size": sum(a.nbytes for a in arrays.values())}, "weight_map": place})


def write_case(seed, name, case):
    rng = np.random.default_rng(seed + 200)
    folder = os.path.join(HERE, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    is_gpt2 = case["model_type"] == "gpt2"
    weights, linear, tables = make_gpt2_weights(rng) if is_gpt2 else make_weights(case, rng)
    weights, arrays = stored(case, weights)
    config = {key: value for key, value in case.items() if key not in OWN}
    if is_gpt2:
        config.update(n_embd=D, n_layer=LAYERS, n_head=HEADS, n_positions=PLACES,
                      vocab_size=VOCABULARY)
    else:
        config.update(hidden_size=D, num_hidden_layers=LAYERS,
                      num_attention_heads=HEADS, num_key_value_heads=KV_HEADS,
                      intermediate_size=INNER, vocab_size=VOCABULARY,
                      max_position_embeddings=PLACES, hidden_act="silu")
    documents = [rng.integers(0, VOCABULARY, size=2 + i % PLACES) for i in range(20)]

    def path(file):
        return os.path.join(folder, file)

    def save(file, tensors):
        safetensors_io.save(path(file), tensors, {"name": name})

    def last(w):
        w = {name: torch.tensor(value, dtype=torch.float64) for name, value in w.items()}
        return np.array([logits(case, w, ids[:-1])[-1].numpy() for ids in documents[:16]],
                        np.float32)

    safetensors_io.write_json(path("config.json"), config)
    save_model(folder, name, case, arrays)
    save("eval.safetensors", {
        "input_ids": np.concatenate(documents).astype(np.uint16),
        "doc_offsets": np.cumsum([0] + [len(ids) for ids in documents]).astype(np.int64)})
    save("reference.safetensors", {"logits": last(weights)})
    rounded = {}
    for scope, granularity, bits in ROUNDED:
        axes = {**linear, **tables} if scope == "all" else linear
        rounded[f"{scope}.{granularity}.{bits}"] = last(
            oracle.round_weights(weights, axes, granularity, bits))
    save("reference_quant.safetensors", rounded)
    prefix = case.get("prefix", "model.")
    names = [[prefix + key[len("model."):] if key.startswith("model.") else key for key in group]
             for group in (linear, tables)]
    safetensors_io.write_json(path("reference.json"), {
        "schema": "qexplore.reference/1", "model": name,
        "quantized_tensors": {"linear": names[0], "embedding": names[1]}})
    safetensors_io.write_bytes(path("NOTICE.md"), (
        f"# {name}\nRandom numbers written by tests/golden/net/make_decoders.py. Apache-2.0.\n")
        .encode())


if __name__ == "__main__":
    for number, (title, description) in enumerate(CASES.items()):
        write_case(number, title, description)
