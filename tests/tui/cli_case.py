"""What the tests of the command line share: the program, models, a home of their own, and the run itself.

usage of each: test_cli_SUBJECT.py QEXPLORE SOURCE_ROOT [CLASS.TEST ...]          (standard library only)
"""
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM, ROOT = sys.argv[1], sys.argv[2]
FASHION = os.path.join(ROOT, "samples/fashion-cnn")
FEW = FASHION + "/calib.safetensors"  # 512 rows with labels, where 2,000 say no more
MLP = os.path.join(ROOT, "samples/fashion-mlp")
FIVE = os.path.join(ROOT, "samples/five-weights/model.safetensors")
LLAMA = os.path.join(ROOT, "samples/llama-tiny")
SENTENCES = os.path.join(ROOT, "samples/bert-sentiment")
SMALL_ENCODER = os.path.join(ROOT, "tests/golden/net/encoder_bert")
SMALL_DECODER = os.path.join(ROOT, "tests/golden/net/decoder_llama")
TMP = tempfile.mkdtemp(prefix="qx-cli-")
ENV = dict(os.environ, HOME=TMP, XDG_CACHE_HOME=TMP + "/cache", XDG_STATE_HOME=TMP + "/state",
           LC_ALL="C.UTF-8", TERM="xterm-256color",
           XDG_DATA_DIRS=TMP)  # no data sets of the machine
ENV.pop("NO_COLOR", None)
N_SLOWEST = 5


def run(*args, env=None):
    done = subprocess.run([PROGRAM, *args], capture_output=True, text=True, env=env or ENV,
                          stdin=subprocess.DEVNULL, timeout=300)
    return done.returncode, done.stdout, done.stderr


def answer(*args):
    code, out, err = run(*args, "--json")
    assert code == 0, (args, code, err)
    return json.loads(out)


def load(path):
    with open(path) as f:
        return json.load(f)


def tensors_read(path):
    """Name to (dtype, shape, bytes) of a safetensors file."""
    with open(path, "rb") as f:
        header, data = json.loads(f.read(struct.unpack("<Q", f.read(8))[0])), f.read()
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])])
            for name, t in header.items()}


def tensors_write(path, tensors):
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(t[2] for t in tensors.values()))


def documents_write(path, n):
    """The first n documents that llama-tiny calibrates with."""
    tensors = tensors_read(LLAMA + "/calib.safetensors")
    (kind, _, ids), (offset_kind, _, offsets) = tensors["input_ids"], tensors["doc_offsets"]
    end = struct.unpack_from("<q", offsets, 8 * n)[0]
    tensors_write(path, {"input_ids": (kind, [end], ids[:2 * end]),
                         "doc_offsets": (offset_kind, [n + 1], offsets[:8 * (n + 1)])})


class Case(unittest.TestCase):
    def expect(self, code, *args, text=""):
        """Refused with one sentence that holds a text, and nothing on standard output."""
        got, out, err = run(*args)
        self.assertEqual((got, out), (code, ""), (args, got, out, err))
        self.assertIn(text, err)
        self.assertEqual(err.count("\n"), 1, err)
        return err


class TimedResult(unittest.TextTestResult):
    """Keeps (seconds, CPU seconds of the programs run, name) of each test."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.durations = []

    @staticmethod
    def now():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.monotonic(), used.ru_utime + used.ru_stime

    def startTest(self, test):
        super().startTest(test)
        self.began = self.now()

    def stopTest(self, test):
        super().stopTest(test)
        self.durations.append(tuple(b - a for a, b in zip(self.began, self.now())) + (test.id(),))


def main():
    try:
        runner = unittest.TextTestRunner(resultclass=TimedResult)
        result = unittest.main(argv=[sys.argv[0], *sys.argv[3:]], testRunner=runner, exit=False).result
        for seconds, cpu, name in sorted(result.durations, reverse=True)[:N_SLOWEST]:
            print(f"{seconds:7.1f} s, {cpu:6.1f} s of CPU  {name}")
    finally:
        shutil.rmtree(TMP)
    sys.exit(not result.wasSuccessful())
