"""What is told of a file, one layer at a time: info, quantize, formats, presets."""
import os
import shlex

import cli_case
from cli_case import FASHION, FEW, FIVE, LLAMA, MLP, SMALL_DECODER, TMP, Case, answer, load, run


class Info(Case):
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


class Quantize(Case):
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
        direct = answer("eval", FASHION, "--data", FEW, *flags)["metrics"]["correct"]
        self.assertEqual(answer("eval", out, "--data", FEW)["metrics"]["correct"], direct)
        by_recipe = answer("eval", FASHION, "--data", FEW, "--recipe", recipe)
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

    def test_ends(self):
        a = answer("quantize", LLAMA, "--bits", "4", "--scope", "all", "--keep", "ends=fp16")
        self.assertEqual({r["name"] for r in a["layers"] if r["format"] == "fp16"},
                         {"model.embed_tokens.weight"} |
                         {"model.layers.0.self_attn.%s_proj.weight" % x for x in "qkv"})
        a = answer("quantize", FASHION, "--bits", "4", "--keep", "last=fp32", "--keep", "first=bf16")
        self.assertEqual({r["name"] for r in a["layers"] if r["format"] == "bf16"},
                         {"stem.conv.weight"})
        self.assertNotIn("head.weight", [r["name"] for r in a["layers"]])


class Presets(Case):
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
        for p in answer("presets")["presets"]:
            has_methods = "--algo" in p["flags"]
            for model in (MLP,) if has_methods else (FASHION, SMALL_DECODER):
                flags = answer("presets", p["name"], model)["presets"][0]["flags"]
                layers = []
                for args in (shlex.split(flags), ["--preset", p["name"]]):
                    path = os.path.join(TMP, "preset.json")
                    answer("quantize", model, *args, "--save-recipe", path)
                    layers.append(load(path)["layers"])
                    for layer in layers[-1].values():
                        layer.pop("origin")
                self.assertTrue(layers[0], p["name"])
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


if __name__ == "__main__":
    cli_case.main()
