#!/usr/bin/python3
"""Writes the seeds in safetensors/: one file per shape of header, good and broken; standard library
only. The complete list of broken rules is in tests/unit/test_tensor_hostile.c."""
import json
import os
import struct

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "safetensors")


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def put(name, header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    with open(os.path.join(HERE, name), "wb") as f:
        f.write(struct.pack("<Q", len(text) if length is None else length) + text + data)


good = {"__metadata__": {"format": "pt"}, "w": entry("F32", [2, 2], 0, 16), "b": entry("BF16", [2], 16, 20)}
put("good", good, bytes(20))
put("padded", json.dumps(good).encode() + b"    ", bytes(20))
put("empty_map", {})
put("scalar_and_zero", {"s": entry("I64", [], 0, 8), "z": entry("F16", [0, 3], 8, 8)}, bytes(8))
put("all_dtypes", {d: entry(d, [8], 8 * i, 8 * i + 8) for i, d in enumerate(
    ["BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"])}, bytes(range(64)))
put("f4_f6", {"a": entry("F4", [4], 0, 2), "b": entry("F6_E2M3", [4], 2, 5)}, bytes(5))
put("escapes", b'{"a\\u00e9\\n\\"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"\1")
put("escaped_nul", b'{"a\\\0b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"\1")
put("lora", {"q.lora_A.weight": entry("F32", [1], 0, 4)}, bytes(4))
put("gptq", {"l.qweight": entry("I32", [1], 0, 4), "l.g_idx": entry("I32", [1], 4, 8)}, bytes(8))
put("hole", {"a": entry("U8", [1], 0, 1), "b": entry("U8", [1], 2, 3)}, bytes(3))
put("hole_past_end", {"a": entry("U8", [1], 0, 1), "b": entry("U8", [1], 9, 10)}, bytes(1))
put("overlap", {"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}, bytes(3))
put("truncated", good, bytes(19))
put("trailing", good, bytes(21))
put("duplicate", b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
    b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"\1")
put("overflow", {"a": entry("F64", [2**40, 2**40], 0, 0)})
put("length_huge", b"{}", length=2**63)
put("length_past_end", b"{}", length=99)
put("nested", b'{"a":' + b"[" * 200)
put("not_utf8", b'{"\xff":1}')
put("wrong_types", b'{"a":{"dtype":1,"shape":{},"data_offsets":"x"},"__metadata__":[]}')
for name, raw in {"zero_bytes": b"", "seven_bytes": b"\1" * 7, "zeros": bytes(64), "html": b"<!doctype html>",
                  "lfs": b"version https://git-lfs.github.com/spec/v1\n", "zip": b"PK\3\4" + bytes(40),
                  "pickle": b"\x80\4\x95abc", "onnx": b"\x08\x07\x12\x01x"}.items():
    with open(os.path.join(HERE, name), "wb") as f:
        f.write(raw)
