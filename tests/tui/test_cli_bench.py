"""bench: the variants, the story, the kernels."""
import os
import tempfile

import cli_case
from cli_case import FASHION, FEW, MLP, TMP, Case, answer, run


class Bench(Case):
    def test_rows(self):
        variants = ["fp32", "fp16-convert", "fp16", "int8-weights", "int8", "int4-weights",
                    "int4-g32"]
        a = answer("bench", FASHION, "--variants", ",".join(variants), "--runs", "5",
                   "--warmup", "1", "--max-samples", "200")
        self.assertEqual(a["schema"], "qexplore.bench/1")
        self.assertEqual(set(a["machine"]), {"cpu", "isa", "threads"})
        rows = a["rows"]
        self.assertEqual([r["variant"] for r in rows], variants)
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
        self.assertEqual([r["engine"] for r in rows],
                         ["float", "float", "packed", "packed", "integer", "packed", "integer"])

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
        a = answer("bench", FASHION, "--story", "--data", FEW, "--epochs", "1", "--max-rows", "96",
                   "--runs", "5", "--max-samples", "100", "-o", kept, "--report", page)
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
                       "--data", FEW, "--max-samples", "100")
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


if __name__ == "__main__":
    cli_case.main()
