#!/usr/bin/python3
"""Writes types.gguf, one tensor of every type that is decoded, of random bytes; types.safetensors, the float32
values that they mean (decoded here, element by element, from the layouts of ggml's documentation); and the
llama-family files *.gguf of the networks in ../net. Needs python3-numpy."""
import json
import os
import struct

import numpy as np

import gguf_io as g

HERE = os.path.dirname(os.path.abspath(__file__))
f = np.float32
E2M1 = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]
IQ4 = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]


def half(b, at):
    return f(np.frombuffer(b, np.float16, 1, at)[0])


def nib(b, at, j, n):
    """Code j of n, the first half of them in the low halves of n / 2 bytes."""
    return b[at + j % (n // 2)] >> (4 if j >= n // 2 else 0) & 15


def scale_min(s, i):
    if i < 4:
        return s[i] & 63, s[i + 4] & 63
    return s[i + 4] & 15 | s[i - 4] >> 6 << 4, s[i + 4] >> 4 | s[i] >> 6 << 4


def q3_scale(s, i):
    low = s[i] & 15 if i < 8 else s[i - 8] >> 4
    return (low | (s[8 + i % 4] >> 2 * (i // 4) & 3) << 4) - 32


def e4m3(c):
    c &= 127
    if c == 127:
        return f(0)
    e, m = c >> 3, c & 7
    return f((1 + m / 8) * 2.0 ** (e - 7) if e else m * 2.0 ** -9)


def trit(byte, k):
    return (byte * 3 ** k % 256 * 3 >> 8) - 1


def tq1(b, j):
    if j < 160:
        return trit(b[j % 32], j // 32)
    if j < 240:
        return trit(b[32 + (j - 160) % 16], (j - 160) // 16)
    return trit(b[48 + (j - 240) % 4], (j - 240) // 4)


def two(b, at, j):
    return b[at + j // 128 * 32 + j % 32] >> 2 * (j % 128 // 32) & 3


def four(b, at, j):
    return b[at + j // 64 * 32 + j % 32] >> 4 * (j % 64 // 32) & 15


# type: values, bytes, places of binary16 numbers, value j of a block
def k_value(q):
    def at(b, j):
        s, m = scale_min(b[4:16], j // 32)
        return half(b, 0) * f(s) * f(q(b, j)) - half(b, 2) * f(m)
    return at


DECODE = {
    "Q4_0": (32, 18, [0], lambda b, j: f(nib(b, 2, j, 32) - 8) * half(b, 0)),
    "Q4_1": (32, 20, [0, 2], lambda b, j: f(nib(b, 4, j, 32)) * half(b, 0) + half(b, 2)),
    "Q5_0": (32, 22, [0], lambda b, j: f((nib(b, 6, j, 32) | (b[2 + j // 8] >> j % 8 & 1) << 4) - 16) * half(b, 0)),
    "Q5_1": (32, 24, [0, 2], lambda b, j: f(nib(b, 8, j, 32) | (b[4 + j // 8] >> j % 8 & 1) << 4) * half(b, 0)
             + half(b, 2)),
    "Q8_0": (32, 34, [0], lambda b, j: f(np.int8(b[2 + j] - 256 * (b[2 + j] > 127))) * half(b, 0)),
    "Q8_1": (32, 36, [0, 2], lambda b, j: f(b[4 + j] - 256 * (b[4 + j] > 127)) * half(b, 0)),
    "Q2_K": (256, 84, [80, 82], lambda b, j: half(b, 80) * f(b[j // 16] & 15) * f(two(b, 16, j))
             - half(b, 82) * f(b[j // 16] >> 4)),
    "Q3_K": (256, 110, [108], lambda b, j: half(b, 108) * f(q3_scale(b[96:108], j // 16))
             * f(two(b, 32, j) - (0 if b[j % 32] >> j // 32 & 1 else 4))),
    "Q4_K": (256, 144, [0, 2], k_value(lambda b, j: four(b, 16, j))),
    "Q5_K": (256, 176, [0, 2], k_value(lambda b, j: four(b, 48, j) + 16 * (b[16 + j % 32] >> j // 32 & 1))),
    "Q6_K": (256, 210, [208], lambda b, j: half(b, 208) * f(b[192 + j // 16] - 256 * (b[192 + j // 16] > 127))
             * f((b[j // 128 * 64 + j % 64] >> 4 * (j % 128 // 64) & 15 | two(b, 128, j) << 4) - 32)),
    "Q8_K": (256, 292, [], lambda b, j: f(np.frombuffer(b, f, 1)[0]) * f(b[4 + j] - 256 * (b[4 + j] > 127))),
    "IQ4_NL": (32, 18, [0], lambda b, j: half(b, 0) * f(IQ4[nib(b, 2, j, 32)])),
    "IQ4_XS": (256, 136, [0], lambda b, j: half(b, 0) * f((b[4 + j // 64] >> 4 * (j // 32 % 2) & 15
               | ((b[2] | b[3] << 8) >> 2 * (j // 32) & 3) << 4) - 32) * f(IQ4[nib(b, 8 + 16 * (j // 32), j % 32, 32)])),
    "TQ1_0": (256, 54, [52], lambda b, j: f(tq1(b, j)) * half(b, 52)),
    "TQ2_0": (256, 66, [64], lambda b, j: f(two(b, 0, j) - 1) * half(b, 64)),
    "MXFP4": (32, 17, [], lambda b, j: f(2.0 ** (b[0] - 128)) * f(E2M1[nib(b, 1, j, 32)])),
    "NVFP4": (64, 36, [], lambda b, j: e4m3(b[j // 16]) * f(0.5) * f(E2M1[nib(b, 4 + 8 * (j // 16), j % 16, 16)])),
    "Q1_0": (128, 18, [0], lambda b, j: f(b[2 + j // 8] >> j % 8 & 1) * f(2) * half(b, 0) - half(b, 0)),
}
ROWS, COLUMNS = 2, 256


def blocks(rng, kind):
    n, size, halves, at = DECODE[kind]
    raw, values = b"", []
    for _ in range(ROWS * COLUMNS // n):
        b = bytearray(rng.integers(0, 256, size, np.uint8).tobytes())
        for place in halves: # no infinite or enormous scale
            b[place:place + 2] = np.float16(rng.normal() * 0.05).tobytes()
        if kind == "Q8_K":
            b[:4] = f(rng.normal() * 0.01).tobytes()
        if kind == "MXFP4":
            b[0] = int(rng.integers(110, 130))
        raw += b
        values += [at(bytes(b), j) for j in range(n)]
    return raw, np.array(values, f).reshape(ROWS, COLUMNS)


def main():
    rng, tensors, header, body = np.random.default_rng(20), [], {}, b""
    for kind in list(DECODE) + ["F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64", "IQ2_XXS"]:
        if kind in DECODE:
            raw, want = blocks(rng, kind)
        elif kind == "IQ2_XXS":
            raw, want = bytes(66 * ROWS), None
        else:
            x = rng.normal(size=(ROWS, COLUMNS)) * 40
            raw = {"F32": x.astype(f), "F16": x.astype(np.float16), "F64": x}.get(kind, x.astype(np.int64))
            if kind == "BF16":
                raw = g.bf16(x.astype(f))
                want = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(f).reshape(ROWS, COLUMNS)
            else:
                raw = raw.astype(kind.lower().replace("f", "float").replace("i", "int")
                                 if kind[0] == "I" else raw.dtype)
                raw, want = raw.tobytes(), raw.astype(f)
        tensors.append(("t." + kind, (ROWS, COLUMNS), kind, raw))
        if want is not None:
            header["t." + kind] = {"dtype": "F32", "shape": [ROWS, COLUMNS],
                                   "data_offsets": [len(body), len(body) + want.nbytes]}
            body += want.tobytes()
    g.write(os.path.join(HERE, "types.gguf"), [("general.architecture", g.STRING, "none")], tensors, 64)
    head = json.dumps(header, separators=(",", ":")).encode()
    with open(os.path.join(HERE, "types.safetensors"), "wb") as out:
        out.write(struct.pack("<Q", len(head)) + head + body)
    for net, kind in (("decoder_llama", "f32"), ("decoder_mistral", "f32"), ("decoder_qwen2", "f32"), ("decoder_qwen3", "f32")):
        g.convert(os.path.join(HERE, "../net", net), os.path.join(HERE, f"{net}.gguf"), kind, net)


main()
