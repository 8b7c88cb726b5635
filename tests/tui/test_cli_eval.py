"""eval of classifiers: figures of references, engines, activations, gates."""
import json
import os

import cli_case
from cli_case import ENV, FASHION, FEW, FIVE, MLP, TMP, Case, answer, load, run


class Eval(Case):
    def test_a_calibrator_that_clips_what_matters_is_named(self):
        for method, said in (("kl", True), ("minmax", False), ("mse", False)):
            code, _, err = run("eval", FASHION, "--bits", "8", "--act-bits", "8", "--act-method", method,
                               "--max-samples", "64")
            self.assertEqual(code, 0)
            self.assertEqual("kl clips the inputs of 'widen1.conv.weight'" in err, said, err)

    def test_fp32(self):
        want = load(FASHION + "/reference.json")["sets"]["eval.safetensors"]["fp32"]
        a = answer("eval", FASHION)
        m = a["metrics"]
        self.assertLessEqual(abs(m["correct"] - want["correct"]), 2)
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
        for model, gran, bits in ((FASHION, "tensor", "4"), (MLP, "channel", "8"),
                                  (MLP, "channel", "4"), (MLP, "group:32", "4")):
            want = load(model + "/reference.json")["sets"]["eval.safetensors"]
            want = want.get("rtn_sym_linear", want["rtn_sym_all"])[gran][bits]["correct"]
            m = answer("eval", model, "--bits", bits, "--gran", gran, "--method", "minmax",
                       "--scale", "f32")["metrics"]
            self.assertLessEqual(abs(m["correct"] - want), 2, (model, gran, bits))

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
        code, out, err = run("eval", FASHION, "--data", FEW, "--bits", "2", "--method", "minmax",
                             "--max-drop", "0.01", "--json")
        self.assertEqual(code, 5)
        self.assertLess(json.loads(out)["metrics"]["accuracy"], 0.6)
        self.assertIn("--max-drop", err)
        self.assertEqual(run("eval", MLP, "--fail-under", "0.99")[0], 5)
        self.assertEqual(run("eval", MLP, "--fail-under", "0.80")[0], 0)

    def test_drawn_rows(self):
        a = answer("eval", MLP, "--max-samples", "300", "--seed", "7")["metrics"]
        b = answer("eval", MLP, "--max-samples", "300", "--seed", "7")["metrics"]
        self.assertEqual(a["n"], 300)
        self.assertEqual(a["correct"], b["correct"])

    def test_threads_do_not_matter(self):
        a = answer("eval", FASHION, "--data", FEW, "--bits", "3", "--threads", "1")["metrics"]
        b = answer("eval", FASHION, "--data", FEW, "--bits", "3", "--threads", "3")["metrics"]
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
        code, out, err = run("eval", MLP, "--bits", "8", "--act-bits", "8", "--calib", "random:32",
                             "--json")
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
        a = answer("eval", FASHION, "--data", FEW, *flags)
        b = answer("eval", FASHION, "--data", FEW, "--recipe", recipe)
        self.assertEqual(a["metrics"]["correct"], b["metrics"]["correct"])
        self.assertEqual(a["recipe_hash"], b["recipe_hash"])
        self.assertEqual((a["engine"], b["engine"]), ("integer", "integer"))

    def test_comma_locale(self):
        env = dict(ENV, LC_ALL="de_DE.UTF-8", LC_NUMERIC="de_DE.UTF-8")
        code, out, _ = run("quantize", FIVE, "--bits", "8", "--gran", "tensor", "--method",
                           "manual:0.5", "--json", env=env)
        self.assertEqual(code, 0)
        self.assertEqual(json.loads(out)["layers"][0]["hi"], 0.5)


if __name__ == "__main__":
    cli_case.main()
