#!/usr/bin/env python3
"""Writes the measured tables of docs/performance.md and README.md from benches/results/*.csv.

    python3 tools/performance_page.py            rewrite the tables in place
    python3 tools/performance_page.py --check    exit 1 if a page is stale (for CI)

A page says where a table goes; everything between the two marks is generated:

    <!-- results: inference-1-thread -->
    <!-- end -->

benches/results/README.md describes the CSV files. Python's standard library is enough.
"""

import argparse
import csv
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benches" / "results"
# The second must hold every stored table; the first shows some of them.
PAGES = [ROOT / "README.md", ROOT / "docs" / "performance.md"]
BLOCK = re.compile(r"<!-- results: (\S+) -->\n.*?<!-- end -->", re.DOTALL)
REQUIRED = ["title", "cpu", "versions", "command", "recorded"]
OPTIONAL = ["method", "note", "best"]


def load(path):
    """Returns the conditions and the rows of a results file; the first row is the header."""
    conditions, lines = {}, []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            key, colon, value = line[1:].partition(":")
            if not colon or key.strip() not in REQUIRED + OPTIONAL:
                sys.exit(f"{path}: unknown condition `{line}`")
            conditions[key.strip()] = value.strip()
        elif line.strip():
            lines.append(line)
    for key in REQUIRED:
        if key not in conditions:
            sys.exit(f"{path}: the condition `{key}` is missing")
    rows = list(csv.reader(lines))
    for row in rows:
        if len(row) != len(rows[0]):
            sys.exit(f"{path}: expected {len(rows[0])} cells, found {len(row)}: {row}")
    return conditions, rows


def number(cell):
    try:
        return float(cell)
    except ValueError:
        return None


def embolden(rows, column):
    """Marks the smallest number of each column among the rows with the same value in `column`."""
    at = rows[0].index(column)
    result = [list(row) for row in rows]
    for group in dict.fromkeys(row[at] for row in rows[1:]):
        members = [i for i, row in enumerate(rows) if i > 0 and row[at] == group]
        for j in range(len(rows[0])):
            values = {i: number(rows[i][j]) for i in members}
            values = {i: value for i, value in values.items() if value is not None}
            for i, value in values.items():
                if value == min(values.values()):
                    result[i][j] = f"**{rows[i][j]}**"
    return result


def table(name):
    """The conditions and the table of one results file, as Markdown."""
    path = RESULTS / f"{name}.csv"
    if not path.is_file():
        sys.exit(f"there is no {path.relative_to(ROOT)}")
    conditions, rows = load(path)
    if "best" in conditions:
        column = conditions["best"].removeprefix("lowest within ")
        if column not in rows[0]:
            sys.exit(f"{path}: `best` names `{column}`, which is no column")
        rows = embolden(rows, column)
    details = [f"Command: `{conditions['command']}`."]
    details += [f"{key.capitalize()}: {conditions[key]}." for key in ["method", "note"] if key in conditions]
    lines = [
        f"**{conditions['title']}**",
        "",
        f"CPU: {conditions['cpu']}. Versions: {conditions['versions']}. Recorded {conditions['recorded']}.",
        " ".join(details),
    ]
    lines += ["", "| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    lines += ["| " + " | ".join(row) + " |" for row in rows[1:]]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is stale")
    check = parser.parse_args().check
    stale = False
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fresh = BLOCK.sub(lambda m: f"<!-- results: {m[1]} -->\n\n{table(m[1])}\n\n<!-- end -->", text)
        if fresh == text:
            continue
        stale = True
        if check:
            print(f"{page.relative_to(ROOT)} is stale; run tools/performance_page.py", file=sys.stderr)
        else:
            page.write_text(fresh, encoding="utf-8")
            print(f"wrote {page.relative_to(ROOT)}")
    shown = set(BLOCK.findall(PAGES[-1].read_text(encoding="utf-8")))
    unseen = sorted({path.stem for path in RESULTS.glob("*.csv")} - shown)
    if unseen:
        sys.exit(f"not shown in {PAGES[-1].relative_to(ROOT)}: {', '.join(unseen)}")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
