"""Every global symbol of libqx.a starts with qx_ or qxk_, and no symbol has two owners.

usage: check_symbols.py NM LIBRARY
"""
import re
import subprocess
import sys


def main():
    run = subprocess.run([sys.argv[1], "-A", "--defined-only", "--extern-only", sys.argv[2]],
                         capture_output=True, text=True, check=True)
    owners, n_bad = {}, 0
    for line in run.stdout.splitlines():
        fields = line.split()
        name, owner = fields[-1], fields[0]
        kind = fields[-2] if len(fields) > 1 else "?"
        # Sanitizers and the compiler add their own: reserved names, and weak or unique copies.
        if name.startswith("__") or kind in "WVu":
            continue
        if not re.match(r"qxk?_", name):
            print(f"{owner} {name}: global symbols of the engine start with qx_ or qxk_")
            n_bad += 1
        if owners.setdefault(name, owner) != owner:
            print(f"{name}: defined in {owners[name]} and {owner}")
            n_bad += 1
    print(f"{len(owners)} symbols: {n_bad} findings")
    sys.exit(1 if n_bad or not owners else 0)


main()
