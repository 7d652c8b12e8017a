"""Imports go one way: data and models, objectives, training, results, jobs, command line."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

# From the ground up. A module imports from its own layer and those above it in this list.
LAYERS = (
    ("__init__", "errors", "files", "progress"),
    ("settings",),
    ("registry",),
    ("tracking", "runtime"),
    ("data", "models"),
    ("training", "evaluation", "inference"),
    ("reporting",),
    ("jobs",),
    ("analysis", "bench"),
    ("experiment", "config", "cli", "__main__"),
)


def modules() -> dict[str, Path]:
    """Dotted name -> file of every module of the package."""
    paths = sorted((ROOT / "ra").rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return dict(zip(names, paths, strict=True))


def imported(name: str, path: Path) -> set[str]:
    """Modules of ra that ``path`` imports, anywhere in it."""
    known = modules()
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {part if part in known else node.module for part in whole}
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{path}: relative import; write it in full")
    found = {f"{part}.__init__" if f"{part}.__init__" in known else part for part in found}
    return {part for part in found if part in known} - {name}


def layer(name: str) -> int:
    """Place in LAYERS of the package, or of the file that lies in no package."""
    first = name.split(".")[1]
    for number, names in enumerate(LAYERS):
        if first in names:
            return number
    raise AssertionError(f"{name}: in no layer; add it to LAYERS where it belongs")


def test_no_module_imports_from_a_layer_above_its_own():
    wrong = [
        f"{name} imports {other}"
        for name, path in modules().items()
        for other in imported(name, path)
        if layer(other) > layer(name)
    ]
    assert wrong == []


def test_imports_have_no_circles():
    graph = {name: imported(name, path) for name, path in modules().items()}
    while leaves := [name for name, needs in graph.items() if not needs & graph.keys()]:
        for name in leaves:
            del graph[name]
    assert graph == {}


def test_how_a_cpu_computes_faster_is_known_behind_one_door_only():
    users = {name for name, path in modules().items() if "ra.runtime.cpu" in imported(name, path)}
    assert users == {"ra.runtime.devices"}


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("ra.cli", {"torch", "pandas", "numpy"}),
        ("ra.data.prepare", {"torch", "pandas"}),
        ("ra.reporting.significance, ra.evaluation.quality", {"torch", "matplotlib", "scipy"}),
        (
            "ra.training.loop, ra.models.recognizers",
            {"torchvision", "timm", "torchmetrics", "matplotlib", "scipy", "mlflow"},
        ),
    ],
)
def test_a_command_imports_what_it_needs_only(modules, heavy):
    code = f"import sys, {modules}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert heavy & set(run.stdout.split()) == set()


def test_mlflow_is_imported_in_the_trackings_store_side_only():
    users = {
        name
        for name, path in modules().items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for imported_name in ([a.name for a in node.names] + [getattr(node, "module", "") or ""])
        if imported_name.split(".")[0] == "mlflow"
    }
    assert users == {"ra.tracking.store", "ra.tracking.models"}
