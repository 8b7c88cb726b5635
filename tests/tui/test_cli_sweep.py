"""sweep: what each layer costs alone."""
import json

import cli_case
from cli_case import FASHION, FEW, FIVE, LLAMA, SMALL_DECODER, Case, answer, run


class Sweep(Case):
    def test_sweep_keys(self):
        a = answer("sweep", FASHION, "--data", FEW, "--bits", "3,8", "--layers", "*conv*", "--measure", "4",
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
        flags = ("sweep", FASHION, "--data", FEW, "--bits", "6", "--method", "minmax")
        before = answer(*flags, "--measure", "2")["rows"]
        after = answer(*flags, "--measure", "3")["rows"]
        measured = [r for r in before if r["basis"] == "measured"]
        self.assertEqual(len(measured), 2)
        self.assertTrue(all(r in after for r in measured))
        self.assertEqual(sum(r["basis"] == "measured" for r in after), 5)
        every = answer(*flags, "--measure", "all")["rows"]
        self.assertEqual({r["basis"] for r in every}, {"measured"})

    def test_measured_cell_is_what_it_says(self):
        rows = answer("sweep", FASHION, "--data", FEW, "--bits", "2", "--measure", "all")["rows"]
        stem = next(r for r in rows if r["layer"] == "stem.conv.weight")
        a = answer("eval", FASHION, "--data", FEW, "--bits", "2", "--layers", "stem.conv.weight")
        self.assertLess(abs(stem["delta"] - a["metrics"]["delta"]), 0.08)  # P of 512 rows
        self.assertLess(stem["delta"], -0.05)

    def test_activations_apart(self):
        rows = answer("sweep", FASHION, "--data", FEW, "--bits", "a4,a8,4", "--layers",
                      "head*")["rows"]
        self.assertEqual([(r["site"], r["bits"]) for r in rows],
                         [("activations", 4), ("activations", 8), ("weights", 4)])

    def test_sweep_gate(self):
        code, out, err = run("sweep", FASHION, "--data", FEW, "--bits", "2", "--max-drop", "0.001",
                             "--json")
        self.assertEqual(code, 5, err)
        self.assertIn("--max-drop", err)
        self.assertTrue(json.loads(out)["rows"])
        self.assertEqual(run("sweep", FASHION, "--data", FEW, "--bits", "8", "--fail-under", "0.5")[0], 0)

    def test_language_model(self):
        few = (SMALL_DECODER, "--bits", "2", "--layers", "*layers.0*")
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

    def test_no_data(self):
        code, out, _ = run("sweep", FIVE)
        self.assertNotEqual(code, 0)
        self.assertEqual(out, "")


if __name__ == "__main__":
    cli_case.main()
