"""The program itself: version, help, doctor, completions, render."""
import json
import os
import shutil
import subprocess

import cli_case
from cli_case import ENV, FASHION, PROGRAM, TMP, Case, answer, run


class Program(Case):
    def test_version_and_help(self):
        code, out, _ = run("--version")
        self.assertEqual(code, 0)
        self.assertIn("qexplore", out)
        for verb in ("info", "quantize", "eval", "sweep", "pareto", "render", "play",
                     "doctor", "completions"):
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


if __name__ == "__main__":
    cli_case.main()
