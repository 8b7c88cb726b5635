#!/usr/bin/env python3
"""The command line's contract: flags, JSON keys, figures of known models, errors and exit codes.

usage: test_cli.py QEXPLORE SOURCE_ROOT          (standard library only)
"""
import json
import math
import os
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

PROGRAM, ROOT = sys.argv[1], sys.argv[2]
FASHION = os.path.join(ROOT, "samples/fashion-cnn")
FIVE = os.path.join(ROOT, "samples/five-weights/model.safetensors")
MLP = os.path.join(ROOT, "samples/fashion-mlp")
LLAMA = os.path.join(ROOT, "samples/llama-tiny")
SENTENCES = os.path.join(ROOT, "samples/bert-sentiment")
TMP = tempfile.mkdtemp(prefix="qx-cli-")
ENV = dict(os.environ, HOME=TMP, XDG_CACHE_HOME=TMP + "/cache", XDG_STATE_HOME=TMP + "/state",
           LC_ALL="C.UTF-8", TERM="xterm-256color",
           XDG_DATA_DIRS=TMP)  # no data sets of the machine
ENV.pop("NO_COLOR", None)


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


class Info(unittest.TestCase):
    def test_header_only(self):
        a = answer("info", FIVE)
        self.assertEqual(a["schema"], "qexplore.info/1")
        self.assertEqual(set(a["program"]), {"version", "cpu", "isa", "threads"})
        self.assertEqual(a["model"]["format"], "safetensors")
        self.assertEqual(a["model"]["params"], 5)
        t = a["tensors"][0]
        self.assertEqual((t["name"], t["shape"], t["dtype"], t["bytes"]),
                         ("five.weight", [1, 5], "F32", 20))
        self.assertIsNone(t["stats"])

    def test_stats(self):
        st = answer("info", FIVE, "--stats")["tensors"][0]["stats"]
        self.assertEqual((st["min"], st["max"], st["absmax"], st["zeros"], st["nan"], st["inf"]),
                         (-2, 8, 8, 1, 0, 0))
        self.assertAlmostEqual(st["mean"], 1.2, 12)
        self.assertAlmostEqual(st["std"], 3.5440090293338699, 9)
        self.assertEqual(st["p999"], 8)

    def test_layers_glob(self):
        names = [t["name"] for t in answer("info", FASHION, "--layers", "head*")["tensors"]]
        self.assertEqual(names, ["head.bias", "head.weight"])

    def test_text(self):
        code, out, _ = run("info", FASHION)
        self.assertEqual(code, 0)
        self.assertIn("head.weight", out)


