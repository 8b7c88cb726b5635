"""Text rules of the sources, and a report of the longest functions.

Engine: no printing, exiting or environment (QX_CPU in base/cpu.c but for), no allocation outside
base/mem.c, foreign names in their one file. All: at most 600 lines, no tabs, no trailing spaces, a
final newline; ASCII outside the program's glyphs.
"""
import re

import sources

MAX_LINES = 600
LONG_FUNCTION = 80

# Pattern, the file that may, what to say.
ENGINE_WORDS = [
    (r"\b(?:printf|fprintf|vprintf|vfprintf|puts|fputs|putchar|perror)\s*\(", None, "prints"),
    (r"\b(?:exit|_exit|abort|quick_exit)\s*\(", None, "ends the program"),
    (r"\b(?:stdout|stderr)\b", None, "uses a standard stream"),
    (r"\b(?:signal|sigaction)\s*\(", None, "sets a signal handler"),
    (r"\b(?:getenv|secure_getenv|setenv)\s*\(", "engine/base/cpu.c", "touches the environment"),
    (r"\bsetlocale\s*\(", None, "changes the locale"),
    (r"(?<![\w.>])(?:malloc|calloc|realloc|strdup|strndup|posix_memalign|aligned_alloc|asprintf)"
     r"\s*\(", "engine/base/mem.c", "allocates past base/mem.h"),
    (r"\bcJSON_", "engine/base/json.c", "names cJSON"),
    (r"\b(?:cblas_|openblas_|s(?:gemm|gemv)_\b)", "engine/kernels/blas.c", "names BLAS"),
    (r"\b(?:TODO|FIXME|XXX)\b", None, "has unfinished business"),
]


def check_text(findings, path):
    data = sources.read(path)
    if not data.endswith(b"\n") or data.endswith(b"\n\n"):
        findings.add(path, "must end with one newline")
    is_ascii_folder = path.startswith("engine/")
    for number, line in enumerate(data.split(b"\n"), 1):
        where = f"{path}:{number}"
        if b"\t" in line:
            findings.add(where, "tab")
        if line.endswith((b" ", b"\r")):
            findings.add(where, "trailing space")
        if is_ascii_folder and not line.isascii():
            findings.add(where, "a character that is not ASCII")
    for number, line in enumerate(sources.code(path, keep_comments=True).split("\n"), 1):
        if re.search("[\u2013\u2014]", line):  # inside strings it may be a glyph of the screen
            findings.add(f"{path}:{number}", "a long dash")
    n_lines = data.count(b"\n")
    if path.endswith((".c", ".h")) and n_lines > MAX_LINES:
        findings.add(path, f"{n_lines} lines: at most {MAX_LINES}")


def check_words(findings, path):
    text = sources.code(path)
    raw = sources.read(path).decode("utf-8", "replace")
    for pattern, owner, what in ENGINE_WORDS:
        if path == owner:
            continue
        for m in re.finditer(pattern, raw if "TODO" in pattern else text):
            line = text.count("\n", 0, m.start()) + 1
            findings.add(f"{path}:{line}", f"{what}: {m.group().strip()}")


def functions(path):
    """(lines, name, line number) of each function: its braces stand alone in column 0."""
    rows = sources.lines(path)
    start = None
    for i, row in enumerate(rows):
        if row == "{":
            start = i
        elif row == "}" and start is not None:
            head = ""
            for j in range(start - 1, max(start - 8, -1), -1):
                head = rows[j] + " " + head
                m = re.match(r"[^(]*?(\w+)\(", head)
                if m and not rows[j].startswith(" "):
                    yield i - start - 1, m.group(1), start + 1
                    break
            start = None


def main():
    findings = sources.Findings()
    paths = sources.files(["engine", "tui", "tests"], (".c", ".h", ".def", "meson.build"))
    longest = []
    for path in paths:
        check_text(findings, path)
        if path.startswith("engine/") and path.endswith((".c", ".h")):
            check_words(findings, path)
        if path.endswith(".c"):
            longest += [(n, path, name, line) for n, name, line in functions(path)]
    longest.sort(reverse=True)
    lengths = sorted(n for n, _, _, _ in longest)
    if lengths:
        n_long = sum(n > LONG_FUNCTION for n in lengths)
        print(f"{len(lengths)} functions, median {lengths[len(lengths) // 2]} lines, "
              f"{n_long} above {LONG_FUNCTION}; the longest:")
        for n, path, name, line in longest[:10]:
            print(f"  {n:4} {name} ({path}:{line})")
    findings.finish(f"text of {len(paths)} files")


main()
