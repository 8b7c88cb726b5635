"""clang-format 14 (Debian 12) agrees with every source file; exit 77, skipped, where it is missing.

usage: check_format.py ROOT [CLANG_FORMAT]
"""
import re
import subprocess
import sys

import sources


def main():
    if len(sys.argv) < 3:
        print("clang-format is not installed")
        sys.exit(77)
    tool = sys.argv[2]
    version = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True).stdout
    if not re.search(r"version 14\.", version):
        print(f"versions differ in what they write, and this is not 14: {version.strip()}")
        sys.exit(77)
    paths = sources.files(["engine", "tui", "tests"], (".c", ".h"))
    run = subprocess.run([tool, "--style=file", "--dry-run"] + paths, capture_output=True,
                         text=True, check=True, cwd=sources.root())
    findings = sources.Findings()
    for path in sorted(set(re.findall(r"^(\S+?):\d+:\d+: warning", run.stderr, re.M))):
        findings.add(path, "differs from clang-format's output: run clang-format -i on it")
    findings.finish(f"format of {len(paths)} files")


main()