class Quantize(unittest.TestCase):
    def five(self, *flags):
        return answer("quantize", FIVE, "--bits", "8", "--gran", "tensor", *flags)["layers"][0]

    def test_worked_example(self):  # ux.md 4.5
        a = self.five("--method", "minmax")
        self.assertAlmostEqual(a["mse"], 7.4404e-5, 8)
        self.assertAlmostEqual(a["sqnr_db"], 52.75, 1)
        self.assertEqual((a["basis"], a["bits"], a["gran"], a["sym"]), ("exact", 8, "tensor", True))
        b = self.five("--method", "manual:3")
        self.assertAlmostEqual(b["mse"], 5.0, 3)
        self.assertAlmostEqual(b["mae"], 1.005, 2)
        self.assertAlmostEqual(b["cosine"], 0.926, 3)
        self.assertEqual((b["clipped_low"], b["clipped_high"]), (0, 1))
        self.assertEqual((b["lo"], b["hi"]), (-3, 3))
        c = self.five("--method", "mse")
        self.assertTrue(7.99 <= c["hi"] <= 8.0, c["hi"])
        self.assertTrue(6.75e-5 <= c["mse"] <= 7.45e-5, c["mse"])

    def test_keys(self):
        a = answer("quantize", FASHION, "--bits", "4", "--layers", "head.weight")
        want = {"name", "shape", "bits", "format", "gran", "sym", "method", "lo", "hi", "scale_min",
                "scale_max", "clipped_low", "clipped_high", "mse", "mae", "sqnr_db", "cosine",
                "mse_clip", "mse_round", "bits_per_weight", "bytes", "basis"}
        self.assertEqual(want - set(a["layers"][0]), set())
        self.assertEqual({"bytes", "bytes_fp32", "bits_per_weight"} - set(a["totals"]), set())
        self.assertEqual([r["name"] for r in a["layers"]], ["head.weight"])

    def test_scope_and_keep(self):
        a = answer("quantize", FASHION, "--bits", "4", "--keep", "stem*=fp16", "--keep", "head=fp32")
        by_name = {r["name"]: r for r in a["layers"]}
        self.assertEqual(by_name["stem.conv.weight"]["format"], "fp16")
        self.assertNotIn("head.weight", by_name)
        self.assertNotIn("dense.bias", by_name)
        self.assertEqual(by_name["dense.weight"]["gran"], "channel")
        self.assertEqual(by_name["dense.weight"]["method"], "mse")

    def test_written_folder_is_the_simulated_model(self):
        out = os.path.join(TMP, "int4")
        recipe = os.path.join(TMP, "int4.json")
        flags = ("--bits", "4", "--gran", "group:32", "--method", "minmax")
        answer("quantize", FASHION, *flags, "-o", out, "--save-recipe", recipe)
        direct = answer("eval", FASHION, *flags)["metrics"]["correct"]
        self.assertEqual(answer("eval", out)["metrics"]["correct"], direct)
        by_recipe = answer("eval", FASHION, "--recipe", recipe)
        self.assertEqual(by_recipe["metrics"]["correct"], direct)
        saved = load(recipe)
        self.assertEqual(saved["schema"], "qexplore.recipe/1")
        layer = saved["layers"]["dense.weight"]
        self.assertEqual((layer["format"], layer["bits"], layer["gran"], layer["sym"], layer["scale"],
                          layer["method"], layer["act"]),
                         ("int", 4, "group:32", True, "f16", "minmax", None))

    def test_code_books(self):
        """Between the even steps of as many bits and what is lossless; sizes by hand."""
        rows = {f: answer("quantize", FASHION, "--format", f, "--gran", "group:64", "--layers",
                          "dense.weight")["layers"][0] for f in ("nf4", "fp4", "fp8-e4m3", "fp8-e5m2")}
        int4 = answer("quantize", FASHION, "--bits", "4", "--gran", "group:64", "--layers",
                      "dense.weight")["layers"][0]
        n = int4["shape"][0] * int4["shape"][1]
        for name, row in rows.items():
            bits = 8 if name.startswith("fp8") else 4
            self.assertEqual((row["format"], row["bits"], row["sym"]), (name, bits, True))
            self.assertEqual(row["bytes"], n * bits // 8 + n // 64 * 2)
        self.assertGreater(rows["nf4"]["sqnr_db"], int4["sqnr_db"])
        self.assertGreater(rows["nf4"]["sqnr_db"], rows["fp4"]["sqnr_db"])
        self.assertGreater(rows["fp8-e4m3"]["sqnr_db"], rows["fp8-e5m2"]["sqnr_db"])
        self.assertGreater(rows["fp8-e5m2"]["sqnr_db"], rows["nf4"]["sqnr_db"])

    def test_code_books_have_no_choice(self):
        for flags, word in ((("--asym",), "symmetric"), (("--bits", "8"), "4 bits"),
                            (("--act-bits", "8"), "--act-bits")):
            code, out, err = run("quantize", FIVE, "--format", "nf4", *flags)
            self.assertNotEqual(code, 0)
            self.assertEqual(out, "")
            self.assertIn(word, err)

    def test_formats(self):
        """Every format on one tensor: the figures of quantize, the front by its definition."""
        flags = ("--layers", "dense.weight", "--gran", "group:64")
        rows = answer("formats", FASHION, *flags)["layers"][0]["rows"]
        self.assertEqual([r["bytes"] for r in rows], sorted(r["bytes"] for r in rows))
        names = [r["format"] + str(r["bits"]) for r in rows]
        self.assertEqual(sorted(names), sorted(set(names)))
        for one in ("int4", "nf44", "fp8-e4m38", "bf1616"):
            self.assertIn(one, names)
        nf4 = rows[names.index("nf44")]
        same = answer("quantize", FASHION, *flags, "--format", "nf4")["layers"][0]
        for key in ("mse", "sqnr_db", "bytes", "bits_per_weight", "basis"):
            self.assertEqual(nf4[key], same[key])
        for r in rows:
            beaten = any(o["bytes"] <= r["bytes"] and o["sqnr_db"] >= r["sqnr_db"] and
                         (o["bytes"], o["sqnr_db"]) != (r["bytes"], r["sqnr_db"]) for o in rows)
            self.assertEqual(r["front"], not beaten)

    def test_formats_measured(self):
        """Beside the prediction, the figures of eval; another layer is as the recipe has it."""
        flags = ("--layers", "dense2.weight")
        a = answer("formats", MLP, *flags, "--measure")
        rows = {(r["format"], r["bits"]): r["measured"] for r in a["layers"][0]["rows"]}
        self.assertTrue(a["complete"])
        for (fmt, bits), wanted in ((("int", 2), ("--bits", "2")), (("nf4", 4), ("--format", "nf4"))):
            m = answer("eval", MLP, *flags, *wanted)["metrics"]
            row = rows[fmt, bits]
            self.assertEqual((row["metric"], row["n"]), ("accuracy", m["n"]))
            self.assertEqual(row["value"], m["accuracy"])
            self.assertAlmostEqual(row["change"], m["accuracy"] - row["fp32"], 12)

    def test_zero_points_are_for_integers(self):
        def mse(*flags):
            rows = answer("formats", FIVE, "--scope", "all", *flags)["layers"][0]["rows"]
            return {(r["format"], r["bits"]): r["mse"] for r in rows}
        asym, sym = mse("--asym"), mse()
        self.assertEqual(asym["nf4", 4], sym["nf4", 4])
        self.assertNotEqual(asym["int", 4], sym["int", 4])

    def test_needs_a_recipe(self):
        code, out, err = run("quantize", FIVE)
        self.assertEqual((code, out), (2, ""))
        self.assertIn("--bits", err)


class Eval(unittest.TestCase):
    reference = load(FASHION + "/reference.json")["sets"]["eval.safetensors"]

    def test_fp32(self):
        a = answer("eval", FASHION)
        m = a["metrics"]
        self.assertLessEqual(abs(m["correct"] - self.reference["fp32"]["correct"]), 2)
        self.assertEqual(m["n"], 2000)
        self.assertAlmostEqual(m["accuracy"], m["correct"] / 2000, 12)
        self.assertTrue(m["ci95"][0] < m["accuracy"] < m["ci95"][1])
        self.assertEqual(a["engine"], "simulated")
        self.assertEqual(a["data"]["n"], 2000)

    def test_predicted(self):
        flags = ("--bits", "4", "--gran", "tensor", "--max-samples", "500")
        a = answer("eval", FASHION, *flags, "--predict")
        p = a["predicted"]
        self.assertNotIn("metrics", a)
        self.assertEqual((p["metric"], p["basis"]), ("accuracy", "predicted"))
        self.assertTrue(0 < p["lo"] <= p["value"] <= p["hi"] <= 1)
        self.assertTrue(p["kl"] > 0)
        self.assertEqual(p["coverage"], None if p["n_measured"] < 19 else 0.9)
        # the same again; measured beside it, and within a few points of that
        both = answer("eval", FASHION, *flags, "--predict", "--measure")
        self.assertEqual(both["predicted"], p)
        self.assertLess(abs(both["metrics"]["accuracy"] - p["value"]), 0.08)
        # nothing changed, nothing predicted
        same = answer("eval", FASHION, "--max-samples", "500", "--predict")["predicted"]
        self.assertEqual((same["change"], same["within_noise"]), (0, True))

    def test_predicted_gates(self):
        flags = ("eval", FASHION, "--bits", "2", "--gran", "tensor", "--predict",
                 "--max-samples", "300", "--json")
        self.assertEqual(run(*flags, "--max-drop", "0.01")[0], 5)
        self.assertEqual(run(*flags, "--fail-under", "0.9")[0], 5)
        self.assertEqual(run(*flags, "--fail-under", "0.01")[0], 0)

    def test_reference_figures(self):
        for gran, bits in (("channel", "8"), ("channel", "4"), ("tensor", "4"), ("group:32", "4")):
            m = answer("eval", FASHION, "--bits", bits, "--gran", gran, "--method", "minmax",
                       "--scale", "f32")["metrics"]
            want = self.reference["rtn_sym_linear"] if "rtn_sym_linear" in self.reference \
                else self.reference["rtn_sym_all"]
            self.assertLessEqual(abs(m["correct"] - want[gran][bits]["correct"]), 2, (gran, bits))

    def test_weights_only_run_packed(self):
        for flags in (["--bits", "4"], ["--bits", "4", "--gran", "group:32"], ["--format", "fp16"]):
            flags += ["--max-samples", "500", "--seed", "1"]
            a = answer("eval", FASHION, *flags, "--engine", "packed")
            b = answer("eval", FASHION, *flags)
            self.assertEqual((a["engine"], b["engine"]), ("packed", "simulated"))
            self.assertLessEqual(abs(a["metrics"]["correct"] - b["metrics"]["correct"]), 1, flags)
        code, _, err = run("eval", FASHION, "--bits", "8", "--engine", "integer")
        self.assertEqual(code, 4)
        self.assertIn("--dynamic", err)

    def test_gates(self):
        code, out, err = run("eval", FASHION, "--bits", "2", "--method", "minmax", "--max-drop",
                             "0.01", "--json")
        self.assertEqual(code, 5)
        self.assertLess(json.loads(out)["metrics"]["accuracy"], 0.6)
        self.assertIn("--max-drop", err)
        self.assertEqual(run("eval", FASHION, "--fail-under", "0.99")[0], 5)
        self.assertEqual(run("eval", FASHION, "--fail-under", "0.90")[0], 0)

    def test_drawn_rows(self):
        a = answer("eval", FASHION, "--max-samples", "300", "--seed", "7")["metrics"]
        b = answer("eval", FASHION, "--max-samples", "300", "--seed", "7")["metrics"]
        self.assertEqual(a["n"], 300)
        self.assertEqual(a["correct"], b["correct"])

    def test_threads_do_not_matter(self):
        a = answer("eval", FASHION, "--bits", "3", "--threads", "1")["metrics"]
        b = answer("eval", FASHION, "--bits", "3", "--threads", "3")["metrics"]
        self.assertEqual(a["correct"], b["correct"])

    def test_activations(self):
        some = ("--max-samples", "500", "--seed", "1")
        fp32 = answer("eval", FASHION, *some)["metrics"]["accuracy"]
        for flags in (("--act-bits", "8"), ("--act-bits", "8", "--act-method", "mse"),
                      ("--dynamic",), ("--act-bits", "8", "--act-gran", "token", "--act-asym")):
            a = answer("eval", FASHION, "--bits", "8", *flags, *some)
            self.assertEqual(a["engine"], "integer", flags)
            self.assertGreater(a["metrics"]["accuracy"], fp32 - 0.01, flags)
            self.assertLess(a["metrics"]["code_mismatch"], 0.01, flags)
            self.assertEqual("calib" in a, "--act-bits" in flags and "--act-gran" not in flags)
            b = answer("eval", FASHION, "--bits", "8", *flags, *some, "--engine", "simulated")
            self.assertEqual(b["engine"], "simulated")
            self.assertNotIn("code_mismatch", b["metrics"])
            self.assertLessEqual(abs(a["metrics"]["correct"] - b["metrics"]["correct"]), 2)

    def test_calibration_on_noise(self):
        code, out, err = run("eval", FASHION, "--bits", "8", "--act-bits", "8", "--calib",
                             "random:32", "--json")
        self.assertEqual(code, 0)
        self.assertEqual(json.loads(out)["calib"]["n"], 32)
        self.assertIn("noise", err)

    def test_recipe_with_activations(self):
        recipe = os.path.join(TMP, "act.json")
        flags = ("--bits", "8", "--act-bits", "8", "--layers", "block*")
        answer("quantize", FASHION, *flags, "--save-recipe", recipe)
        act = load(recipe)["layers"]["block1.a.conv.weight"]["act"]
        self.assertEqual((act["bits"], act["sym"], act["gran"], act["dynamic"], act["method"]),
                         (8, False, "tensor", False, "percentile:99.99"))
        self.assertLessEqual(act["lo"], 0)
        self.assertGreater(act["hi"], 0)
        a, b = answer("eval", FASHION, *flags), answer("eval", FASHION, "--recipe", recipe)
        self.assertEqual(a["metrics"]["correct"], b["metrics"]["correct"])
        self.assertEqual(a["recipe_hash"], b["recipe_hash"])
        self.assertEqual((a["engine"], b["engine"]), ("integer", "integer"))

    def test_comma_locale(self):
        env = dict(ENV, LC_ALL="de_DE.UTF-8", LC_NUMERIC="de_DE.UTF-8")
        code, out, _ = run("quantize", FIVE, "--bits", "8", "--gran", "tensor", "--method",
                           "manual:0.5", "--json", env=env)
        self.assertEqual(code, 0)
        self.assertEqual(json.loads(out)["layers"][0]["hi"], 0.5)


def tensors_write(path, **tensors):
    """A safetensors file of (dtype, shape, bytes)."""
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(t[2] for t in tensors.values()))


