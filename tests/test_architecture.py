"""The shape of the package: who may import whom, names, sizes, docstrings, light imports."""

from __future__ import annotations

import ast
import functools
import importlib.util
import subprocess
import sys
import types
from pathlib import Path

import pytest

import phase_jax

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "phase_jax"
MAX_LINES = 330
FORBIDDEN_NAMES = {"utils", "misc", "common"}

# Data flows down this list: an entry may import any entry above it, unless it is named below.
LAYERS = (
    "types",
    "tables",
    "interruption",
    "storage",
    "environment",
    "compilation",
    "distributed",
    "requirements",
    "grid",
    "config",
    "config_file",
    "validation",
    "solver",
    "monte_carlo",
    "linear",
    "data",
    "models",
    "attacks",
    "losses",
    "training",
    "sweep",
    "report",
    "finetune",
    "adaptive",
    "diagnosis",
    "audit",
    "connectivity",
    "simulate",
    "reproduce",
    "cli",
)
ONLY = {
    **{
        name: {"types"}
        for name in ("environment", "solver", "linear", "attacks", "storage", "distributed")
    },
    "interruption": set(),
    "compilation": set(),
    "tables": {"types"},
    "monte_carlo": {"types", "tables", "storage", "distributed"},
    "simulate": {
        "types",
        "tables",
        "environment",
        "storage",
        "distributed",
        "monte_carlo",
        "linear",
        "solver",
        "report",
    },
}
# Who may import these; all others may be imported from anywhere below them.
USERS = {
    "interruption": {"report", "finetune", "adaptive", "connectivity", "cli"},
    "diagnosis": {"cli"},
    "tables": {"monte_carlo", "sweep", "finetune", "diagnosis", "simulate"},
    "adaptive": {"diagnosis", "cli"},
    "audit": {"cli"},
    "finetune": {"adaptive", "diagnosis", "reproduce", "cli"},
    "storage": {
        "monte_carlo",
        "sweep",
        "report",
        "finetune",
        "audit",
        "connectivity",
        "simulate",
        "reproduce",
        "cli",
    },
    "environment": {
        "sweep",
        "report",
        "finetune",
        "adaptive",
        "audit",
        "connectivity",
        "simulate",
        "reproduce",
        "cli",
    },
    "distributed": {
        "monte_carlo",
        "sweep",
        "report",
        "finetune",
        "adaptive",
        "connectivity",
        "simulate",
        "cli",
    },
    "solver": {"sweep", "report", "finetune", "audit", "simulate", "reproduce", "cli"},
    "monte_carlo": {"simulate", "cli"},
    "linear": {"simulate", "cli"},
}

# What one may have without the command line's and the data's dependencies.
LIGHT_MODULES = (
    "attacks",
    "linear",
    "losses",
    "models",
    "monte_carlo",
    "solver",
    "sweep",
    "training",
)


def allowed_imports(layer: str) -> set[str]:
    """Top-level modules that `layer` may import, itself left out."""
    if layer in ONLY:
        return ONLY[layer]
    above = LAYERS[: LAYERS.index(layer)]
    return {entry for entry in above if entry not in USERS or layer in USERS[entry]}


def source_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    """`phase_jax.sweep.run` for phase_jax/sweep/run.py; the package itself for an __init__.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def relative_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported_modules(tree: ast.Module, module: str, *, is_package: bool) -> set[tuple[str, int]]:
    """Every import in a file, lazy and type-checking ones included, as (dotted name, line).

    `from a import b` counts as a.b, which names the module where b is one. After a plain
    `import phase_jax` what counts is each use of the form `phase_jax.name`.
    """
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.asname or alias.name: alias.name for alias in node.names}
            names.pop("phase_jax", None)
            found |= {(name, node.lineno) for name in names.values()}
        elif isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id == "phase_jax":
                found.add((f"phase_jax.{node.attr}", node.lineno))
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                anchor = f"{module}.__init__" if is_package else module
                prefix = ".".join(anchor.split(".")[: -node.level])
                base = f"{prefix}.{base}" if base else prefix
            found |= {(f"{base}.{alias.name}", node.lineno) for alias in node.names}
    return found


def bad_edges(tree: ast.Module, module: str, *, is_package: bool) -> list[str]:
    """Describe each import of this package that `module` must not make."""
    layer = module.split(".")[1]
    allowed = allowed_imports(layer) | {layer}
    bad = []
    for name, line in sorted(imported_modules(tree, module, is_package=is_package)):
        root, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if root != "phase_jax" or target in allowed or target in {"__version__", "__file__"}:
            continue
        bad.append(f"line {line}: {module} imports {name}")
    return bad


def public_definitions(tree: ast.Module):
    """Yield public module-level functions and classes, and the public methods of the latter."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in tree.body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            yield node.name, node
            for item in getattr(node, "body", []) if isinstance(node, ast.ClassDef) else []:
                if isinstance(item, kinds) and not item.name.startswith("_"):
                    yield f"{node.name}.{item.name}", item


def run_python(code: str) -> str:
    """Run code in an interpreter of its own; return what it printed."""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_exists(layer):
    places = (PACKAGE / f"{layer}.py", PACKAGE / layer / "__init__.py")
    assert sum(place.exists() for place in places) == 1, f"phase_jax.{layer}: missing, or double"


