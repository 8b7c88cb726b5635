"""pareto: bits for every layer under a budget."""
import os

import cli_case
from cli_case import FASHION, FEW, LLAMA, SMALL_DECODER, TMP, Case, answer, load, run


class Pareto(Case):
    def test_pareto(self):
        recipe = os.path.join(TMP, "third.json")
        a = answer("pareto", FASHION, "--data", FEW, "--size", "60KB", "--measure", "1",
                   "--save-recipe", recipe)
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
        b = answer("eval", FASHION, "--data", FEW, "--recipe", recipe)
        self.assertEqual(b["metrics"]["accuracy"], best["value"])
        self.assertEqual(answer("quantize", FASHION, "--recipe", recipe)["totals"]["bytes"],
                         best["bytes"])

    def test_pareto_rules(self):
        a = answer("pareto", FASHION, "--data", FEW, "--bpw", "5", "--keep", "first=fp16",
                   "--keep", "last=fp32", "--tie", "block1.*,block2.*")
        self.assertTrue(a["points"])
        for p in a["points"]:
            self.assertLessEqual(p["bits_per_weight"], 5)
            layers = p["recipe"]["layers"]
            self.assertEqual(layers["stem.conv.weight"]["format"], "fp16")
            self.assertNotIn("head.weight", layers)
            for block in ("block1", "block2"):
                self.assertEqual(layers[block + ".a.conv.weight"]["bits"],
                                 layers[block + ".b.conv.weight"]["bits"])

    def test_pareto_modes(self):
        kl = {}
        for mode in ("dp", "greedy", "closed-form"):
            a = answer("pareto", FASHION, "--data", FEW, "--bpw", "4", "--mode", mode)
            kl[mode] = a["points"][-1]["kl"]
            self.assertEqual(mode == "greedy", "steps" in a)
        self.assertLessEqual(kl["dp"], 1.05 * min(kl.values()))

    def test_pareto_limits(self):
        a = answer("pareto", FASHION, "--data", FEW, "--min-acc", "0.9")
        i = a["best"]
        self.assertGreaterEqual(a["points"][i]["value"], 0.9)
        self.assertTrue(all(p["value"] < 0.9 for p in a["points"][:i]))
        self.assertEqual(run("pareto", FASHION, "--data", FEW, "--bpw", "4", "--fail-under", "0.999")[0], 5)
        for flags, text in ((("--size", "1K"), "smallest"), (("--mode", "best"), "dp|greedy"),
                            (("--bits", "9"), "2 to 8"), (("--tie", "nothing*"), "matches no layer"),
                            (("--measure", "some"), "all")):
            code, out, err = run("pareto", FASHION, "--data", FEW, *flags)
            self.assertEqual((code, out), (2, ""), (flags, err))
            self.assertIn(text, err)

    def test_language_model_front(self):
        names = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj",
                 "gate": "mlp.gate_proj", "up": "mlp.up_proj"}
        tiny = SMALL_DECODER
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


if __name__ == "__main__":
    cli_case.main()
