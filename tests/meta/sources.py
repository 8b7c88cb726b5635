"""What the house checks share: the source tree's files and a list of findings."""
import os
import re
import sys


def root():
    """The source tree: first argument of every check."""
    return sys.argv[1]


def files(folders, endings):
    """Paths below the root, relative, sorted."""
    found = []
    for folder in folders:
        for base, dirs, names in os.walk(os.path.join(root(), folder)):
            dirs[:] = [d for d in dirs if not d.startswith((".", "__"))]
            for name in names:
                if name.endswith(endings):
                    found.append(os.path.relpath(os.path.join(base, name), root()))
    return sorted(found)


def read(path):
    with open(os.path.join(root(), path), "rb") as f:
        return f.read()


def lines(path):
    return read(path).decode("utf-8", "replace").split("\n")


COMMENT_OR_STRING = re.compile(
    r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def code(path, keep_comments=False):
    """The file without comments and the insides of strings; line numbers stay."""
    def blank(m):
        text = m.group()
        if not text.startswith(("/*", "//")):
            return text[0] + text[-1]
        return text if keep_comments else re.sub(r"[^\n]", " ", text)
    return COMMENT_OR_STRING.sub(blank, read(path).decode("utf-8", "replace"))


class Findings:
    """Prints what is wrong; exit code 1 when there was anything."""

    def __init__(self):
        self.n = 0

    def add(self, where, what):
        self.n += 1
        print(f"{where}: {what}")

    def finish(self, checked):
        print(f"{checked}: {self.n} findings")
        sys.exit(1 if self.n else 0)
