"""Writing GGUF 3 and converting llama-family folders to it, with NumPy alone; an oracle for engine/tensor/io_gguf.c
and engine/format/block*.c, written from the format's description and not from that code.

    gguf_io.py FOLDER OUT.gguf [f32|f16|bf16|q8_0|q4_0]     a model folder to one file
"""
import json
import os
import struct
import sys

import numpy as np

U32, F32, BOOL, STRING, ARRAY, I32 = 4, 6, 7, 8, 9, 5
TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q8_1": 9, "Q2_K": 10,
         "Q3_K": 11, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14, "Q8_K": 15, "IQ2_XXS": 16, "IQ4_NL": 20, "IQ4_XS": 23,
         "I8": 24, "I16": 25, "I32": 26, "I64": 27, "F64": 28, "BF16": 30, "TQ1_0": 34, "TQ2_0": 35,
         "MXFP4": 39, "NVFP4": 40, "Q1_0": 41}


def text(s):
    raw = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(kind, v):
    if kind == STRING:
        return text(v)
    if kind == ARRAY:
        inner, items = v
        return struct.pack("<iQ", inner, len(items)) + b"".join(value(inner, i) for i in items)
    return struct.pack({U32: "<I", F32: "<f", BOOL: "<?", I32: "<i"}[kind], v)


def write(path, pairs, tensors, alignment=32, version=3):
    """pairs: (key, kind, value); tensors: (name, shape outermost first, type name, bytes)."""
    if alignment != 32:
        pairs = pairs + [("general.alignment", U32, alignment)]
    head = b"GGUF" + struct.pack("<Iqq", version, len(tensors), len(pairs))
    for key, kind, v in pairs:
        head += text(key) + struct.pack("<i", kind) + value(kind, v)
    at, body = 0, b""
    for name, shape, kind, raw in tensors:
        head += text(name) + struct.pack("<I", len(shape))
        head += struct.pack(f"<{len(shape)}q", *reversed(shape)) + struct.pack("<iQ", TYPES[kind], len(body))
        body += raw + bytes(-len(raw) % alignment)
    with open(path, "wb") as f:
        f.write(head + bytes(-len(head) % alignment) + body)


# ---- quantizing ----

def q8_0(x):
    x = x.reshape(-1, 32)
    d = np.abs(x).max(1, keepdims=True) / np.float32(127)
    inv = np.where(d > 0, np.float32(1) / np.where(d > 0, d, 1), 0).astype(np.float32)
    y = x * inv
    q = np.copysign(np.floor(np.abs(y) + np.float32(0.5)), y).astype(np.int8)
    return np.concatenate([d.astype(np.float16).view(np.uint8), q.view(np.uint8)], 1).tobytes()


def q4_0(x):
    x = x.reshape(-1, 32)
    most = np.take_along_axis(x, np.abs(x).argmax(1)[:, None], 1)
    d = most / np.float32(-8)
    inv = np.where(d != 0, np.float32(1) / np.where(d != 0, d, 1), 0).astype(np.float32)
    q = np.minimum(15, (x * inv + np.float32(8.5)).astype(np.int8)).astype(np.uint8)
    return np.concatenate([d.astype(np.float16).view(np.uint8), q[:, :16] | q[:, 16:] << 4], 1).tobytes()


def bf16(x):
    u = x.astype(np.float32).view(np.uint32)
    return ((u + 0x7fff + (u >> 16 & 1)) >> 16).astype(np.uint16).tobytes()


ENCODE = {"f32": lambda x: x.astype(np.float32).tobytes(), "f16": lambda x: x.astype(np.float16).tobytes(),
          "bf16": bf16, "q8_0": q8_0, "q4_0": q4_0}


# ---- a llama-family folder ----

def read_safetensors(path):
    with open(path, "rb") as f:
        head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    out = {}
    for name, e in head.items():
        if name == "__metadata__":
            continue
        raw = data[e["data_offsets"][0]:e["data_offsets"][1]]
        if e["dtype"] == "BF16":
            x = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            x = np.frombuffer(raw, {"F32": np.float32, "F16": np.float16}[e["dtype"]]).astype(np.float32)
        out[name] = x.reshape(e["shape"])
    return out


NAMES = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
         "lm_head.weight": "output.weight"}
PARTS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
         "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate",
         "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def gguf_name(name):
    if name in NAMES:
        return NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    stem, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{PARTS[stem]}.{kind}"


