"""A file imports only from lower tiers, and only public names of Keras and TensorFlow."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "importance_sampling"
TIERS = [
    {"types", "version", "structures", "arrays", "copying"},  # 0
    {"smoothing", "reweighting", "drawing", "pools", "history", "labels", "sources", "streams", "mapping", "replicas"},
    {"trials", "windows", "importance.network", "carrying", "handing", "unchanged"},
    {"losses", "inputs"},
    {"reasons"},
    {"looking", "verdicts", "metrics", "finite"},
    {"probe"},
    {"steps"},
    {"importance.uniform", "importance.oracle", "importance.lstm", "importance.gaussian"},
    {"importance"},
    {"chooser", "dataset"},
    {"sampler"},
    {"stream_sampler"},
    {"engine", "sampler_of"},
    {"callbacks", "training"},
    {"recipes"},  # 14
]
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def name_of(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def tier(name):
    return next(i for i, names in enumerate(TIERS) if name in names)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_come_from_lower_tiers(path):
    known = set.union(*TIERS)
    for imported in imports(path):
        if not imported.startswith("importance_sampling."):
            continue
        parts = imported.split(".")[1:]
        module = next(m for n in (2, 1) if (m := ".".join(parts[:n])) in known)
        assert tier(module) < tier(name_of(path)), f"{name_of(path)} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_public_apis_are_imported(path):
    for imported in imports(path):
        assert not imported.startswith(("keras.src", "tensorflow.python")), imported


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_stays_small(path):
    assert len(path.read_text().splitlines()) <= 250
