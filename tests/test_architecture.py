"""A file imports only from its own room and those below it, and only public names of Keras and TensorFlow."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "importance_sampling"
ROOMS = ["fit", "sampling", "importance", "model", "data", ""]  # "": the files beside the rooms, which all may use
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
RUN_TIME = {"tensorflow", "keras", "numpy", "h5py"}


def name_of(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def room_of(name):
    found = name.split(".")[1]
    return found if found in ROOMS else ""


def imports(path):
    """Modules and names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def modules_used(path):
    """The modules of the package that a file imports from."""
    known = {name_of(other) for other in FILES}
    for imported in imports(path):
        if imported.startswith("importance_sampling."):
            yield imported if imported in known else imported.rpartition(".")[0]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_come_from_the_same_room_or_a_lower_one(path):
    for used in modules_used(path):
        assert ROOMS.index(room_of(used)) >= ROOMS.index(room_of(name_of(path))), f"{name_of(path)} imports {used}"


def test_no_two_modules_import_each_other():
    TopologicalSorter({name_of(path): set(modules_used(path)) for path in FILES}).prepare()  # raises where there is a circle


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_public_apis_are_imported(path):
    for imported in imports(path):
        assert not imported.startswith(("keras.src", "tensorflow.python")), imported


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_tensorflow_stays_in_the_rooms_of_the_model_and_the_data(path):
    if room_of(name_of(path)) not in ("model", "data"):
        assert not any(imported.split(".")[0] == "tensorflow" for imported in imports(path))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_stays_small(path):
    assert len(path.read_text().splitlines()) <= 250
