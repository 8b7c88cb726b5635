"""eval of networks that read texts: figures, and which rows and tokens change."""
import json
import math
import shutil
import tempfile

import cli_case
from cli_case import (FASHION, LLAMA, SENTENCES, SMALL_DECODER, SMALL_ENCODER, Case, answer,
                      load, run, tensors_read, tensors_write)


class Texts(Case):
    def test_classifier(self):
        want = load(SMALL_ENCODER + "/reference.json")["sets"]["eval.safetensors"]["fp32"]
        m = answer("eval", SMALL_ENCODER)["metrics"]
        self.assertEqual((m["correct"], m["n"]), (want["correct"], want["n"]))
        a = answer("eval", SMALL_ENCODER, "--bits", "8", "--dynamic")
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
            lines = [line.strip().split("\t") for line in f]
        for r in rows[:20]:  # tokens do not know where spaces were
            text, label = lines[r["row"]]
            self.assertEqual("".join(r["text"].split()), "".join(text.split()))
            self.assertEqual(r["label"], label)
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
            tensors = tensors_read(SENTENCES + "/model.safetensors")
            tensors_write(folder + "/model.safetensors",
                          {k: t for k, t in tensors.items() if not k.startswith("classifier")})
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
            self.assertAlmostEqual(p["value"], both["metrics"]["same_top"], delta=0.05)
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
        a = answer("eval", LLAMA, "--bits", "3", "--max-samples", "2", "--changes", "50")
        rows = a["changes"]
        self.assertEqual(len(rows), 50)
        change = [abs(r["p"] - r["p_fp32"]) for r in rows]
        self.assertEqual(change, sorted(change, reverse=True))
        for r in rows:
            self.assertTrue(r["token"] and r["text"])
            self.assertTrue(0 <= r["kl"] <= a["metrics"]["kld_max"])
            self.assertTrue(r["top"] and r["top_fp32"])
        few = ("eval", LLAMA, "--bits", "3", "--max-samples", "2", "--changes-by", "kl")
        far = answer(*few, "--changes", "50")["changes"]
        kl = [r["kl"] for r in far]
        self.assertEqual(kl, sorted(kl, reverse=True))
        self.assertAlmostEqual(kl[0], a["metrics"]["kld_max"], places=6)
        known = {r["row"]: r["kl"] for r in far}
        for r in rows:
            self.assertEqual(r["kl"], known.get(r["row"], r["kl"]))
            self.assertTrue(r["row"] in known or r["kl"] <= kl[-1])
        code, out, _ = run(*few)
        self.assertEqual(code, 0)
        self.assertIn("by KL divergence", out)
        self.assertEqual(len(out.strip().split("by KL divergence:\n")[1].split("\n")), 10)
        code, out, err = run("eval", SENTENCES, "--bits", "3", "--max-samples", "20",
                             "--changes-by", "kl", "--json")
        self.assertEqual((code, out), (4, ""))
        self.assertIn("language models", json.loads(err)["message"])

    def test_perplexity(self):
        m = answer("eval", SMALL_DECODER)["metrics"]
        self.assertEqual(m["tokens"], 146)
        self.assertAlmostEqual(m["ppl"], math.exp(m["nll"]), 9)
        self.assertNotIn("ppl_fp32", m)
        a = answer("eval", SMALL_DECODER, "--bits", "8", "--dynamic")
        self.assertEqual(a["engine"], "integer")
        self.assertEqual(a["metrics"]["ppl_fp32"], m["ppl"])
        self.assertLess(abs(a["metrics"]["increase"]), 0.02)

    def test_gates_of_words(self):
        code, out, err = run("eval", SMALL_DECODER, "--bits", "2", "--max-drop", "0")
        self.assertEqual(code, 5)
        self.assertIn("perplexity", out)
        self.assertIn("--max-drop", err)
        code, _, err = run("eval", SMALL_DECODER, "--fail-under", "0.5")
        self.assertEqual(code, 4)
        self.assertIn("--max-drop", err)


if __name__ == "__main__":
    cli_case.main()