def test_every_module_has_a_layer():
    found = {module_name(path).split(".")[1] for path in source_files() if path.parent != PACKAGE}
    found |= {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert found <= set(LAYERS), f"no layer: {sorted(found - set(LAYERS))}"


def test_imports_flow_one_way():
    bad = []
    for path in source_files():
        module = module_name(path)
        if path.name == "__main__.py" or module == "phase_jax":
            continue  # the package's names, and the doors of the command line
        if module.split(".")[1] in LAYERS:
            edges = bad_edges(parse(path), module, is_package=path.name == "__init__.py")
            bad += [f"{relative_name(path)}, {edge}" for edge in edges]
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("phase_jax.types", "import phase_jax.grid"),
        ("phase_jax.grid", "from phase_jax import config"),
        ("phase_jax.attacks", "from phase_jax.config import AttackConfig"),
        ("phase_jax.attacks", "if TYPE_CHECKING:\n    from phase_jax.models import build_model"),
        ("phase_jax.solver.solve", "def solve():\n    from phase_jax.grid import parse_grid"),
        ("phase_jax.solver.solve", "from ..data import load"),
        ("phase_jax.training.step", "from phase_jax.solver import solve_epsilon_star"),
        ("phase_jax.training.step", "from .. import sweep"),
        ("phase_jax.sweep.run", "from phase_jax import run_sweep"),
        ("phase_jax.sweep.run", "import phase_jax as package"),
        ("phase_jax.sweep.run", "import phase_jax\n\nphase_jax.run_sweep()"),
        ("phase_jax.report.text", "from phase_jax.cli import main"),
        ("phase_jax.linear.solve", "from phase_jax.monte_carlo import run_monte_carlo"),
        ("phase_jax.simulate.scaling", "from phase_jax.sweep import run_sweep"),
        ("phase_jax.training.step", "from phase_jax.linear.solve import solve"),
    ],
)
def test_import_check_finds(module, code):
    assert len(bad_edges(ast.parse(code), module, is_package=False)) == 1


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("phase_jax.grid", "from phase_jax.types import InputError"),
        ("phase_jax.solver.solve", "from phase_jax.solver.crossing import cross_line"),
        ("phase_jax.solver.solve", "from . import crossing"),
        ("phase_jax.sweep.run", "from phase_jax import solver, __version__"),
        ("phase_jax.sweep.run", "import phase_jax.training.step as step, jax"),
        ("phase_jax.sweep.run", "import phase_jax\n\nprint(phase_jax.__version__)"),
        ("phase_jax.cli", "from phase_jax.report import print_report"),
        ("phase_jax.simulate.scaling", "from phase_jax.linear.solve import solve"),
    ],
)
def test_import_check_lets_pass(module, code):
    assert not bad_edges(ast.parse(code), module, is_package=False)


def test_no_module_is_a_drawer():
    names = [path for path in PACKAGE.rglob("*") if path.stem.strip("_") in FORBIDDEN_NAMES]
    assert not names, names


def test_no_export_shares_a_name_with_a_module():
    modules = {name.rpartition(".")[2]: name for name in map(module_name, source_files())}
    assert phase_jax.__all__
    for name in phase_jax.__all__:
        if not isinstance(getattr(phase_jax, name), types.ModuleType):
            assert name not in modules, f"phase_jax.{name} hides or is hidden by {modules[name]}"


@pytest.mark.parametrize("path", source_files(), ids=relative_name)
def test_file_is_short(path):
    num_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert num_lines <= MAX_LINES, f"{num_lines} lines: perhaps two ideas"


@pytest.mark.parametrize("path", source_files(), ids=relative_name)
def test_everything_public_has_a_docstring(path):
    tree = parse(path)
    missing = [name for name, node in public_definitions(tree) if not ast.get_docstring(node)]
    assert not missing
    assert ast.get_docstring(tree) or not tree.body, "the module itself has none"


def test_citation_names_this_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    assert f"version: {phase_jax.__version__}" in citation


def test_importing_the_package_is_light():
    loaded = run_python("import sys, phase_jax; print(*sys.modules)").split()
    heavy = {"jax", "jaxlib", "flax", "optax", "matplotlib", "tyro", "phase_jax.sweep"}
    assert "phase_jax" in loaded
    assert not heavy & set(loaded)


def test_core_works_without_command_line_and_data_dependencies():
    blocked = ("tyro", "tensorflow_datasets", "jaxtyping", "pandas")
    for name in blocked:
        assert importlib.util.find_spec(name), f"{name} is not installed: this test shows nothing"
    modules = [module_name(path) for path in source_files() if path.name != "__main__.py"]
    light = [name for name in modules if name.partition(".")[2].split(".")[0] in LIGHT_MODULES]
    assert {name.split(".")[1] for name in light} == set(LIGHT_MODULES)
    imports = "".join(f"import {name}\n" for name in light)
    printed = run_python(
        "import sys\n"
        "class Blocker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {blocked!r}:\n"
        "            raise ImportError(f'{name} is blocked')\n"
        "sys.meta_path.insert(0, Blocker())\n"
        f"{imports}"
        "print('imported')\n"
    )
    assert printed.split() == ["imported"]
