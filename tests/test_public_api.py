"""The public face: its names are a promise."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import moenas

NAMES = [
    "Architecture",
    "AuditConfig",
    "Manifest",
    "MoENASError",
    "MoENASSampler",
    "Predictions",
    "Scores",
    "SearchConfig",
    "audit",
    "build_model",
    "count_macs",
    "count_parameters",
    "evaluate",
    "from_pretrained",
    "load_model",
    "prune_experts",
    "push_to_hub",
    "save_model",
    "save_pretrained",
    "search",
    "skin_fairness",
    "upcycle",
]

SOURCE = Path(moenas.__file__).parent


def test_the_public_names() -> None:
    assert moenas.__all__ == NAMES
    assert set(NAMES) <= set(dir(moenas))


@pytest.mark.parametrize("name", NAMES)
def test_a_public_thing_says_what_it_is(name: str) -> None:
    thing = getattr(moenas, name)
    assert inspect.getdoc(thing)
    assert thing.__module__.startswith("moenas.")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'build_modle'"):
        moenas.build_modle  # noqa: B018


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, moenas; print([m for m in ('torch', 'optuna', 'timm') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def public_definitions(tree: ast.Module) -> list[tuple[str, ast.AST]]:
    found: list[tuple[str, ast.AST]] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            found.append((node.name, node))
            if isinstance(node, ast.ClassDef):
                found += [
                    (f"{node.name}.{inner.name}", inner)
                    for inner in node.body
                    if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_")
                ]
    return found


@pytest.mark.parametrize("file", sorted(SOURCE.rglob("*.py")), ids=lambda p: p.name)
def test_every_module_and_public_function_has_a_docstring(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "the module"
    missing = [
        name
        for name, node in public_definitions(tree)
        if not ast.get_docstring(node)  # type: ignore[arg-type]
    ]
    overloads = {name for name in missing if "overload" in file.read_text(encoding="utf-8")}
    assert set(missing) <= overloads
