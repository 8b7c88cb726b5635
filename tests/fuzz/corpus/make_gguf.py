#!/usr/bin/python3
"""Writes the seeds in gguf/: one file per shape of header, good and broken; standard library only. The list of
broken rules is in tests/unit/test_tensor_gguf.c."""
import os
import struct

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gguf")
os.makedirs(HERE, exist_ok=True)


def text(s):
    return struct.pack("<Q", len(s)) + s


def pair(key, kind, raw):
    return text(key) + struct.pack("<i", kind) + raw


def tensor(name, ne, kind, offset):
    return text(name) + struct.pack(f"<I{len(ne)}qiQ", len(ne), *ne, kind, offset)


def put(name, pairs=(), tensors=(), data=b"", version=3, n_tensors=None, n_pairs=None, alignment=32):
    head = b"GGUF" + struct.pack("<Iqq", version, len(tensors) if n_tensors is None else n_tensors,
                                 len(pairs) if n_pairs is None else n_pairs)
    head += b"".join(pairs) + b"".join(tensors)
    with open(os.path.join(HERE, name), "wb") as f:
        f.write(head + bytes(-len(head) % alignment) + data)


ARCH = pair(b"general.architecture", 8, text(b"llama"))
put("empty")
put("good", [ARCH], [tensor(b"a", [4, 2], 0, 0), tensor(b"b", [32], 8, 32)], bytes(32 + 34))
put("version2", [ARCH], [tensor(b"a", [4], 0, 0)], bytes(16), version=2)
put("version1", version=1)
put("big_endian", version=0x03000000)
put("every_number", [pair(b"%d" % k, k, b"\xff" * n) for k, n in enumerate([1, 1, 2, 2, 4, 4, 4, 1])] +
    [pair(b"%d" % k, k, b"\xff" * 8) for k in (10, 11, 12)])
put("arrays", [pair(b"a", 9, struct.pack("<iQ", 8, 2) + text(b"x") + text(b"")),
               pair(b"tokenizer.ggml.scores", 9, struct.pack("<iQff", 6, 2, 1, 2))])
put("array_of_arrays", [pair(b"a", 9, struct.pack("<iQ", 9, 1))])
put("array_huge", [pair(b"a", 9, struct.pack("<iQ", 0, 2**63))])
put("string_huge", [pair(b"a", 8, struct.pack("<Q", 2**64 - 1))])
put("key_twice", [ARCH, ARCH])
put("key_empty", [pair(b"", 4, bytes(4))])
put("counts_huge", n_tensors=2**62, n_pairs=2**62)
put("counts_negative", n_tensors=-1, n_pairs=-1)
put("name_twice", [], [tensor(b"a", [8], 0, 0), tensor(b"a", [8], 0, 32)], bytes(64))
put("name_long", [], [tensor(b"a" * 64, [8], 0, 0)], bytes(32))
put("overlap", [], [tensor(b"a", [8], 0, 0), tensor(b"b", [8], 0, 16)], bytes(64))
put("past_end", [], [tensor(b"a", [64], 0, 0)], bytes(32))
put("size_overflow", [], [tensor(b"a", [2**31, 2**31, 2**31], 0, 0)])
put("empty_at_end", [], [tensor(b"a", [0], 0, 0)], alignment=1)
put("half_block", [], [tensor(b"a", [33], 8, 0)], bytes(68))
put("type_unknown", [], [tensor(b"a", [4], 99, 0)], bytes(16))
put("five_axes", [], [tensor(b"a", [1, 1, 1, 1, 1], 0, 0)], bytes(4))
put("alignment_odd", [pair(b"general.alignment", 4, struct.pack("<I", 24))])
put("alignment_huge", [pair(b"general.alignment", 4, struct.pack("<I", 2**31))])
put("every_type", [], [tensor(b"%d" % k, [256], k, 0) for k in range(43)], bytes(256))
for name, raw in {"magic": b"GGUF", "zeros": b"GGUF" + bytes(64), "ones": b"GGUF\3\0\0\0" + b"\xff" * 64}.items():
    with open(os.path.join(HERE, name), "wb") as f:
        f.write(raw)
