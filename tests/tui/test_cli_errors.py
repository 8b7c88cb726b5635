"""Errors and exit codes: usage, files and data that do not fit."""
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import tempfile
import unittest

import cli_case
from cli_case import (ENV, FASHION, FEW, FIVE, LLAMA, MLP, PROGRAM, SENTENCES, TMP, Case, run,
                      tensors_write)


class Errors(Case):
    def test_usage(self):
        self.expect(2, "eval", FASHION, "--bist", "4", text="did you mean --bits")
        self.expect(2, "eval", FASHION, "--bits", "9", text="--bits")
        for weights in (("--format", "q4_0"), ("--bits", "16")):
            self.expect(4, "eval", FASHION, *weights, "--algo", "gptq", text="none to choose")
        self.expect(2, "eval", FASHION, "--bits", "4", "--sym", "--asym", text="exclude")
        self.expect(2, "quantize", FIVE, "--bits", "4", "--gran", "grup:32", text="group")
        self.expect(2, "quantize", FIVE, "--bits", "4", "--method", "mean", text="mean")
        self.expect(2, "quantize", FIVE, "--bits", "4", "--layers", "nope*", text="nope*")
        self.expect(2, "eval", text="argument is missing")
        self.expect(2, "bench", text="argument is missing")
        self.expect(2, "bench", FASHION, "--variants", "fp33", text="fp32")
        self.expect(2, "bench", FASHION, "--variants", "recipe", text="--recipe FILE")
        self.expect(2, "bench", FASHION, "--bits", "9", text="bits")
        self.expect(2, "bench", "--kernels", "1x2", text="MxNxK")
        self.expect(2, "bench", "--kernels=1x2x3", "4x5x6", text="unexpected")
        self.expect(4, "bench", FIVE, "-q", text="network")
        self.expect(2, "eval", FASHION, "--act-bits", "8", text="--bits N")
        self.expect(2, "eval", FASHION, "--bits", "8", "--act-sym", text="--act-bits N")
        self.expect(2, "eval", FASHION, "--bits", "8", "--dynamic", "--act-method", "mse",
                    text="--dynamic")
        self.expect(2, "eval", FASHION, "--bits", "8", "--weights-only", "--dynamic",
                    text="exclude")
        self.expect(2, "eval", FASHION, "--bits", "8", "--act-bits", "8", "--act-method", "mze",
                    text="mse")

    def test_mistyped_verb(self):
        self.expect(2, "inof", FASHION, text="qexplore info")
        self.expect(2, "quantise", text="qexplore quantize")

    @unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full")
    def test_full_output(self):
        for args in (["info", FIVE], ["info", FIVE, "--json"], ["quantize", FIVE, "--bits", "4"],
                     ["render", FIVE], ["doctor"], ["completions", "bash"], ["--version"],
                     ["--help"]):
            with open("/dev/full", "w") as full:
                done = subprocess.run([PROGRAM, *args], stdout=full, stderr=subprocess.PIPE,
                                      text=True, env=ENV, timeout=300)
            self.assertEqual(done.returncode, 6, args)
            self.assertIn("cannot write to standard output", done.stderr)
            if "--json" in args:
                self.assertEqual(json.loads(done.stderr)["code"], 6)

    def test_full_disk(self):
        """Here a limit on the size of files: nothing half-written stays."""
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        for args in (["quantize", MLP, "--bits", "4", "-o", "@/out"],
                     ["quantize", MLP, "--bits", "4", "--save-recipe", "@/r.json"],
                     ["render", MLP, "-o", "@/x.svg"]):
            with tempfile.TemporaryDirectory() as d:
                done = subprocess.run([PROGRAM, *(a.replace("@", d) for a in args), "-q"],
                                      capture_output=True, text=True, env=ENV, timeout=300,
                                      preexec_fn=limit)
                self.assertEqual((done.returncode, os.listdir(d)), (6, []), (args, done.stderr))
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)

    def test_signals(self):
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
            with tempfile.TemporaryDirectory() as d:
                with subprocess.Popen([PROGRAM, "train", FASHION, "--bits", "4", "-o", d + "/out"],
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                      env=ENV) as p:
                    self.assertIn("rows to train on", p.stderr.readline())
                    p.send_signal(number)
                    out, err = p.communicate(timeout=300)
                self.assertEqual((p.returncode, out, os.listdir(d)), (code, "", []), err)

    def test_file_cut_while_it_is_read(self):
        with tempfile.TemporaryDirectory() as d:
            rows = shutil.copy(FEW, d)
            with subprocess.Popen([PROGRAM, "train", FASHION, "--bits", "4", "--data", rows],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  env=ENV) as p:
                self.assertIn("rows to train on", p.stderr.readline())
                os.truncate(rows, 4096)
                out, err = p.communicate(timeout=300)
            self.assertEqual((p.returncode, out), (3, ""), err)
            self.assertIn("cut short", err)

    def test_unsupported(self):
        self.expect(4, "eval", FIVE, text="cannot measure")
        self.expect(4, "formats", FIVE, "--scope", "all", "--measure", text="graph.json")
        self.expect(4, "eval", FASHION, "--bits", "16", "--act-bits", "8", text="--act-bits")
        self.expect(4, "quantize", FIVE, "--bits", "8", "--algo", "gptq", text="cannot take gptq")

    def test_input(self):
        missing = os.path.join(TMP, "missing.safetensors")
        self.expect(3, "info", missing, text="missing.safetensors")
        broken = os.path.join(TMP, "broken.safetensors")
        with open(broken, "wb") as f:
            f.write((50).to_bytes(8, "little") + b'{"a":')
        code, out, err = run("info", broken, "--json")
        self.assertEqual((code, out), (3, ""))
        e = json.loads(err)
        self.assertEqual((e["schema"], e["code"]), ("qexplore.error/1", 3))
        self.assertTrue(e["where"]["file"].endswith("broken.safetensors"))

    def test_broken_graph(self):
        folder = os.path.join(TMP, "broken")
        shutil.copytree(FASHION, folder)
        with open(folder + "/graph.json") as f:
            graph = f.read()
        with open(folder + "/graph.json", "w") as f:
            f.write(graph.replace('"dense.weight"', '"dense.wait"'))
        self.expect(3, "eval", folder, text="dense.wait")
        with open(folder + "/graph.json", "w") as f:
            f.write(graph)
        os.remove(folder + "/eval.safetensors")
        self.expect(3, "eval", folder, text="--data")

    def test_recipe_names(self):
        recipe = os.path.join(TMP, "typo.json")
        with open(recipe, "w") as f:
            json.dump({"schema": "qexplore.recipe/1",
                       "layers": {"hed.weight": {"format": "int", "bits": 4}}}, f)
        self.expect(3, "eval", FASHION, "--recipe", recipe, text="head.weight")

    def test_output_refused(self):
        plain = os.path.join(TMP, "plain")
        open(plain, "w").close()
        code, out, _ = run("quantize", FIVE, "--bits", "4", "-o", plain, "--json")
        self.assertNotEqual(code, 0)
        self.assertEqual(out, "")

    def test_explorer_without_terminal(self):
        code, out, err = run(FASHION)
        self.assertEqual((code, out), (2, ""))
        self.assertIn("render", err)