class BadRows(unittest.TestCase):
    """Data that do not fit: one sentence that says where, and nothing is computed."""

    def refused(self, model, name, content, *words):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, name)
            if isinstance(content, bytes):
                with open(path, "wb") as f:
                    f.write(content)
            else:
                tensors_write(path, **content)
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
                     "row 1, place 1", "99999", "636")
        self.refused(SENTENCES, "below.safetensors", rows([5, -7], 2, [0]), "row 0, place 1", "-7")
        self.refused(SENTENCES, "long.safetensors", rows([5] * 40, 40, [0]), "[1, 40]", "32")
        self.refused(SENTENCES, "label.safetensors", rows([5] * 4, 2, [0, 9]), "row 1", "label 9")
        self.refused(LLAMA, "long.safetensors", documents([5] * 300), "document 0", "300", "128")
        self.refused(LLAMA, "ids.safetensors", documents([5, 6, 5000, 7]), "document 0, token 2",
                     "5000", "2048")


class Sequences(unittest.TestCase):
    BERT = os.path.join(ROOT, "tests/golden/net/encoder_bert")
    LLAMA = os.path.join(ROOT, "tests/golden/net/decoder_llama")

    def test_classifier(self):
        want = load(self.BERT + "/reference.json")["sets"]["eval.safetensors"]["fp32"]
        m = answer("eval", self.BERT)["metrics"]
        self.assertEqual((m["correct"], m["n"]), (want["correct"], want["n"]))
        a = answer("eval", self.BERT, "--bits", "8", "--dynamic")
        self.assertEqual(a["engine"], "integer")
        self.assertEqual(a["metrics"]["code_mismatch_rows"], 0)

    def test_what_changes_most(self):
        a = answer("eval", SENTENCES, "--bits", "2", "--max-samples", "300", "--changes", "300")
        m, rows = a["metrics"], a["changes"]
        flips = [r["class"] != r["class_fp32"] for r in rows]
        self.assertEqual(sum(flips), m["flips"])
        self.assertEqual(flips, sorted(flips, reverse=True))  # those that flip come first
        lost = sum(r["class_fp32"] == r["label"] != r["class"] for r in rows)
        gained = sum(r["class_fp32"] != r["label"] == r["class"] for r in rows)
        self.assertEqual((lost, gained), (m["lost"], m["gained"]))
        still = [abs(r["margin"] - r["margin_fp32"]) for r, f in zip(rows, flips) if not f]
        self.assertEqual(still, sorted(still, reverse=True))
        with open(SENTENCES + "/eval.tsv") as f:
            lines = [line.split("\t") for line in f]
        for r in rows[:20]:
            self.assertEqual((r["text"], r["label"]), (lines[r["row"]][0], lines[r["row"]][1].strip()))
        self.assertNotEqual(m["macro_f1"], m["macro_f1_fp32"])
        code, out, _ = run("eval", SENTENCES, "--bits", "2", "--max-samples", "300", "--changes", "2")
        self.assertEqual(code, 0)
        self.assertIn(rows[1]["text"], out)
        self.assertNotIn(rows[2]["text"], out)

    def test_rows_that_go_next(self):
        a = answer("eval", SENTENCES, "--bits", "2", "--max-samples", "300", "--rows", "300",
                   "--changes", "300")
        r, m = a["rows"], a["metrics"]
        self.assertEqual((r["basis"], r["n"], r["lost"]), ("measured", 300, m["lost"]))
        self.assertEqual(r["right_fp32"], round(300 * m["accuracy_fp32"]))
        self.assertEqual(len(r["next"]), r["right_fp32"] - r["lost"])
        leads = [row["lead"] for row in r["next"]]
        self.assertEqual(leads, sorted(leads))
        self.assertGreaterEqual(leads[0], 0)
        changed = {c["row"]: c for c in a["changes"]}
        for row in r["next"]:
            c = changed[row["row"]]
            self.assertEqual((c["class"], c["label"], c["text"]), (row["class"],) * 2 + (row["text"],))
            self.assertEqual((c["margin_fp32"], c["margin"]), (row["lead_fp32"], row["lead"]))
        code, out, _ = run("eval", SENTENCES, "--bits", "2", "--max-samples", "300", "--rows", "2")
        self.assertEqual(code, 0)
        self.assertIn(r["next"][1]["text"], out)
        self.assertNotIn(r["next"][2]["text"], out)

    def test_rows_predicted(self):
        a = answer("eval", FASHION, "--bits", "3", "--layers", "head.weight", "--predict")
        p = a["rows"]
        self.assertNotIn("metrics", a)
        self.assertEqual((p["basis"], len(p["next"])), ("predicted", 10))
        self.assertIn(p["n"], (256, 1024))  # more where that is quick
        measured = answer("eval", FASHION, "--bits", "3", "--layers", "head.weight", "--rows", "1000")
        lead = {row["row"]: row["lead"] for row in measured["rows"]["next"]}
        near = [abs(lead[row["row"]] - row["lead"]) for row in p["next"] if row["row"] in lead]
        self.assertGreater(len(near), 5)
        self.assertLess(sum(near) / len(near), 0.5)
        self.assertIsNone(p["lost"])
        code, out, err = run("eval", LLAMA, "--bits", "4", "--rows", "3", "--json")
        self.assertEqual((code, out), (4, ""))
        self.assertIn("--changes", json.loads(err)["message"])

    def test_encoder_without_classifier_is_predicted(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(SENTENCES + "/model.safetensors", "rb") as f:
                n = struct.unpack("<Q", f.read(8))[0]
                header, data = json.loads(f.read(n)), f.read()
            kept, at, parts = {}, 0, []
            for name, t in header.items():
                if name != "__metadata__" and not name.startswith("classifier"):
                    first, end = t["data_offsets"]
                    kept[name] = dict(t, data_offsets=[at, at + end - first])
                    parts.append(data[first:end])
                    at += end - first
            text = json.dumps(kept).encode()
            with open(folder + "/model.safetensors", "wb") as f:
                f.write(struct.pack("<Q", len(text)) + text + b"".join(parts))
            config = dict(load(SENTENCES + "/config.json"), architectures=["BertModel"])
            config.pop("id2label", None)
            with open(folder + "/config.json", "w") as f:
                json.dump(config, f)
            shutil.copy(SENTENCES + "/tokenizer.json", folder)
            with open(SENTENCES + "/eval.tsv") as f, open(folder + "/eval.txt", "w") as out:
                out.writelines(f.readline().split("\t")[0] + "\n" for _ in range(100))
            one = ("--layers", "*layer.0.intermediate*")
            both = answer("eval", folder, "--bits", "2", *one, "--predict", "--measure")
            p = both["predicted"]
            self.assertEqual(p["metric"], "same_top")
            # one site, measured at its very setting: all rows are P, nothing is composed
            self.assertAlmostEqual(p["value"], both["metrics"]["same_top"], delta=0.03)
            self.assertLess(p["value"], 1)
            mild = answer("eval", folder, "--bits", "8", "--predict")
            self.assertNotIn("metrics", mild)
            self.assertGreater(mild["predicted"]["value"], p["value"])
            self.assertEqual(run("eval", folder, "--bits", "2", "--predict", "--fail-under",
                                 "0.99")[0], 5)
            rows = answer("sweep", folder, "--bits", "2,8", *one)["rows"]
            self.assertGreater(rows[0]["kl"], rows[1]["kl"])
            a = answer("pareto", folder, "--bits", "4,8", "--bpw", "16")
            self.assertEqual(a["metric"], "agreement")
            self.assertTrue(all(0 < p["value"] <= 1 for p in a["points"]))

    def test_tokens_that_change_most(self):
        tiny = os.path.join(ROOT, "samples/llama-tiny")
        a = answer("eval", tiny, "--bits", "3", "--max-samples", "2", "--changes", "50")
        rows = a["changes"]
        self.assertEqual(len(rows), 50)
        change = [abs(r["p"] - r["p_fp32"]) for r in rows]
        self.assertEqual(change, sorted(change, reverse=True))
        for r in rows:
            self.assertTrue(r["token"] and r["text"])
            self.assertTrue(0 <= r["kl"] <= a["metrics"]["kld_max"])
            self.assertTrue(r["top"] and r["top_fp32"])
        far = answer("eval", tiny, "--bits", "3", "--max-samples", "2", "--changes", "50",
                     "--changes-by", "kl")["changes"]
        kl = [r["kl"] for r in far]
        self.assertEqual(kl, sorted(kl, reverse=True))
        self.assertAlmostEqual(kl[0], a["metrics"]["kld_max"], places=6)
        known = {r["row"]: r["kl"] for r in far}
        for r in rows:
            self.assertEqual(r["kl"], known.get(r["row"], r["kl"]))
            self.assertTrue(r["row"] in known or r["kl"] <= kl[-1])
        code, out, _ = run("eval", tiny, "--bits", "3", "--max-samples", "2", "--changes-by", "kl")
        self.assertEqual(code, 0)
        self.assertIn("by KL divergence", out)
        self.assertEqual(len(out.strip().split("by KL divergence:\n")[1].split("\n")), 10)
        code, out, err = run("eval", SENTENCES, "--bits", "3", "--max-samples", "20",
                             "--changes-by", "kl", "--json")
        self.assertEqual((code, out), (4, ""))
        self.assertIn("language models", json.loads(err)["message"])

    def test_perplexity(self):
        m = answer("eval", self.LLAMA)["metrics"]
        self.assertEqual(m["tokens"], 146)
        self.assertAlmostEqual(m["ppl"], math.exp(m["nll"]), 9)
        self.assertNotIn("ppl_fp32", m)
        a = answer("eval", self.LLAMA, "--bits", "8", "--dynamic")
        self.assertEqual(a["engine"], "integer")
        self.assertEqual(a["metrics"]["ppl_fp32"], m["ppl"])
        self.assertLess(abs(a["metrics"]["increase"]), 0.02)

    def test_gates_of_words(self):
        code, out, err = run("eval", self.LLAMA, "--bits", "2", "--max-drop", "0")
        self.assertEqual(code, 5)
        self.assertIn("perplexity", out)
        self.assertIn("--max-drop", err)
        code, _, err = run("eval", self.LLAMA, "--fail-under", "0.5")
        self.assertEqual(code, 4)
        self.assertIn("--max-drop", err)

    def test_text_of_its_own(self):
        bare = ("--bits", "8", "--act-bits", "8", "--max-samples", "4")
        a = answer("eval", LLAMA, *bare, "--calib", "self:4", "--seed", "3")
        self.assertIn("self:4", a["calib"]["source"])
        self.assertEqual(a["calib"]["n"], 4)
        self.assertIn("seed 3", a["calib"]["note"])
        b = answer("eval", LLAMA, *bare, "--calib", "self:4", "--seed", "3")
        self.assertEqual(a["calib"]["hash"], b["calib"]["hash"])
        self.assertEqual(a["metrics"]["ppl"], b["metrics"]["ppl"])
        c = answer("eval", LLAMA, *bare, "--calib", "self:4", "--seed", "4")
        self.assertNotEqual(a["calib"]["hash"], c["calib"]["hash"])
        p = answer("eval", LLAMA, "--bits", "3", "--data", "self", "--predict", "--measure")
        self.assertEqual(p["data"]["n"], 32)
        self.assertIn("the model's own", p["data"]["note"])
        real = answer("eval", LLAMA, "--bits", "3", "--max-samples", "16")["metrics"]["kld_mean"]
        self.assertLess(abs(math.log(p["metrics"]["kld_mean"] / real)), math.log(2))
        code, out, err = run("eval", FASHION, "--bits", "8", "--data", "self")
        self.assertEqual((code, out), (3, ""))
        self.assertIn("language model", err)

    def test_generate_on_every_engine(self):
        tiny = os.path.join(ROOT, "samples/llama-tiny")
        said = {}
        for engine, flags in (("simulated", ("--bits", "4")), ("packed", ("--bits", "4")),
                              ("integer", ("--bits", "8", "--dynamic"))):
            a = answer("generate", tiny, "--prompt", "The whale", "--tokens", "12", *flags,
                       "--engine", engine)
            self.assertEqual((a["recipe"]["engine"], a["fp32"]["engine"]), (engine, "simulated"))
            self.assertEqual(a["recipe"]["tokens"], 12)
            said[engine] = a
        self.assertEqual(said["packed"]["fp32"]["text"], said["integer"]["fp32"]["text"])
        self.assertEqual(said["packed"]["recipe"]["text"], said["simulated"]["recipe"]["text"])
        flags = ("generate", tiny, "--prompt", "The whale", "--tokens", "3", "--bits", "8")
        code, out, err = run(*flags, "--engine", "integer")
        self.assertEqual((code, out), (4, ""))
        self.assertIn("input", err)  # none is quantized
        code, out, _ = run(*flags, "--engine", "packed")
        self.assertEqual(code, 0)
        self.assertIn("recipe: packed", out)
        self.assertEqual(run(*flags, "--engine", "fast")[0], 2)

    def test_generate(self):
        tiny = os.path.join(ROOT, "samples/llama-tiny")
        a = answer("generate", tiny, "--prompt", "The whale", "--tokens", "8", "--bits", "2")
        self.assertEqual((a["schema"], a["prompt"]), ("qexplore.generate/1", "The whale"))
        self.assertEqual((a["temperature"], a["top_p"]), (0, 1))
        fp32, recipe = a["fp32"], a["recipe"]
        self.assertEqual((fp32["tokens"], fp32["same_tokens"], recipe["tokens"]), (8, 8, 8))
        self.assertLess(recipe["same_tokens"], 8)
        self.assertNotEqual(fp32["text"], recipe["text"])
        longer = answer("generate", tiny, "--prompt", "The whale", "--tokens", "12")
        self.assertTrue(longer["fp32"]["text"].startswith(fp32["text"]))
        self.assertEqual(longer["recipe"], longer["fp32"])
        drawn = [answer("generate", tiny, "--prompt", "The whale", "--temperature", "1.5", "--seed",
                        seed)["fp32"]["text"] for seed in ("1", "1", "2")]
        self.assertEqual(drawn[0], drawn[1])
        self.assertNotEqual(drawn[0], drawn[2])
        _, text, _ = run("generate", tiny, "--prompt", "The whale", "--bits", "2")
        self.assertIn("part at ||", text)
        _, text, _ = run("try", tiny, "The whale", "--bits", "2")
        self.assertIn("part at ||", text)
        code, _, err = run("generate", tiny)
        self.assertEqual((code, "--prompt" in err), (2, True))
        code, _, err = run("generate", tiny, "--prompt", "a " * 500)
        self.assertEqual((code, "takes 128" in err), (3, True))


class Bench(unittest.TestCase):
    def test_rows(self):
        a = answer("bench", FASHION, "--variants", "fp32,fp16-convert,fp16,int8-weights,int8,int4-weights,int4-g32", "--runs", "5",
                   "--warmup", "1", "--max-samples", "200")
        self.assertEqual(a["schema"], "qexplore.bench/1")
        self.assertEqual(set(a["machine"]), {"cpu", "isa", "threads"})
        rows = a["rows"]
        self.assertEqual([r["variant"] for r in rows], ["fp32", "fp16-convert", "fp16", "int8-weights", "int8", "int4-weights", "int4-g32"])
        want = {"variant", "bytes", "bits_per_weight", "latency_ms", "throughput", "accuracy",
                "speedup", "energy_j", "kernel", "macs", "bytes_moved", "reason"}
        for r in rows:
            self.assertEqual(want - set(r), set())
            self.assertEqual((r["n"], r["reason"]), (200, None))
            l = r["latency_ms"]
            self.assertTrue(0 < l["p5"] <= l["p50"] <= l["p95"])
            self.assertEqual((l["runs"], l["warmup"]), (5, 1))
            self.assertTrue(r["energy_j"] is not None or r["energy_reason"])
            self.assertTrue(0.85 < r["accuracy"] <= 1)
        self.assertEqual(rows[0]["speedup"], 1)
        self.assertEqual(sorted((r["bytes"] for r in rows), reverse=True),
                         [r["bytes"] for r in rows])
        self.assertIn("u8s8", rows[4]["kernel"])
        self.assertEqual([r["engine"] for r in rows], ["float", "float", "packed", "packed", "integer", "packed", "integer"])

    def test_recipe_is_a_row(self):
        quick = ("--runs", "5", "--warmup", "1", "--max-samples", "300")
        a = answer("bench", FASHION, "--variants", "fp32,int8", "--bits", "8", "--act-bits", "8",
                   *quick)
        rows = a["rows"]
        self.assertEqual([r["variant"] for r in rows], ["fp32", "int8", "recipe"])
        self.assertEqual((rows[2]["engine"], rows[2]["kernel"]), ("integer", rows[1]["kernel"]))
        self.assertEqual((rows[2]["bytes"], rows[2]["accuracy"]),
                         (rows[1]["bytes"], rows[1]["accuracy"]))
        self.assertGreater(rows[2]["speedup"], 0)
        e = answer("eval", FASHION, "--bits", "8", "--act-bits", "8", "--max-samples", "300")
        self.assertEqual(rows[2]["recipe_hash"], e["recipe_hash"])
        a = answer("bench", FASHION, "--variants", "recipe,bf16", "--bits", "4", "--keep",
                   "head*=fp32", *quick)
        self.assertEqual([r["variant"] for r in a["rows"]], ["recipe", "bf16"])
        self.assertLess(a["rows"][0]["bits_per_weight"], 16)
        self.assertEqual(a["rows"][0]["engine"], "packed")
        with tempfile.TemporaryDirectory() as d:
            file = os.path.join(d, "r.json")
            answer("quantize", FASHION, "--bits", "4", "--save-recipe", file)
            b = answer("bench", FASHION, "--variants", "recipe", "--recipe", file, *quick)
            self.assertEqual(len(b["rows"]), 1)

    def test_fewer_than_five_runs_have_no_percentiles(self):
        r = answer("bench", FASHION, "--variants", "bf16", "--runs", "4", "--max-samples",
                   "64")["rows"][0]
        self.assertEqual([r["latency_ms"][k] for k in ("p5", "p50", "p95")], [None] * 3)
        self.assertGreater(r["latency_ms"]["mean"], 0)
        self.assertIsNone(r["speedup"])  # FP32 was not asked for

    def test_story(self):
        page, kept = os.path.join(TMP, "story.html"), os.path.join(TMP, "story")
        a = answer("bench", FASHION, "--story", "--epochs", "1", "--max-rows", "96", "--runs", "5",
                   "--max-samples", "100", "-o", kept, "--report", page)
        rows = {r["row"]: r for r in a["rows"]}
        self.assertEqual(len(rows), 9)
        for name, r in rows.items():
            self.assertIsNone(r["reason"], name)
            self.assertEqual(r["train_s"] is not None, name.startswith("qat"), name)
        self.assertEqual(rows["qat-int8"]["engine"], "integer")
        self.assertLess(rows["ptq-int4"]["bytes"], rows["ptq-mixed"]["bytes"])
        self.assertLess(rows["ptq-mixed"]["bytes"], rows["ptq-int8"]["bytes"])
        self.assertEqual(rows["ptq-mixed"]["bytes"], rows["qat-mixed"]["bytes"])
        claims = {c["claim"]: c for c in a["claims"]}
        saved = claims["size saved, INT4/8 QAT"]
        self.assertAlmostEqual(saved["here"],
                               100 * (1 - rows["qat-mixed"]["bytes"] / rows["fp32"]["bytes"]))
        self.assertEqual(saved["reached"], saved["here"] >= 68)
        energy = claims["energy saved, INT8 PTQ"]
        self.assertEqual(energy["here"] is None, bool(energy["reason"]))
        again = answer("eval", kept + "/qat-mixed", "--recipe", kept + "/qat-mixed/recipe.json",
                       "--max-samples", "100")
        self.assertEqual(again["metrics"]["accuracy"], rows["qat-mixed"]["accuracy"])
        with open(page) as f:
            html = f.read()
        self.assertIn("INT4/8 QAT", html)
        self.assertNotIn("src=", html)  # needs nothing beside it

    def test_story_without_training_data(self):
        a = answer("bench", MLP, "--story", "--runs", "5", "--max-samples", "100")
        reasons = {r["row"]: r["reason"] for r in a["rows"]}
        self.assertIn("train.safetensors", reasons["qat-int8"])
        self.assertIsNone(reasons["ptq-mixed"])
        self.assertIsNone(a["trained"])
        self.assertEqual(run("bench", MLP, "--epochs", "2")[0], 2)
        self.assertEqual(run("bench", MLP, "--story", "--variants", "fp32")[0], 2)

    def test_kernels(self):
        for args in (("--kernels", "1x64x96,5x70x33"), ("--kernels=1x64x96,5x70x33",)):
            a = answer("bench", *args, "--threads", "1")
            self.assertGreater(a["machine"]["read_gbs"] or 1, 0)
            self.assertIn("peak_gops", a["machine"])
            want = {"shape", "kernel", "weights", "threads", "gops", "gbs", "peak_share",
                    "ratio_openblas", "note"}
            for r in a["rows"]:
                self.assertEqual(set(r), want)
                self.assertEqual(r["threads"], 1)
                self.assertGreater(r["gops"], 0)
            self.assertEqual({r["shape"] for r in a["rows"]}, {"1x64x96", "5x70x33"})
            self.assertTrue(any("s8s4" in r["kernel"] for r in a["rows"]))


class Presets(unittest.TestCase):
    def test_list(self):
        code, out, _ = run("presets")
        self.assertEqual(code, 0)
        names = [line.split()[0] for line in out.splitlines()]
        self.assertEqual(names, [p["name"] for p in answer("presets")["presets"]])
        for name in ("seed-004", "torch-dynamic", "ort-static", "tensorrt", "bnb-8bit", "bnb-nf4",
                     "gptq-w4g128", "awq-w4g128", "q4_k_m-like"):
            self.assertIn(name, names)
        one = answer("presets", "bnb-nf4")["presets"]
        self.assertEqual([p["name"] for p in one], ["bnb-nf4"])
        self.assertIn("--format nf4", one[0]["flags"])

    def test_flags_say_the_same(self):
        for model in (FASHION, os.path.join(ROOT, "samples/llama-tiny")):
            for p in answer("presets")["presets"]:
                flags = answer("presets", p["name"], model)["presets"][0]["flags"]
                if "--algo" in flags and model != FASHION:
                    continue                    # minutes, and nothing new
                layers = []
                for args in (shlex.split(flags), ["--preset", p["name"]]):
                    path = os.path.join(TMP, "preset.json")
                    answer("quantize", model, *args, "--save-recipe", path)
                    layers.append(load(path)["layers"])
                    for layer in layers[-1].values():
                        layer.pop("origin")
                self.assertEqual(*layers, p["name"])

    def test_with_others(self):
        self.assertEqual(run("quantize", FASHION, "--preset", "bnb-nf4", "--keep", "dense*=fp16")[0],
                         0)
        for more in (["--bits", "4"], ["--layers", "x"], ["--dynamic"], ["--recipe", "x"]):
            code, _, err = run("quantize", FASHION, "--preset", "bnb-nf4", *more)
            self.assertEqual(code, 2, more)
            self.assertIn("--preset", err)
        code, _, err = run("quantize", FASHION, "--preset", "bnb-nf5")
        self.assertEqual(code, 2)
        self.assertIn("bnb-nf4", err)


class Errors(unittest.TestCase):
    def expect(self, code, *args, text=""):
        got, out, err = run(*args)
        self.assertEqual((got, out), (code, ""), (args, got, out, err))
        self.assertIn(text, err)
        self.assertEqual(err.count("\n"), 1, err)
        return err

    def test_usage(self):
        self.expect(2, "eval", FASHION, "--bist", "4", text="did you mean --bits")
        self.expect(2, "eval", FASHION, "--bits", "9", text="--bits")
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


def outliers_write(folder):
    """llama-tiny with six channels of every normalization 64 times as large, and the columns that read them as
    much smaller: the function stays, the inputs get outliers (as tests/golden/method/outliers.py)."""
    shutil.copytree(LLAMA, folder, ignore=shutil.ignore_patterns("train*", "reference*"))
    readers = {"input_layernorm": ("q_proj", "k_proj", "v_proj"),
               "post_attention_layernorm": ("gate_proj", "up_proj")}
    with open(os.path.join(folder, "model.safetensors"), "r+b") as f:
        size = struct.unpack("<Q", f.read(8))[0]
        header, body = json.loads(f.read(size)), bytearray(f.read())

        def scale(tensor, at, power):
            at = tensor["data_offsets"][0] + 2 * at
            v = struct.unpack_from("<H", body, at)[0]
            if v & 0x7f80:  # the exponent of a BF16 that is not 0
                struct.pack_into("<H", body, at, v + (power << 7))

        for name, t in header.items():
            for norm, layers in readers.items():
                is_norm = name.endswith(norm + ".weight")
                if is_norm or any(name.endswith(r + ".weight") for r in layers):
                    assert t["dtype"] == "BF16", name
                    width = t["shape"][-1]
                    for row in range(t["shape"][0] if len(t["shape"]) > 1 else 1):
                        for c in range(6):
                            scale(t, row * width + (c * 29 + 7) % width, 6 if is_norm else -6)
        f.seek(8 + size)
        f.write(body)


class Methods(unittest.TestCase):
    W8A8 = ("--bits", "8", "--method", "minmax", "--act-bits", "8", "--act-method", "minmax")

    def test_outlier_channels_come_back(self):
        made = os.path.join(TMP, "outliers")
        outliers_write(made)

        def lm(*flags, model=made):
            return answer("eval", model, "--max-samples", "10", *flags)["metrics"]

        lost = lm(*self.W8A8)
        fp32 = lm()
        self.assertAlmostEqual(fp32["ppl"], lm(model=LLAMA)["ppl"], 4)
        self.assertGreater(lost["increase"], 0.05)  # there is something to bring back
        smooth = lm(*self.W8A8, "--algo", "smoothquant:0.5")
        self.assertLessEqual(smooth["increase"], 0.2 * lost["increase"])
        kept = lm(*self.W8A8, "--algo", "llm-int8:6")
        self.assertGreaterEqual(kept["top1"], fp32["top1"] - 0.002)
        self.assertLessEqual(kept["increase"], 0.2 * lost["increase"])

        # the folder carries the smoothing: whoever rounds it plainly gets what the method gave
        folder = os.path.join(TMP, "smoothed")
        answer("quantize", made, *self.W8A8, "--algo", "smoothquant:0.5", "-o", folder)
        again = lm(*self.W8A8, model=folder)
        self.assertLessEqual(again["ppl"], fp32["ppl"] * (1 + 0.2 * lost["increase"]))

    def test_folders_hold_what_methods_chose(self):
        flags = ("--bits", "4", "--gran", "tensor", "--method", "minmax")
        flags += ("--algo", "cle,bias-correction")
        rows, folder = ("--max-samples", "300"), os.path.join(TMP, "folded")
        recipe = answer("eval", FASHION, *flags, *rows)["metrics"]
        answer("quantize", FASHION, *flags, "-o", folder)
        self.assertEqual(answer("eval", folder, *rows)["metrics"]["correct"], recipe["correct"])
        self.assertLess(recipe["correct"], recipe["n"])

    def test_corrections_without_a_place_are_refused(self):
        folder = os.path.join(TMP, "no-bias")
        code, _, err = run("quantize", LLAMA, "--bits", "4", "--algo", "bias-correction", "-o",
                           folder)
        self.assertNotEqual(code, 0)
        self.assertIn("no bias", err)
        self.assertFalse(os.path.exists(folder))


class Search(unittest.TestCase):
    def test_sweep_keys(self):
        a = answer("sweep", FASHION, "--bits", "3,8", "--layers", "*conv*", "--measure", "4",
                   "--method", "mae")
        self.assertEqual(a["schema"], "qexplore.sweep/1")
        rows = a["rows"]
        self.assertEqual(len(rows), 18)
        for r in rows:
            self.assertEqual({"layer", "site", "bits", "format", "kl", "delta", "accuracy", "basis",
                              "lo", "hi"} - set(r), set())
            self.assertTrue(r["lo"] <= r["accuracy"] <= r["hi"])
        self.assertEqual({r["basis"] for r in rows}, {"predicted", "measured"})
        self.assertGreaterEqual(sum(r["basis"] == "measured" for r in rows), 4)
        kl = {(r["layer"], r["bits"]): r["kl"] for r in rows}
        self.assertTrue(all(kl[layer, 3] > kl[layer, 8] for layer, _ in kl))

    def test_sweep_goes_on(self):
        flags = ("sweep", FASHION, "--bits", "6", "--method", "minmax")
        before = answer(*flags, "--measure", "2")["rows"]
        after = answer(*flags, "--measure", "3")["rows"]
        measured = [r for r in before if r["basis"] == "measured"]
        self.assertEqual(len(measured), 2)
        self.assertTrue(all(r in after for r in measured))
        self.assertEqual(sum(r["basis"] == "measured" for r in after), 5)
        every = answer(*flags, "--measure", "all")["rows"]
        self.assertEqual({r["basis"] for r in every}, {"measured"})

    def test_measured_cell_is_what_it_says(self):
        rows = answer("sweep", FASHION, "--bits", "2", "--measure", "all")["rows"]
        stem = next(r for r in rows if r["layer"] == "stem.conv.weight")
        a = answer("eval", FASHION, "--bits", "2", "--layers", "stem.conv.weight")
        self.assertLess(abs(stem["delta"] - a["metrics"]["delta"]), 0.08)  # 256 of 2,000 rows
        self.assertLess(stem["delta"], -0.05)

    def test_activations_apart(self):
        rows = answer("sweep", FASHION, "--bits", "a4,a8,4", "--layers", "head*")["rows"]
        self.assertEqual([(r["site"], r["bits"]) for r in rows],
                         [("activations", 4), ("activations", 8), ("weights", 4)])

    def test_sweep_gate(self):
        code, out, err = run("sweep", FASHION, "--bits", "2", "--max-drop", "0.001", "--json")
        self.assertEqual(code, 5, err)
        self.assertIn("--max-drop", err)
        self.assertTrue(json.loads(out)["rows"])
        self.assertEqual(run("sweep", FASHION, "--bits", "8", "--fail-under", "0.5")[0], 0)

    def test_pareto(self):
        recipe = os.path.join(TMP, "third.json")
        a = answer("pareto", FASHION, "--size", "60KB", "--measure", "1", "--save-recipe", recipe)
        self.assertEqual(a["schema"], "qexplore.pareto/1")
        points, best = a["points"], a["points"][a["best"]]
        for p in points:
            self.assertEqual({"bytes", "bits_per_weight", "latency_ms", "value", "lo", "hi", "basis",
                              "recipe"} - set(p), set())
            self.assertLessEqual(p["bytes"], 60000)
        self.assertEqual([p["bytes"] for p in points], sorted(p["bytes"] for p in points))
        self.assertEqual([p["kl"] for p in points],
                         sorted((p["kl"] for p in points), reverse=True))
        self.assertEqual((best["basis"], a["best"]), ("measured", len(points) - 1))
        saved = load(recipe)
        self.assertEqual(saved["layers"], best["recipe"]["layers"])
        b = answer("eval", FASHION, "--recipe", recipe)
        self.assertEqual(b["metrics"]["accuracy"], best["value"])
        self.assertEqual(answer("quantize", FASHION, "--recipe", recipe)["totals"]["bytes"],
                         best["bytes"])

    def test_pareto_rules(self):
        a = answer("pareto", FASHION, "--bpw", "5", "--keep", "first=fp16", "--keep", "last=fp32",
                   "--tie", "block1.*,block2.*")
        self.assertTrue(a["points"])
        for p in a["points"]:
            self.assertLessEqual(p["bits_per_weight"], 5)
            layers = p["recipe"]["layers"]
            self.assertEqual(layers["stem.conv.weight"]["format"], "fp16")
            self.assertNotIn("head.weight", layers)
            for block in ("block1", "block2"):
                self.assertEqual(layers[block + ".a.conv.weight"]["bits"],
                                 layers[block + ".b.conv.weight"]["bits"])

    def test_ends(self):
        a = answer("quantize", LLAMA, "--bits", "4", "--scope", "all", "--keep", "ends=fp16")
        self.assertEqual({r["name"] for r in a["layers"] if r["format"] == "fp16"},
                         {"model.embed_tokens.weight"} |
                         {"model.layers.0.self_attn.%s_proj.weight" % x for x in "qkv"})
        a = answer("quantize", FASHION, "--bits", "4", "--keep", "last=fp32", "--keep", "first=bf16")
        self.assertEqual({r["name"] for r in a["layers"] if r["format"] == "bf16"},
                         {"stem.conv.weight"})
        self.assertNotIn("head.weight", [r["name"] for r in a["layers"]])

    def test_pareto_modes(self):
        kl = {}
        for mode in ("dp", "greedy", "closed-form"):
            a = answer("pareto", FASHION, "--bpw", "4", "--mode", mode)
            kl[mode] = a["points"][-1]["kl"]
            self.assertEqual(mode == "greedy", "steps" in a)
        self.assertLessEqual(kl["dp"], 1.05 * min(kl.values()))

    def test_pareto_limits(self):
        a = answer("pareto", FASHION, "--min-acc", "0.9")
        i = a["best"]
        self.assertGreaterEqual(a["points"][i]["value"], 0.9)
        self.assertTrue(all(p["value"] < 0.9 for p in a["points"][:i]))
        self.assertEqual(run("pareto", FASHION, "--bpw", "4", "--fail-under", "0.999")[0], 5)
        for flags, text in ((("--size", "1K"), "smallest"), (("--mode", "best"), "dp|greedy"),
                            (("--bits", "9"), "2 to 8"), (("--tie", "nothing*"), "matches no layer"),
                            (("--measure", "some"), "all")):
            code, out, err = run("pareto", FASHION, *flags)
            self.assertEqual((code, out), (2, ""), (flags, err))
            self.assertIn(text, err)

    def test_language_model(self):
        few = (Sequences.LLAMA, "--bits", "2", "--layers", "*layers.0*")
        rows = answer("sweep", *few, "--measure", "1")["rows"]
        self.assertEqual(len(rows), 7)
        for r in rows:
            self.assertNotIn("accuracy", r)
            self.assertTrue(0 < r["lo"] <= r["ppl_ratio"] <= r["hi"])
            self.assertAlmostEqual(r["increase"], r["ppl_ratio"] - 1, 12)
        self.assertGreater(max(r["increase"] for r in rows), 0.005)
        for verb, flag in (("sweep", "--fail-under"), ("pareto", "--min-acc")):
            code, out, err = run(verb, LLAMA, flag, "0.9")
            self.assertEqual((code, out), (4, ""), err)
            self.assertIn("--max-drop", err)
        code, out, err = run("sweep", *few, "--max-drop", "0.001")
        self.assertEqual(code, 5, err)
        self.assertIn("perplexity", err)

    def test_language_model_front(self):
        names = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj",
                 "gate": "mlp.gate_proj", "up": "mlp.up_proj"}
        tiny = Sequences.LLAMA
        a = answer("pareto", tiny, "--bits", "3,6", "--scope", "all", "--bpw", "6")
        self.assertEqual(a["metric"], "ppl")
        self.assertAlmostEqual(a["ppl_fp32"], answer("eval", tiny)["metrics"]["ppl"], 6)
        chosen = set()
        for p in a["points"]:
            self.assertTrue(p["lo"] <= p["value"] <= p["hi"])
            self.assertGreater(p["hi"], a["ppl_fp32"])
            layers = p["recipe"]["layers"]
            self.assertIn("model.embed_tokens.weight", layers)
            for i in range(2):
                bits = {k: layers["model.layers.%d.%s.weight" % (i, n)]["bits"]
                        for k, n in names.items()}
                self.assertTrue(bits["q"] == bits["k"] == bits["v"] and bits["gate"] == bits["up"])
                chosen.add((bits["q"], bits["gate"]))
        self.assertGreater(len(chosen), 1)
        code, out, err = run("pareto", LLAMA, "--bpw", "4")
        self.assertEqual((code, out), (2, ""), err)
        self.assertIn("--scope all", err)

    def test_no_data(self):
        code, out, _ = run("sweep", FIVE)
        self.assertNotEqual(code, 0)
        self.assertEqual(out, "")


