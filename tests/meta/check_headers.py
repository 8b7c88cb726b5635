"""Every header compiles alone, twice in one file, and with all warnings.

usage: check_headers.py ROOT COMPILER...
"""
import concurrent.futures
import os
import re
import subprocess
import sys

import sources


# Bodies that a rung includes with its instruction set and parameters: rungs compile them.
TEMPLATES = "engine/kernels/tmpl/"


def compile_alone(path):
    if path.startswith(TEMPLATES):
        return 0, ""
    include = os.path.join(sources.root(), path)
    text = f'#include "{include}"\n#include "{include}"\n'
    command = sys.argv[2:] + ["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wundef",
                              "-Werror", "-fsyntax-only", "-x", "c", "-"]
    for folder in ("engine", "engine/include"):
        command += ["-I", os.path.join(sources.root(), folder)]
    run = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    return run.returncode, run.stderr


def main():
    findings = sources.Findings()
    paths = sources.files(["engine", "tui"], (".h",))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for path, (code, errors) in zip(paths, pool.map(compile_alone, paths)):
            if code != 0:
                findings.add(path, "does not compile alone:\n" + errors)
            guard = re.search(r"^#ifndef (\w+)\n#define \1$", sources.code(path), re.M)
            if not guard:
                findings.add(path, "has no include guard")
    findings.finish(f"{len(paths)} headers")


main()
