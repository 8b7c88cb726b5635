"""train: a folder that eval runs, and what is refused."""
import os

import cli_case
from cli_case import (FASHION, FEW, LLAMA, MLP, ROOT, SMALL_DECODER, TMP, Case, answer,
                      documents_write, run, tensors_write)


class Train(Case):
    def test_trains_into_a_folder_that_eval_runs(self):
        out = os.path.join(TMP, "trained")
        a = answer("train", FASHION, "--data", FEW, "--bits", "3", "--act-bits", "4", "--gran", "tensor",
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
                       "--data", FEW)
        self.assertEqual(again["metrics"]["accuracy"], a["metrics"]["accuracy"])
        code, _, err = run("train", FASHION, "--bits", "3", "-o", FASHION, "-q")
        self.assertEqual(code, 3, err)
        self.assertIn("folder of the model itself", err)

    def test_trains_texts(self):
        for sample, flags in (("bert-sentiment", ["--bits", "2"]),
                              ("llama-tiny", ["--bits", "3", "--scope", "all", "--mem", "8M"])):
            folder, out = os.path.join(ROOT, "samples", sample), os.path.join(TMP, sample)
            few = os.path.join(folder, "calib.safetensors")
            if sample == "llama-tiny":
                few = os.path.join(TMP, "documents.safetensors")
                documents_write(few, 10)
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
        code, out, err = run("train", FASHION, "--data", FEW, "--train-data", FEW, "--bits", "4",
                             "--max-rows", "64", "--epochs", "1", "--checkpoint",
                             os.path.join(TMP, "nowhere/c"), "-q")
        self.assertEqual(code, 0, err)
        self.assertIn("no checkpoint after epoch 1", err)
        self.assertIn("QAT", out)

    def test_refusals(self):
        tensors_write(os.path.join(TMP, "unlabelled.safetensors"),
                      {"x": ("U8", [80, 1, 28, 28], bytes(80 * 784))})
        for args, code, word in (
                (["train", FASHION], 2, "--bits"),
                (["train", FASHION, "--bits", "4", "--augment", "flop"], 2, "flip"),
                (["train", SMALL_DECODER, "--bits", "4", "--augment", "flip", "--train-data",
                  os.path.join(SMALL_DECODER, "eval.safetensors")], 4, "no images"),
                (["train", FASHION, "--bits", "4", "--data", FEW, "--train-data",
                  os.path.join(TMP, "unlabelled.safetensors")], 3, "no labels"),
                (["qat", FASHION, "--bits", "4", "--quantizer", "lsk"], 2, "lsq"),
                (["train", FASHION, "--bits", "4", "--dynamic", "--data", FEW], 4, "dynamic"),
                (["train", MLP, "--bits", "4"], 3, "train.safetensors"),
                (["train", LLAMA, "--bits", "4", "--fail-under", "0.5"], 4, "--max-drop")):
            got, _, err = run(*args, "-q")
            self.assertEqual(got, code, (args, err))
            self.assertIn(word, err)


if __name__ == "__main__":
    cli_case.main()