class Program(unittest.TestCase):
    def test_version_and_help(self):
        code, out, _ = run("--version")
        self.assertEqual(code, 0)
        self.assertIn("qexplore", out)
        for verb in ("info", "quantize", "eval", "sweep", "pareto", "render", "play", "doctor", "completions"):
            code, out, _ = run(verb, "--help")
            self.assertEqual(code, 0, verb)
            self.assertIn("usage: qexplore " + verb, out)

    def test_doctor(self):
        a = answer("doctor")
        self.assertIn(a["cpu"]["used"], ("ref", "avx2", "avxvnni", "avx512vnni", "avx512vbmi"))

    def test_blas_core_fits_the_cpu(self):
        env = {name: value for name, value in ENV.items() if name != "OPENBLAS_CORETYPE"}
        def core(**more):
            done = subprocess.run([PROGRAM, "doctor", "--json"], capture_output=True, text=True,
                                  env={**env, **more}, check=True)
            a = json.loads(done.stdout)
            return a["blas_core"], a["cpu"]["avx2"]
        found, avx2 = core()
        if found is None or not avx2:
            self.skipTest("the BLAS library does not tell its core, or the CPU has no AVX2")
        self.assertNotIn(found, ("Prescott", "Core2", "Nehalem", "Generic"))
        self.assertEqual(core(OPENBLAS_CORETYPE="Nehalem")[0], "Nehalem")  # the user's word stands

    def test_completions_parse(self):
        for shell in ("bash", "zsh", "fish"):
            code, out, _ = run("completions", shell)
            self.assertEqual(code, 0)
            self.assertIn("quantize", out)
            if shutil.which(shell):
                check = [shell, "-n"] if shell != "fish" else ["fish", "--no-execute"]
                done = subprocess.run(check, input=out, capture_output=True, text=True, env=ENV)
                self.assertEqual((done.returncode, done.stderr), (0, ""), shell)
        self.assertEqual(run("completions", "tcsh")[0], 2)

    def test_render(self):
        for screen in ("model", "layer"):
            code, out, err = run("render", FASHION, "--screen", screen, "--size", "80x24")
            self.assertEqual(code, 0, err)
            lines = out.rstrip("\n").split("\n")
            self.assertLessEqual(len(lines), 24)
            self.assertTrue(all(len(line) <= 80 for line in lines))
        svg = os.path.join(TMP, "layer.svg")
        self.assertEqual(run("render", FASHION, "--screen", "layer", "-o", svg)[0], 0)
        with open(svg) as f:
            self.assertTrue(f.read().startswith("<"))


