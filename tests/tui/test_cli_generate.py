"""Text that a language model writes: generate, try, and calibration on it."""
import math
import os
import shutil
import tempfile

import cli_case
from cli_case import FASHION, LLAMA, SMALL_DECODER, Case, answer, run


class Generate(Case):
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
        some = ("--bits", "2", "--layers", "*layers.0.mlp*")
        p = answer("eval", LLAMA, *some, "--data", "self", "--predict", "--measure")
        self.assertEqual(p["data"]["n"], 32)
        self.assertIn("the model's own", p["data"]["note"])
        real = answer("eval", LLAMA, *some, "--max-samples", "16")["metrics"]["kld_mean"]
        self.assertLess(abs(math.log(p["metrics"]["kld_mean"] / real)), math.log(2))
        code, out, err = run("eval", FASHION, "--bits", "8", "--data", "self")
        self.assertEqual((code, out), (3, ""))
        self.assertIn("language model", err)

    def test_predictions_without_data(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("config.json", "model.safetensors"):
                shutil.copy(os.path.join(SMALL_DECODER, name), folder)
            code, out, err = run("eval", folder, "--bits", "3", "--predict")
            self.assertEqual(code, 0, err)
            self.assertIn("predicted", out)
            self.assertIn("no data, so this speaks of text of the model's own", err)
            code, out, err = run("eval", folder, "--bits", "3", "-q")
            self.assertEqual((code, out), (3, ""))
            self.assertIn("--data self", err)

    def test_generate_on_every_engine(self):
        said = {}
        for engine, flags in (("simulated", ("--bits", "4")), ("packed", ("--bits", "4")),
                              ("integer", ("--bits", "8", "--dynamic"))):
            a = answer("generate", LLAMA, "--prompt", "The whale", "--tokens", "12", *flags,
                       "--engine", engine)
            self.assertEqual((a["recipe"]["engine"], a["fp32"]["engine"]), (engine, "simulated"))
            self.assertEqual(a["recipe"]["tokens"], 12)
            said[engine] = a
        self.assertEqual(said["packed"]["fp32"]["text"], said["integer"]["fp32"]["text"])
        self.assertEqual(said["packed"]["recipe"]["text"], said["simulated"]["recipe"]["text"])
        flags = ("generate", LLAMA, "--prompt", "The whale", "--tokens", "3", "--bits", "8")
        code, out, err = run(*flags, "--engine", "integer")
        self.assertEqual((code, out), (4, ""))
        self.assertIn("input", err)  # none is quantized
        code, out, _ = run(*flags, "--engine", "packed")
        self.assertEqual(code, 0)
        self.assertIn("recipe: packed", out)
        self.assertEqual(run(*flags, "--engine", "fast")[0], 2)

    def test_generate(self):
        a = answer("generate", LLAMA, "--prompt", "The whale", "--tokens", "8", "--bits", "2")
        self.assertEqual((a["schema"], a["prompt"]), ("qexplore.generate/1", "The whale"))
        self.assertEqual((a["temperature"], a["top_p"]), (0, 1))
        fp32, recipe = a["fp32"], a["recipe"]
        self.assertEqual((fp32["tokens"], fp32["same_tokens"], recipe["tokens"]), (8, 8, 8))
        self.assertLess(recipe["same_tokens"], 8)
        self.assertNotEqual(fp32["text"], recipe["text"])
        longer = answer("generate", LLAMA, "--prompt", "The whale", "--tokens", "12")
        self.assertTrue(longer["fp32"]["text"].startswith(fp32["text"]))
        self.assertEqual(longer["recipe"], longer["fp32"])
        drawn = [answer("generate", LLAMA, "--prompt", "The whale", "--temperature", "1.5", "--seed",
                        seed)["fp32"]["text"] for seed in ("1", "1", "2")]
        self.assertEqual(drawn[0], drawn[1])
        self.assertNotEqual(drawn[0], drawn[2])
        _, text, _ = run("generate", LLAMA, "--prompt", "The whale", "--bits", "2")
        self.assertIn("part at ||", text)
        _, text, _ = run("try", LLAMA, "The whale", "--bits", "2")
        self.assertIn("part at ||", text)
        code, _, err = run("generate", LLAMA)
        self.assertEqual((code, "--prompt" in err), (2, True))
        code, _, err = run("generate", LLAMA, "--prompt", "a " * 500)
        self.assertEqual((code, "takes 128" in err), (3, True))


if __name__ == "__main__":
    cli_case.main()
