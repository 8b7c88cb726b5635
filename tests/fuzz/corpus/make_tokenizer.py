#!/usr/bin/python3
"""Writes corpus/tokenizer: the first byte chooses the file ("0" .json, "1" .txt, "2" .bin)."""
import base64
import json
import os
import struct

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizer")


def write(name, kind, data):
    with open(os.path.join(OUT, name), "wb") as f:
        f.write(bytes([0x30 + kind]) + (data if isinstance(data, bytes) else data.encode()))


def bpe(vocab, merges, **more):
    return {"type": "BPE", "vocab": vocab, "merges": merges, **more}


def main():
    os.makedirs(OUT, exist_ok=True)
    step = {"type": "Split", "pattern": {"Regex": "\\s+"}, "behavior": "Isolated"}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False}
    write("bytes.json", 0, json.dumps({"pre_tokenizer": byte_level, "model": bpe(
        {"H": 0, "e": 1, "l": 2, "o": 3, "\u0120": 4, "He": 5, "ll": 6}, ["H e", "l l"])}))
    write("fallback.json", 0, json.dumps({
        "normalizer": {"type": "Prepend", "prepend": "\u2581"}, "model": bpe(
            {"<unk>": 0, "a": 1, **{f"<0x{i:02X}>": i + 2 for i in range(256)}}, [],
            byte_fallback=True, unk_token="<unk>")}))
    write("pieces.json", 0, json.dumps({
        "normalizer": {"type": "BertNormalizer"}, "pre_tokenizer": {"type": "BertPreTokenizer"},
        "added_tokens": [{"id": 2, "content": "[CLS]", "special": True, "lstrip": True}],
        "post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["x", 0]},
        "model": {"type": "WordPiece", "vocab": {"[UNK]": 0, "hello": 1, "##x": 3}}}))
    write("sequence.json", 0, json.dumps({"pre_tokenizer": {
        "type": "Sequence", "pretokenizers": [step, {"type": "Digits"}, {"type": "Metaspace",
                                                                     "replacement": "_"}]},
        "model": bpe({"a": 0}, [])}))
    write("merge_of_none.json", 0, json.dumps({"model": bpe({"a": 0}, ["a b"])}))
    write("wide_id.json", 0, json.dumps({"model": bpe({"a": 2 ** 40}, [])}))
    write("template_out_of_range.json", 0, json.dumps({
        "post_processor": {"type": "BertProcessing", "cls": ["c", 77], "sep": ["s", 78]},
        "model": bpe({"a": 0}, [])}))
    # H becomes he; then maps that lead out of themselves
    units = [0] * 72 + [0x48 | 1 << 8 | 1 << 10, 0x80000001]
    for name, trie, texts in (("unigram.json", units, b"\0he\0"), ("map_far.json", [0x1FFFFF << 10], b""),
                              ("map_text_far.json", units, b"")):
        table = struct.pack("<I", 4 * len(trie)) + struct.pack(f"<{len(trie)}I", *trie) + texts
        write(name, 0, json.dumps({
            "normalizer": {"type": "Precompiled",
                           "precompiled_charsmap": base64.b64encode(table).decode()},
            "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581"},
            "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": name != "unigram.json",
                      "vocab": [["<unk>", 0], ["\u2581", -2], ["\u2581He", -3], ["l", -1.5], ["ll", -2]]}}))
    write("unigram_no_score.json", 0, json.dumps({"model": {"type": "Unigram", "vocab": [["a"]]}}))
    write("cut.json", 0, '{"model":{"type":"BPE","vocab":{"a')
    write("lines.txt", 1, "[PAD]\n[UNK]\n[CLS]\n[SEP]\nhello\n##o\n")
    write("no_unknown.txt", 1, "a\nb\n")
    write("not_utf8.txt", 1, b"[UNK]\n\xff\n")
    tokens = [b"<unk>", b"<s>", b"</s>"] + [b"<0x%02X>" % i for i in range(256)] + [b" ", b"a"]
    body = b"".join(struct.pack("<fi", 0.0, len(t)) + t for t in tokens)
    write("small.bin", 2, struct.pack("<i", 8) + body)
    write("cut.bin", 2, (struct.pack("<i", 8) + body)[:700])
    write("negative.bin", 2, struct.pack("<ifi", 8, 0.0, -5))


main()
