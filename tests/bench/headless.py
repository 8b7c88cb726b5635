#!/usr/bin/env python3
"""headless.py FOLDER OUT: a BERT classifier's folder without its classifier and pooler, as encoders of sentences come
(MiniLM). Weights, tokenizer and rows are copied; predict_study looks at what it gives."""
import json
import pathlib
import shutil
import struct
import sys

KEPT = ["vocab.txt", "tokenizer.json", "tokenizer_config.json", "eval.safetensors", "calib.safetensors"]


def weights_copy(source, target):
    data = source.read_bytes()
    head_bytes = struct.unpack("<Q", data[:8])[0]
    head, body, kept = json.loads(data[8:8 + head_bytes]), b"", {}
    for name, tensor in head.items():
        if name == "__metadata__" or name.startswith("classifier.") or "pooler" in name:
            continue
        first, end = tensor["data_offsets"]
        kept[name] = dict(tensor, data_offsets=[len(body), len(body) + end - first])
        body += data[8 + head_bytes + first:8 + head_bytes + end]
    text = json.dumps(kept).encode()
    text += b" " * (-len(text) % 8)
    target.write_bytes(struct.pack("<Q", len(text)) + text + body)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, target = map(pathlib.Path, sys.argv[1:])
    target.mkdir(parents=True, exist_ok=True)
    weights_copy(source / "model.safetensors", target / "model.safetensors")
    config = json.loads((source / "config.json").read_text())
    config["architectures"] = ["BertModel"]
    (target / "config.json").write_text(json.dumps(config))
    for name in KEPT:
        if (source / name).exists():
            shutil.copy(source / name, target)


if __name__ == "__main__":
    main()
