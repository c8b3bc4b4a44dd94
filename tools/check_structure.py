#!/usr/bin/env python3
"""Holds the code against ARCHITECTURE.md: python3 tools/check_structure.py [ROOT]

1. Crates import one another exactly as the block ```arrows``` in ARCHITECTURE.md lists.
2. Files of a crate do not depend on each other in a circle. What a child uses of its ancestors is allowed. A re-exported name
   is a use of the file that defines it, and no use of the file that re-exports it. Tests do not count.
"""
import pathlib, re, sys, tomllib

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent)
USE = r"(\bpub(?:\([^)]*\))?\s+)?\buse\s+(?:::)?([\w:{},\s*]+?);"
ITEM = r"\b(?:fn|struct|enum|union|trait|type|const|static|macro_rules!)\s+(?:mut\s+)?(\w+)"
TOKENS = r"//[^\n]*|/\*.*?\*/|\bb?r(#*)\".*?\"\1|b?\"(?:\\.|[^\"\\])*\"|'(?:\\.[^']*|[^'\\])'"


def check_arrows():
    found = {}
    for manifest in [ROOT / "Cargo.toml", *sorted(ROOT.glob("crates/*/Cargo.toml")), ROOT / "python/Cargo.toml"]:
        toml = tomllib.loads(manifest.read_text())
        names = {name for table in [toml, *toml.get("target", {}).values()] for name in table.get("dependencies", {})}
        imports = {name.removeprefix("dyconv-") for name in names if name.startswith("dyconv-")}
        found[toml["package"]["name"].removeprefix("dyconv-")] = imports
    block = re.search(r"```arrows\n(.*?)```", (ROOT / "ARCHITECTURE.md").read_text(), re.S)
    lines = [line.split("→") for line in block[1].splitlines() if line.strip()] if block else []
    listed = {name.strip(): {to.strip() for to in targets.split(",")} - {"", "–"} for name, targets in lines}
    listed = {name: found.get(name, set()) if to == {"all"} else to for name, to in listed.items()}
    arrows = lambda of: {f"{name} → {to}" for name, targets in of.items() for to in targets} | {f"crate {name}" for name in of}
    yield from (f"not listed in ARCHITECTURE.md: {arrow}" for arrow in sorted(arrows(found) - arrows(listed)))
    yield from (f"listed in ARCHITECTURE.md, but gone: {arrow}" for arrow in sorted(arrows(listed) - arrows(found)))


def code_of(path):
    """The text without comments, strings and what is compiled for tests only."""
    text = re.sub(TOKENS, " ", path.read_text(), flags=re.S)
    while test := re.search(r"#\[cfg\((?:all\()?test\b[^\]]*\]", text):
        end, depth = test.end(), 0
        while depth >= 0 and not (depth == 0 and text[end - 1] in ";},"):
            depth += (text[end] in "{([") - (text[end] in "})]")
            end += 1
        text = text[: test.start()] + text[end:]
    return text


def leaves(tree, prefix=()):
    """The paths of a use tree with their names here: `a::{b, c as d}` gives (a, b) as b and (a, c) as d."""
    tree = tree.strip()
    if match := re.fullmatch(r"((?:\w+::)*)\{(.*)\}", tree, re.S):
        inside, depth = [""], 0
        for char in match[2]:
            depth += (char == "{") - (char == "}")
            inside = [*inside, ""] if char == "," and depth == 0 else [*inside[:-1], inside[-1] + char]
        prefix += tuple(match[1].split("::")[:-1])
        return [leaf for part in inside if part.strip() for leaf in leaves(part, prefix)]
    path, _, alias = tree.partition(" as ")
    path = prefix + tuple(path.strip().split("::"))
    path = path[:-1] if path[-1] == "self" and len(path) > 1 else path
    return [(path, alias.strip() or path[-1])]


class Crate:
    def __init__(self, root):
        self.files, self.code, self.uses = {}, {}, {}
        self.add((), root, root.parent)

    def add(self, module, path, folder):
        self.files[module], self.code[module] = path, code_of(path)
        uses = re.finditer(USE, self.code[module])
        self.uses[module] = [(*leaf, bool(use[1])) for use in uses for leaf in leaves(use[2])]
        for child in re.findall(r"\bmod\s+(\w+)\s*;", self.code[module]):
            for place in filter(pathlib.Path.exists, [folder / f"{child}.rs", folder / child / "mod.rs"]):
                self.add((*module, child), place, folder / child)

    def resolve(self, module, path, depth=0):
        """The module whose file defines what `path` names when it stands in `module`; None outside the crate."""
        if path[0] in ("crate", "super", "self"):
            up = len(module) if path[0] == "crate" else path.count("super")
            at, path = module[: max(len(module) - up, 0)], [part for part in path if part not in ("crate", "super", "self")]
        elif (*module, path[0]) in self.files:
            at = module
        else:
            return None
        for i, name in enumerate(path):
            if (*at, name) in self.files:
                at = (*at, name)
                continue
            if name not in re.findall(ITEM, self.code[at]) and depth < 8:
                for target, alias, _ in self.uses[at]:
                    target = target if alias == name else (*target[:-1], name) if alias == "*" else ()
                    found = self.resolve(at, [*target, *path[i + 1 :]], depth + 1) if target else None
                    if found is not None and (alias == name or name in re.findall(ITEM, self.code[found])):
                        return found
            return at
        return at

    def circles(self):
        """The shortest circle through the first file of every knot of files."""
        edges, chains = {module: {} for module in self.files}, {}
        for module, code in self.code.items():
            paths = [path for path, _, is_public in self.uses[module] if not is_public]
            paths += [path.split("::") for path in re.findall(r"(?<![\w:])\w+(?:::\w+)+", re.sub(USE, "", code))]
            for path in paths:
                to = self.resolve(module, path)
                if to is not None and to != module[: len(to)]:
                    edges[module].setdefault(to, "::".join(path))
        for start in edges:
            chains[start], queue = {start: (start,)}, [start]
            for at in queue:
                for to in sorted(edges[at].keys() - chains[start].keys()):
                    chains[start][to] = (*chains[start][at], to)
                    queue.append(to)
        knots = {frozenset(to for to in found if start in chains[to]): start for start, found in sorted(chains.items())[::-1]}
        for knot, start in sorted(knots.items(), key=lambda item: item[1]):
            if len(knot) > 1:
                chain = min((chains[start][to] for to in sorted(knot) if start in edges[to]), key=len)
                step = lambda a, b: f"{self.files[a].relative_to(ROOT)} ({edges[a][b]})"
                yield "circle: " + "\n     → ".join(map(step, chain, (*chain[1:], start)))


roots = sorted(path for place in ("src", "crates/*/src", "python/src") for name in ("lib", "main") for path in ROOT.glob(f"{place}/{name}.rs"))
crates = [Crate(root) for root in roots]
faults = [*check_arrows(), *(circle for crate in crates for circle in crate.circles())]
print("\n".join([*faults, f"structure: {sum(len(crate.files) for crate in crates)} files, {len(faults)} faults"]))
sys.exit(bool(faults))