class Train(unittest.TestCase):
    def test_trains_into_a_folder_that_eval_runs(self):
        out, few = os.path.join(TMP, "trained"), os.path.join(FASHION, "calib.safetensors")
        a = answer("train", FASHION, "--data", few, "--bits", "3", "--act-bits", "4", "--gran", "tensor",
                   "--epochs", "1", "--max-rows", "192", "--batch", "32", "--rate", "0.0005",
                   "-o", out, "-q")
        self.assertEqual(a["schema"], "qexplore.train/1")
        self.assertEqual(a["metrics"]["n"], 512)
        self.assertGreater(a["baseline"]["fp32"], 0.9)
        self.assertEqual((a["end"], a["epochs"], a["steps"]), ("done", 1, 5))
        self.assertEqual(a["rows"] + a["rows_held_out"], 192)
        self.assertEqual(a["engine"], "integer")
        self.assertAlmostEqual(a["metrics"]["accuracy"], a["metrics"]["accuracy_simulated"],
                               delta=0.003)
        self.assertGreaterEqual(a["metrics"]["accuracy"], a["baseline"]["ptq"])
        again = answer("eval", a["checkpoint"], "--recipe", a["recipe"], "--engine", "integer",
                       "--data", few)
        self.assertEqual(again["metrics"]["accuracy"], a["metrics"]["accuracy"])
        code, _, err = run("train", FASHION, "--bits", "3", "-o", FASHION, "-q")
        self.assertEqual(code, 3, err)
        self.assertIn("folder of the model itself", err)

    def test_trains_texts(self):
        for sample, flags in (("bert-sentiment", ["--bits", "2"]),
                              ("llama-tiny", ["--bits", "3", "--scope", "all", "--mem", "8M"])):
            folder, out = os.path.join(ROOT, "samples", sample), os.path.join(TMP, sample)
            few = os.path.join(folder, "calib.safetensors")
            a = answer("train", folder, *flags, "--act-bits", "8", "--gran", "tensor", "--data",
                       few, "--epochs", "1", "--max-rows", "64", "--batch", "8", "-o", out, "-q")
            self.assertEqual(a["engine"], "integer")
            key = "ppl" if sample == "llama-tiny" else "accuracy"
            again = answer("eval", a["checkpoint"], "--recipe", a["recipe"], "--engine",
                           "integer", "--data", few)
            self.assertEqual(again["metrics"][key], a["metrics"][key])
            simulated = a["metrics"][key + "_simulated"]
            self.assertAlmostEqual(a["metrics"][key] / simulated, 1, delta=0.003)
            if sample == "llama-tiny":
                self.assertLess(a["metrics"]["ppl"], a["baseline"]["ppl_ptq"])
                self.assertGreater(a["metrics"]["ppl"], a["baseline"]["ppl_fp32"])

    def test_a_checkpoint_that_cannot_be_written_is_told(self):
        few = os.path.join(FASHION, "calib.safetensors")
        code, out, err = run("train", FASHION, "--data", few, "--train-data", few, "--bits", "4",
                             "--max-rows", "64", "--epochs", "1", "--checkpoint",
                             os.path.join(TMP, "nowhere/c"), "-q")
        self.assertEqual(code, 0, err)
        self.assertIn("no checkpoint after epoch 1", err)
        self.assertIn("QAT", out)

    def test_refusals(self):
        unlabelled = {"x": {"dtype": "U8", "shape": [80, 1, 28, 28], "data_offsets": [0, 80 * 784]}}
        header = json.dumps(unlabelled).encode()
        with open(os.path.join(TMP, "unlabelled.safetensors"), "wb") as f:
            f.write(len(header).to_bytes(8, "little") + header + bytes(80 * 784))
        for args, code, word in (
                (["train", FASHION], 2, "--bits"),
                (["train", FASHION, "--bits", "4", "--augment", "flop"], 2, "flip"),
                (["train", LLAMA, "--bits", "4", "--augment", "flip"], 4, "no images"),
                (["train", FASHION, "--bits", "4", "--train-data",
                  os.path.join(TMP, "unlabelled.safetensors")], 3, "no labels"),
                (["qat", FASHION, "--bits", "4", "--quantizer", "lsk"], 2, "lsq"),
                (["train", FASHION, "--bits", "4", "--dynamic"], 4, "dynamic"),
                (["train", MLP, "--bits", "4"], 3,
                 "train.safetensors"),
                (["train", os.path.join(ROOT, "samples/llama-tiny"), "--bits", "4", "--fail-under",
                  "0.5"], 4, "--max-drop")):
            got, _, err = run(*args, "-q")
            self.assertEqual(got, code, (args, err))
            self.assertIn(word, err)


if __name__ == "__main__":
    try:
        result = unittest.main(argv=["test_cli.py", *sys.argv[3:]], exit=False).result
    finally:
        shutil.rmtree(TMP)
    sys.exit(not result.wasSuccessful())
