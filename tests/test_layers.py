"""Imports point down only, heavy libraries load on first use, and frameworks stay in their room."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ckptmigrate"

# The room of a module is the longest entry that its name begins with. Imports go to the same or a smaller number.
LAYERS = {
    "errors": 0, "issues": 0, "dtypes": 0, "locks": 0, "objects": 0, "progress": 0, "runs": 0, "sizes": 0, "tiles": 0,
    "urls": 0, "visible": 0,
    "table": 1, "steps": 1, "wire": 1,
    "optimizers": 2, "report": 2, "document": 2, "batchnorm": 2, "initialisers": 2,
    "mapping": 2.5,
    "formats": 3,
    "norm_settings": 3.5, "vocabularies": 3.5,
    "casts": 4, "destination": 4, "listing": 4, "page": 4, "histograms": 4,
    "chosen": 5, "compare": 5, "framework": 5, "keras1_config": 5, "provenance": 5, "renewal": 5, "staging": 5,
    "compare_plan": 5.6, "verification": 5.7, "configured": 5.5, "resized": 5.5, "flavors": 5.5,
    "planning": 5.7, "conversion": 6, "averaging": 6, "": 6,
    "detection": 6.5,
    "batch": 7,
    "doctor": 6.6,
    "cli": 7, "__main__": 7,
}  # fmt: skip

# Rooms of one layer that may not know each other.
STRANGERS = {
    ("wire", "table"),
    ("wire", "steps"),
    ("table", "wire"),
    ("optimizers", "report"),
    ("report", "optimizers"),
}

LAZY = {"h5py", "yaml", "safetensors", "rich", "cramjam"}  # inside functions only
FRAMEWORKS = {"tensorflow", "keras", "tf_keras"}  # framework/ only, and there inside functions of the child
MODULES = sorted(p.relative_to(PACKAGE).with_suffix("") for p in PACKAGE.rglob("*.py"))


def room(module: str) -> str:
    """The room of a module named relative to the package."""
    first = module.split(".", maxsplit=1)[0]
    return first if first in LAYERS else "?"


def imports(tree: ast.AST, *, everywhere: bool) -> Iterator[str]:
    """Absolute names that a module imports; `everywhere` includes those inside functions, never those for typing."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif everywhere or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from imports(node, everywhere=everywhere)


def parsed(module: Path) -> ast.Module:
    return ast.parse((PACKAGE / module).with_suffix(".py").read_text("utf-8"))


def name_of(module: Path) -> str:
    return ".".join(part for part in module.parts if part != "__init__")


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_point_down(module: Path) -> None:
    own = name_of(module)
    assert room(own) != "?", f"{own}: which layer is it in?"
    for imported in imports(parsed(module), everywhere=True):
        if imported.split(".")[0] != "ckptmigrate":
            continue
        other = imported.removeprefix("ckptmigrate").lstrip(".")
        target = room(other) if room(other) != "?" else ""
        assert LAYERS[target] <= LAYERS[room(own)], f"{own} imports {imported}, which is above it"
        assert (room(own), target) not in STRANGERS, f"{own} imports {imported}"


@pytest.mark.parametrize("module", [m for m in MODULES if m.parts[0] == "formats" and len(m.parts) > 2], ids=str)
def test_a_format_never_imports_another(module: Path) -> None:
    folders = {p.name for p in (PACKAGE / "formats").iterdir() if p.is_dir()} - {module.parts[1]}
    for imported in imports(parsed(module), everywhere=True):
        parts = imported.split(".")
        assert parts[:2] != ["ckptmigrate", "formats"] or parts[2] not in folders, f"{module} imports {imported}"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_heavy_libraries_load_on_first_use(module: Path) -> None:
    at_load = {name.split(".")[0] for name in imports(parsed(module), everywhere=False)}
    assert not at_load & LAZY
    anywhere = {name.split(".")[0] for name in imports(parsed(module), everywhere=True)}
    if module.parts[0] != "framework":
        assert not anywhere & FRAMEWORKS


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_only_the_command_line_talks(module: Path) -> None:
    """No printing, no exits, no environment in library code; a child process of framework/ is a program of its own."""
    if module.parts[0] in ("cli", "framework", "__main__"):
        return
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "exit", "quit", "input"), f"line {node.lineno}"
        if isinstance(node, ast.Attribute):
            spelled = ast.unparse(node)
            assert spelled not in ("os.environ", "os.getenv", "sys.exit", "sys.stdout", "sys.stderr"), (
                f"line {node.lineno}"
            )


@pytest.mark.parametrize(
    "program",
    [
        "import ckptmigrate",
        "from ckptmigrate.cli.main import main; main(['--help'])",
        "from ckptmigrate.cli.main import main; main(['convert', '--help'])",
    ],
)
def test_start_up_loads_no_heavy_library(program: str) -> None:
    heavy = sorted(LAZY | FRAMEWORKS | {"ckptmigrate.page"})
    probe = f"{program}\nimport sys; print(sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