def permute(x, heads):
    """Rows of a head from halves to pairs: what turns together stands side by side."""
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def tokenizer_pairs(folder, config):
    pairs, path = [], os.path.join(folder, "tokenizer.json")
    if os.path.exists(path):
        t = json.load(open(path))
        n = max(t["model"]["vocab"].values()) + 1
        tokens, types = [""] * max(n, config["vocab_size"]), [1] * max(n, config["vocab_size"])
        for token, i in t["model"]["vocab"].items():
            tokens[i] = token
        for a in t["added_tokens"]:
            tokens[a["id"]], types[a["id"]] = a["content"], 3
        merges = [m if isinstance(m, str) else " ".join(m) for m in t["model"]["merges"]]
        pairs += [("tokenizer.ggml.model", STRING, "gpt2"), ("tokenizer.ggml.pre", STRING, "gpt-2"),
                  ("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)),
                  ("tokenizer.ggml.token_type", ARRAY, (I32, types)),
                  ("tokenizer.ggml.merges", ARRAY, (STRING, merges)),
                  ("tokenizer.ggml.add_bos_token", BOOL, (t.get("post_processor") or {}).get("type") == "TemplateProcessing")]
    elif os.path.exists(os.path.join(folder, "tokenizer.bin")):
        raw, at = open(os.path.join(folder, "tokenizer.bin"), "rb").read(), 4
        tokens, scores, types = [], [], []
        while at < len(raw):
            score, n = struct.unpack_from("<fi", raw, at)
            i, word = len(tokens), raw[at + 8:at + 8 + n]
            at += 8 + n
            types.append(2 if i == 0 else 3 if i < 3 else 6 if i < 259 else 1)
            tokens.append([b"<unk>", b"<s>", b"</s>"][i] if i < 3 else b"<0x%02X>" % (i - 3) if i < 259 else
                          word.replace(b" ", "\u2581".encode()))
            scores.append(score)
        pairs += [("tokenizer.ggml.model", STRING, "llama"), ("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)),
                  ("tokenizer.ggml.scores", ARRAY, (F32, scores)),
                  ("tokenizer.ggml.token_type", ARRAY, (I32, types))]
    for key in ("bos", "eos"):
        if key + "_token_id" in config:
            pairs.append((f"tokenizer.ggml.{key}_token_id", U32, config[key + "_token_id"]))
    return pairs


def rope_factors(config, s):
    d = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
    freq = config["rope_theta"] ** -(np.arange(0, d, 2) / d)
    turns = s["original_max_position_embeddings"] * freq / (2 * np.pi)
    share = np.clip((turns - s["low_freq_factor"]) / (s["high_freq_factor"] - s["low_freq_factor"]), 0, 1)
    return (1 / ((1 - share) / s["factor"] + share)).astype(np.float32)


def convert(folder, path, kind, name="model"):
    config = json.load(open(os.path.join(folder, "config.json")))
    arch = {"mistral": "llama"}.get(config["model_type"], config["model_type"])
    heads = config["num_attention_heads"]
    kv = config.get("num_key_value_heads", heads)
    pairs = [("general.architecture", STRING, arch), ("general.name", STRING, name),
             ("general.quantization_version", U32, 2),
             (arch + ".context_length", U32, config["max_position_embeddings"]),
             (arch + ".embedding_length", U32, config["hidden_size"]),
             (arch + ".block_count", U32, config["num_hidden_layers"]),
             (arch + ".feed_forward_length", U32, config["intermediate_size"]),
             (arch + ".attention.head_count", U32, heads), (arch + ".attention.head_count_kv", U32, kv),
             (arch + ".attention.layer_norm_rms_epsilon", F32, config.get("rms_norm_eps", 1e-6)),
             (arch + ".vocab_size", U32, config["vocab_size"]),
             (arch + ".rope.freq_base", F32, config.get("rope_theta", 10000.0))]
    if "head_dim" in config:
        pairs += [(arch + ".attention.key_length", U32, config["head_dim"]),
                  (arch + ".attention.value_length", U32, config["head_dim"])]
    scaling = config.get("rope_scaling") or {}
    if scaling.get("type") == "linear":
        pairs += [(arch + ".rope.scaling.type", STRING, "linear"), (arch + ".rope.scaling.factor", F32, scaling["factor"])]
    pairs += tokenizer_pairs(folder, config)
    tensors = []
    if scaling.get("rope_type") == "llama3": # each frequency is divided by a factor of its own
        x = rope_factors(config, scaling)
        tensors.append(("rope_freqs.weight", x.shape, "F32", x.tobytes()))
    for hf, x in read_safetensors(os.path.join(folder, "model.safetensors")).items():
        to = gguf_name(hf)
        if arch == "llama" and ".attn_q." in to:
            x = permute(x, heads)
        if arch == "llama" and ".attn_k." in to:
            x = permute(x, kv)
        use = kind if x.ndim == 2 else "f32"
        if use.startswith("q") and x.shape[-1] % 32:
            use = "f16"
        tensors.append((to, x.shape, use.upper(), ENCODE[use](np.ascontiguousarray(x))))
    write(path, pairs, tensors)


if __name__ == "__main__":
    convert(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "f32",
            os.path.basename(os.path.normpath(sys.argv[1])))
