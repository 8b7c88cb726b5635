"""Methods of better weights, and folders that hold what they chose."""
import json
import math
import os
import shutil
import struct
import subprocess

import cli_case
from cli_case import (FASHION, LLAMA, MLP, ROOT, SMALL_DECODER, TMP, Case, answer, documents_write, run,
                      tensors_read, tensors_write)


def outliers_write(folder):
    """llama-tiny with six channels of every normalization 64 times as large, and the columns that read them as
    much smaller: the function stays, the inputs get outliers (as tests/golden/method/outliers.py)."""
    shutil.copytree(LLAMA, folder, ignore=shutil.ignore_patterns("train*", "reference*"))
    readers = {"input_layernorm": ("q_proj", "k_proj", "v_proj"),
               "post_attention_layernorm": ("gate_proj", "up_proj")}
    path = os.path.join(folder, "model.safetensors")
    tensors = tensors_read(path)
    for name, (dtype, shape, data) in tensors.items():
        for norm, layers in readers.items():
            is_norm = name.endswith(norm + ".weight")
            if is_norm or any(name.endswith(r + ".weight") for r in layers):
                assert dtype == "BF16", name
                body, width = bytearray(data), shape[-1]
                for row in range(math.prod(shape[:-1])):
                    for c in range(6):
                        at = 2 * (row * width + (c * 29 + 7) % width)
                        v = struct.unpack_from("<H", body, at)[0]
                        if v & 0x7f80:  # the exponent of a BF16 that is not 0
                            struct.pack_into("<H", body, at, v + ((6 if is_norm else -6) << 7))
                tensors[name] = (dtype, shape, bytes(body))
    tensors_write(path, tensors)
    documents_write(os.path.join(folder, "calib.safetensors"), 10)


PYTHON = "/usr/bin/python3"  # Debian's, which has torch where tests/golden's scripts run


def has_torch():
    return os.path.exists(PYTHON) and subprocess.run(
        [PYTHON, "-c", "import torch"], capture_output=True, check=False).returncode == 0


def run_in_torch(folder):
    reader = os.path.join(ROOT, "tests/golden/method/folded.py")
    done = subprocess.run([PYTHON, reader, folder], capture_output=True, text=True, check=True,
                          env=dict(os.environ, OMP_NUM_THREADS="1"))
    return json.loads(done.stdout)


class Methods(Case):
    W8A8 = ("--bits", "8", "--method", "minmax", "--act-bits", "8", "--act-method", "minmax")

    def test_folders_are_what_torch_reads(self):
        """Factors in neighbours, divided out again, corrections in biases: an independent reader finds them."""
        if not has_torch():
            self.skipTest("no torch")
        cases = ((MLP, "cle,bias-correction"), (MLP, "absorb:0"), (MLP, "awq:0.5"),
                 (FASHION, "cle,bias-analytic"))
        for i, (model, algo) in enumerate(cases):
            out = os.path.join(TMP, f"folded{i}")
            flags = ("--bits", "4", "--algo", algo)
            self.assertEqual(run("quantize", model, *flags, "-o", out)[0], 0)
            m, read = answer("eval", model, *flags)["metrics"], run_in_torch(out)
            if "perplexity" in read:
                self.assertEqual(m["tokens"], read["tokens"])
                self.assertLess(abs(read["perplexity"] / m["ppl"] - 1), 1e-4, (model, algo))
            else:
                self.assertEqual(m["n"], read["n"])
                self.assertLessEqual(abs(m["correct"] - read["correct"]), 2, (model, algo))

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
        code, _, err = run("quantize", SMALL_DECODER, "--bits", "4", "--algo", "bias-correction",
                           "-o", folder)
        self.assertNotEqual(code, 0)
        self.assertIn("no bias", err)
        self.assertFalse(os.path.exists(folder))


if __name__ == "__main__":
    cli_case.main()
