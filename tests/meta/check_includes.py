"""No floor of the engine includes a higher one; foreign libraries stay behind one file each.

A file may include its own folder, base and kernels, the private headers listed in SHARED, and
public headers (engine/include/qx) of its own floor or those below. The program includes public
headers only.
"""
import os
import re

import sources

FLOOR = {"base": 0, "kernels": 1, "format": 2, "tensor": 3, "quant": 4, "net": 5, "eval": 6,
         "method": 7, "session": 8}

# Public header -> floor of the folder that implements it. qx.h is the umbrella of all.
PUBLIC = {"allocate": 6, "sensitivity": 6, "status": 0, "cpu": 0, "kernels": 1, "grad": 5, "job": 0, "json": 0, "log": 0, "mapfault": 0, "text": 0,
          "format": 2, "tensor": 3, "model": 3, "hist": 3, "imatrix": 3, "quant": 4, "matrix": 4, "metric": 4, "net": 5,
          "decode": 5, "train": 7, "qat": 8,
          "moments": 6, "method": 7, "overlay": 4,
          "tokenizer": 5, "links": 5, "bench": 6, "eval": 6, "predict": 6, "session": 8, "preset": 8, "search": 8, "history": 8, "formats": 8, "try": 8, "qx": 8}

# Private headers written for floors above their own.
SHARED = {"tensor/hist_table.h", "format/block.h"}

# Foreign header -> the only file that may include it.
ONLY_IN = [(re.compile(r"cJSON"), "engine/base/json.c"),
           (re.compile(r"utf8proc"), "engine/base/unicode.c"),
           (re.compile(r"pcre2"), "engine/base/regex.c"),
           (re.compile(r"zlib"), "engine/base/gunzip.c"),
           (re.compile(r"cblas|openblas|lapack"), "engine/kernels/blas.c"),
           (re.compile(r"n?curses|^term\.h$"), "tui/term_curses.c")]

# What a file of an instruction set may include: nothing that brings inline functions along.
ISA_HEADERS = {"stdint.h", "stddef.h", "stdbool.h", "string.h", "immintrin.h", "arm_neon.h",
               "kernels/rungs.h", "kernels/kernels.h"}

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^">]+)[">]')


def exists(folder, name):
    return os.path.exists(os.path.join(sources.root(), folder, name))


def check_public(findings, where, floor, name):
    stem = name[3:-2]
    if stem not in PUBLIC:
        findings.add(where, f"{name} has no floor: add it to PUBLIC in check_includes.py")
    elif floor is not None and PUBLIC[stem] > floor:
        findings.add(where, f"includes {name}, which belongs to floor {PUBLIC[stem]} above it")


def check_engine(findings, where, path, name):
    folder = path.split("/")[1]
    if folder == "include":
        floor, own = PUBLIC.get(os.path.basename(path)[:-2]), None
    else:
        floor, own = FLOOR.get(folder), folder
    if floor is None:
        findings.add(where, "this folder or header has no floor in check_includes.py")
    elif name.startswith("qx/"):
        check_public(findings, where, floor, name)
    elif own and ("/" not in name or name.startswith(own + "/")):
        return
    elif own is None:
        findings.add(where, f"a public header includes the private {name}")
    else:
        top = name.split("/")[0]
        if top not in FLOOR:
            findings.add(where, f"includes {name}: no such folder of the engine")
        elif FLOOR[top] > floor:
            findings.add(where, f"includes {name}, from floor {FLOOR[top]} above it")
        elif top not in ("base", "kernels") and name not in SHARED:
            findings.add(where, f"includes {name}, private to {top}: use its public header")


def main():
    findings = sources.Findings()
    paths = sources.files(["engine", "tui", "tests"], (".c", ".h"))
    for path in paths:
        for number, line in enumerate(sources.lines(path), 1):
            m = INCLUDE.match(line)
            if not m:
                continue
            where, name = f"{path}:{number}", m.group(2)
            for pattern, owner in ONLY_IN:
                if pattern.search(name) and path != owner and not path.startswith("tests/"):
                    if exists(os.path.dirname(path), name):
                        continue
                    findings.add(where, f"includes {name}: only {owner} may")
            is_isa = re.match(r"engine/kernels/(?!ref/)\w+/", path)
            if is_isa and name not in ISA_HEADERS and not name.startswith("kernels/tmpl/"):
                findings.add(where, f"includes {name}: not allowed in files of an instruction set")
            if m.group(1) == "<":
                continue
            if path.startswith("engine/"):
                check_engine(findings, where, path, name)
            elif path.startswith("tui/") and not name.startswith("qx/"):
                if not exists("tui", name):
                    findings.add(where, f"includes {name}: the program sees engine/include/qx only")
    findings.finish(f"includes of {len(paths)} files")


main()
