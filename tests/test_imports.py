"""The packages import each other in one direction."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "clipvil_mmf"
MODEL = {"vision", "text", "fusion", "heads", "optim", "network", "model", "losses"}
USERS = {"checkpoints", "prediction", "inference", "cli", "hub"}


def imported(folder: str) -> set[str]:
    """The parts of the plugin that the files of a folder import."""
    found = set()
    for file in (PACKAGE / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found |= {name.split(".")[1] for name in names if name.startswith("clipvil_mmf.")}
    return found - {folder}


@pytest.mark.parametrize("folder", ["vision", "text", "fusion", "heads", "optim"])
def test_parts_of_the_model_know_neither_data_nor_users(folder: str) -> None:
    assert not imported(folder) & {"data", "network", "model", *USERS}


def test_layers_build_on_nothing() -> None:
    assert imported("layers") == set()


def test_data_know_no_model() -> None:
    # Word pieces are cut for the batches, so the text processor is the exception.
    assert not imported("data") & ((MODEL - {"text"}) | USERS)


def test_checkpoints_know_no_data() -> None:
    assert "config" in imported("checkpoints")  # the reading of imports works
    assert not imported("checkpoints") & {"data", "model", "prediction", "cli", "hub"}


def test_tasks_know_neither_data_nor_models() -> None:
    assert imported("tasks") == {"config", "loss_functions", "registry"}


def test_large_libraries_are_imported_where_they_are_used() -> None:
    """Each command and each run would wait for them; what MMF itself imports is not ours."""
    large = {"accelerate", "pandas", "peft", "scipy", "sklearn", "sympy"}
    for file in [*PACKAGE.rglob("*.py"), *PACKAGE.with_name("mmf_bridge").rglob("*.py")]:
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {name.split(".")[0] for name in names} & large, file
