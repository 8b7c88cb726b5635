#!/usr/bin/python3
"""Trains the sample classifier bert-sentiment and writes its model folder.

Needs Debian's python3-torch and python3-numpy; the text is made by sentences.py beside this file:

    OMP_NUM_THREADS=1 /usr/bin/python3 samples/bert-sentiment/make.py [--epochs N] [--out DIR]

Writes model.safetensors, config.json, vocab.txt, tokenizer.json, tokenizer_config.json, eval and
calib, each as .safetensors and .tsv, and train.safetensors (a part of what the model was trained on)
into this folder (or DIR); samples/reference_text.py then computes reference.json and reference.safetensors from them. The seed is fixed, and the same
torch build with one thread gives the same weights. The evaluation rows are never looked at during
training: epochs and every other setting are fixed in advance.
"""
import argparse
import collections
import math
import os
import re
import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import safetensors_io  # noqa: E402
import sentences  # noqa: E402

SEED = 1
TRAIN, KEPT, EVAL, CALIB = 16000, 3000, 2000, 256
BATCH = 64
RATE = 1e-3
SMOOTHING = 0.1  # so that answers are less than certain, and a threshold moves them
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CONFIG = {"architectures": ["BertForSequenceClassification"], "model_type": "bert",
          "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
          "intermediate_size": 256, "vocab_size": 0, "max_position_embeddings": 32,
          "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
          "id2label": dict(enumerate(sentences.LABELS)), "do_lower_case": True}
LENGTH = CONFIG["max_position_embeddings"]


def split(text):
    """Words, and every punctuation mark by itself, as BERT's tokenizer has them."""
    return re.findall(r"\w+|[^\w\s]", text)


class WordPiece:
    """Letters, whole words and endings of the training text; the longest piece first."""

    def __init__(self, rows):
        words = collections.Counter(w for text, _ in rows for w in split(text))
        letters = sorted({c for w in words for c in w})
        ends = collections.Counter()
        for word, n in words.items():
            for size in (2, 3, 4):
                if len(word) > size + 1:
                    ends["##" + word[-size:]] += n
        common = sorted(w for w, n in words.items() if n >= 5 and len(w) > 1)
        ends = sorted(e for e, n in ends.most_common(300))
        self.vocab = SPECIAL + letters + ["##" + c for c in letters] + common + ends
        self.ids = {piece: i for i, piece in enumerate(self.vocab)}

    def encode(self, text):
        """[CLS], the pieces, [SEP]; padded with 0."""
        ids = [2]
        for word in split(text):
            pieces, at = [], 0
            while at < len(word):
                end = len(word)
                while end > at and ("##" if at else "") + word[at:end] not in self.ids:
                    end -= 1
                if end == at:
                    pieces = [1]
                    break
                pieces.append(self.ids[("##" if at else "") + word[at:end]])
                at = end
            ids += pieces
        ids = ids[:LENGTH - 1] + [3]
        return ids + [0] * (LENGTH - len(ids))

    def write(self, out):
        """vocab.txt, and Hugging Face's tokenizer.json and tokenizer_config.json."""
        safetensors_io.write_bytes(os.path.join(out, "vocab.txt"),
                                   "".join(f"{p}\n" for p in self.vocab).encode())
        added = [{"id": i, "content": piece, "single_word": False, "lstrip": False,
                  "rstrip": False, "normalized": False, "special": True}
                 for i, piece in enumerate(SPECIAL)]
        safetensors_io.write_json(os.path.join(out, "tokenizer.json"), {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
            "normalizer": {"type": "BertNormalizer", "clean_text": True,
                           "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                           {"Sequence": {"id": "A", "type_id": 0}},
                           {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
                "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                         {"Sequence": {"id": "A", "type_id": 0}},
                         {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
                         {"Sequence": {"id": "B", "type_id": 1}},
                         {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
                "special_tokens": {
                    "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                    "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
            "model": {"type": "WordPiece", "unk_token": "[UNK]",
                      "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
                      "vocab": self.ids}})
        safetensors_io.write_json(os.path.join(out, "tokenizer_config.json"), {
            "tokenizer_class": "BertTokenizer", "do_lower_case": True, "strip_accents": None,
            "tokenize_chinese_chars": True, "unk_token": "[UNK]", "sep_token": "[SEP]",
            "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]",
            "model_max_length": LENGTH})


class Bert(nn.Module):
    """Post-norm encoder; the names of its parts are mapped to Hugging Face's by names()."""

    def __init__(self):
        super().__init__()
        width, inner, n = (CONFIG[k] for k in ("hidden_size", "intermediate_size",
                                               "num_hidden_layers"))
        self.word = nn.Embedding(CONFIG["vocab_size"], width)
        self.position = nn.Embedding(LENGTH, width)
        self.kind = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, CONFIG["layer_norm_eps"])
        self.layers = nn.ModuleList(nn.ModuleDict({
            "query": nn.Linear(width, width), "key": nn.Linear(width, width),
            "value": nn.Linear(width, width), "mixed": nn.Linear(width, width),
            "norm1": nn.LayerNorm(width, CONFIG["layer_norm_eps"]),
            "inner": nn.Linear(width, inner), "outer": nn.Linear(inner, width),
            "norm2": nn.LayerNorm(width, CONFIG["layer_norm_eps"])}) for _ in range(n))
        self.pooler = nn.Linear(width, width)
        self.classifier = nn.Linear(width, len(sentences.LABELS))
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.05)

    def forward(self, ids, dropout=0.0):
        n, t = ids.shape
        heads = CONFIG["num_attention_heads"]
        x = self.norm(self.word(ids) + self.position.weight[:t] + self.kind.weight[0])
        x = F.dropout(x, dropout, dropout > 0)
        mask = torch.zeros(n, 1, 1, t).masked_fill((ids == 0)[:, None, None], -math.inf)
        for layer in self.layers:
            q, k, v = (layer[part](x).view(n, t, heads, -1).transpose(1, 2)
                       for part in ("query", "key", "value"))
            scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]) + mask
            y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, -1)
            x = layer["norm1"](x + F.dropout(layer["mixed"](y), dropout, dropout > 0))
            y = layer["outer"](F.gelu(layer["inner"](x)))
            x = layer["norm2"](x + F.dropout(y, dropout, dropout > 0))
        return self.classifier(torch.tanh(self.pooler(x[:, 0])))

    def names(self):
        """{Hugging Face's name: array}"""
        at = "bert.embeddings"
        modules = {f"{at}.word_embeddings": self.word, f"{at}.position_embeddings": self.position,
                   f"{at}.token_type_embeddings": self.kind, f"{at}.LayerNorm": self.norm,
                   "bert.pooler.dense": self.pooler, "classifier": self.classifier}
        parts = {"query": "attention.self.query", "key": "attention.self.key",
                 "value": "attention.self.value", "mixed": "attention.output.dense",
                 "norm1": "attention.output.LayerNorm", "inner": "intermediate.dense",
                 "outer": "output.dense", "norm2": "output.LayerNorm"}
        for i, layer in enumerate(self.layers):
            modules.update({f"bert.encoder.layer.{i}.{name}": layer[part]
                            for part, name in parts.items()})
        return {f"{name}.{part}": p.detach().numpy() for name, module in modules.items()
                for part, p in module.named_parameters()}