class BadRows(Case):
    """Data that do not fit: one sentence that says where, and nothing is computed."""

    def refused(self, model, name, content, *words):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, name)
            if isinstance(content, bytes):
                with open(path, "wb") as f:
                    f.write(content)
            else:
                tensors_write(path, content)
            code, out, err = run("eval", model, "--data", path, "-q")
        self.assertEqual((code, out), (3, ""), (name, err))
        self.assertEqual(err.count("\n"), 1, err)
        for word in (name,) + words:
            self.assertIn(word, err)

    def test_texts(self):
        good = b"the book is good\tpositive\n"
        for name, content, *words in (
                ("label.tsv", good + b"the book\tpurple\n", "line 2", "purple", "column 2"),
                ("ragged.tsv", good + b"the book\n", "line 2 has 1 columns"),
                ("ragged.csv", b"text,label\na,positive,b\n", "line 2 has 3 columns"),
                ("bytes.tsv", good + b"the \xff book\tpositive\n", "line 2, column 1", "UTF-8"),
                ("missing.jsonl", b'{"text":"a","label":"positive"}\n{"text":"b"}\n', "line 2",
                 "label"),
                ("cut.jsonl", b'{"text":"a","label":"positive"}\n{"text":\n', "line 2"),
                ("list.jsonl", b"[1]\n", "line 1", "object"),
                ("empty.tsv", b"", "empty")):
            self.refused(SENTENCES, name, content, *words)
        self.refused(LLAMA, "text.txt", b"a \xff b\n", "line 1", "UTF-8")

    def test_tensors(self):
        def rows(ids, width, labels):
            return {"input_ids": ("I32", [len(ids) // width, width],
                                  struct.pack("<%di" % len(ids), *ids)),
                    "labels": ("U8", [len(labels)], bytes(labels))}

        def documents(ids):
            return {"input_ids": ("I32", [len(ids)], struct.pack("<%di" % len(ids), *ids)),
                    "doc_offsets": ("I64", [2], struct.pack("<2q", 0, len(ids)))}

        self.refused(SENTENCES, "ids.safetensors", rows([5, 5, 5, 99999], 2, [0, 1]),
                     "row 1, place 1", "99999", "847")
        self.refused(SENTENCES, "below.safetensors", rows([5, -7], 2, [0]), "row 0, place 1", "-7")
        self.refused(SENTENCES, "long.safetensors", rows([5] * 40, 40, [0]), "[1, 40]", "32")
        self.refused(SENTENCES, "label.safetensors", rows([5] * 4, 2, [0, 9]), "row 1", "label 9")
        self.refused(LLAMA, "long.safetensors", documents([5] * 300), "document 0", "300", "128")
        self.refused(LLAMA, "ids.safetensors", documents([5, 6, 5000, 7]), "document 0, token 2",
                     "5000", "2048")


if __name__ == "__main__":
    cli_case.main()
