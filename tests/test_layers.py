"""The folder tree is the architecture: imports only go down the list of design, and never in circles."""

import ast
from pathlib import Path

import clawkakad

ROOT = Path(clawkakad.__file__).parent
FLOORS = [
    ["__main__"],
    ["cli"],
    ["app"],
    ["web"],
    ["simulator"],
    ["intake"],
    ["assistant"],
    ["delivery"],
    ["backups"],
    ["sandboxes"],
    ["gateway"],
    ["whatsapp"],
    ["registry"],
    ["config", "directories", "interpreter", "log", "loops", "moments", "notify"],
    ["model", "allowance", "errors", "faults", "values"],
]
HEIGHT = {name: len(FLOORS) - i for i, floor in enumerate(FLOORS) for name in floor}


def part_of(module: str) -> str | None:
    """clawkakad.gateway.frames -> gateway; None for what is not ours, or the package's own version."""
    words = module.split(".")
    if words[0] != "clawkakad" or len(words) == 1:
        return None
    return words[1]


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative imports hide the floor"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_part_has_a_floor() -> None:
    parts = {p.stem for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()} - {"__init__"}

    assert parts == set(HEIGHT)


def test_imports_go_down() -> None:
    upward = []
    for path in ROOT.rglob("*.py"):
        here = part_of(".".join(("clawkakad", *path.relative_to(ROOT).with_suffix("").parts)))
        for module in imports_of(path):
            there = part_of(module)
            if here == there or there in (None, "__version__") or here == "__init__":
                continue
            if HEIGHT[there] >= HEIGHT[here]:
                upward.append(f"{path.relative_to(ROOT)} imports {module}")

    assert upward == []


def test_no_circles_inside_a_part() -> None:
    graph = {
        ".".join(("clawkakad", *p.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): imports_of(p)
        for p in ROOT.rglob("*.py")
    }
    edges = {
        module: {t for i in imports if (t := i if i in graph else i.rpartition(".")[0]) in graph and t != module}
        for module, imports in graph.items()
    }

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for target in edges[module]:
                walk(target, (*path, module))
            done.add(module)

    done: set[str] = set()
    for module in edges:
        walk(module, ())
