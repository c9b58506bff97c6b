"""Runs the notebooks that are named, or all, and writes their outputs into them.

python -m examples.notebooks method
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent


def execute(path, timeout=3600):
    """The notebook with the outputs of a run in its own folder; what libraries log to the standard error is left out.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=timeout, resources={"metadata": {"path": str(path.parent)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the times of the day
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def main(names):
    paths = [FOLDER / f"{name}.ipynb" for name in names] or sorted(FOLDER.glob("*.ipynb"))
    unknown = [path.stem for path in paths if not path.exists()]
    if unknown:
        known = ", ".join(sorted(path.stem for path in FOLDER.glob("*.ipynb")))
        print(f"notebooks must be some of {known}. Received: {' '.join(unknown)}")
        return 1
    for path in paths:
        print(path.name)
        nbformat.write(execute(path), path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