def train(net, ids, labels, epochs):
    """AdamW, linear warm-up over the first epoch, linear fall to 0."""
    rng = np.random.default_rng(SEED)
    torch.manual_seed(SEED + 1)
    steps = len(ids) // BATCH
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(
        (i + 1) / steps, (epochs * steps - i) / max((epochs - 1) * steps, 1)))
    for epoch in range(epochs):
        total = 0.0
        order = torch.from_numpy(rng.permutation(len(ids)))
        for i in range(steps):
            rows = order[i * BATCH:(i + 1) * BATCH]
            loss = F.cross_entropy(net(ids[rows], 0.1), labels[rows],
                                   label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}: loss {total / steps:.4f}", flush=True)


def write_part(out, name, pieces, rows):
    ids = np.array([pieces.encode(text) for text, _ in rows])
    labels = np.array([label for _, label in rows], np.uint8)
    safetensors_io.save(os.path.join(out, f"{name}.safetensors"),
                        {"input_ids": ids.astype(np.uint16),
                         "attention_mask": (ids != 0).astype(np.uint8), "labels": labels},
                        {"task": "classification", "name": f"bert-sentiment-{name}",
                         "n": str(len(rows)), "source": "samples/bert-sentiment/sentences.py",
                         "licence": "Apache-2.0"})
    if name != "train":
        text = "".join(f"{text}\t{sentences.LABELS[label]}\n" for text, label in rows)
        safetensors_io.write_bytes(os.path.join(out, f"{name}.tsv"), text.encode())
    return torch.from_numpy(ids), torch.from_numpy(labels.astype(np.int64))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--out", default=HERE, help="folder to write to")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)

    rng, known = np.random.default_rng(SEED), set()
    rows = sentences.draw(rng, TRAIN, known)
    pieces = WordPiece(rows)
    pieces.write(args.out)
    CONFIG["vocab_size"] = len(pieces.vocab)
    safetensors_io.write_json(os.path.join(args.out, "config.json"), CONFIG)
    ids, labels = write_part(args.out, "eval", pieces, sentences.draw(rng, EVAL, known))
    write_part(args.out, "calib", pieces, sentences.draw(rng, CALIB, known))
    write_part(args.out, "train", pieces, rows[:KEPT])

    torch.manual_seed(SEED)
    net = Bert()
    print(f"{len(pieces.vocab)} pieces, {sum(p.numel() for p in net.parameters())} values")
    train(net, torch.tensor([pieces.encode(text) for text, _ in rows]),
          torch.tensor([label for _, label in rows]), args.epochs)
    with torch.no_grad():
        right = sum(int((net(a).argmax(1) == b).sum()) for a, b in
                    zip(ids.split(100), labels.split(100)))
    print(f"eval: {right} of {len(labels)} right")
    safetensors_io.save(os.path.join(args.out, "model.safetensors"), net.names(),
                        {"name": "bert-sentiment", "source": "samples/bert-sentiment/make.py",
                         "licence": "Apache-2.0"})


if __name__ == "__main__":
    main()
