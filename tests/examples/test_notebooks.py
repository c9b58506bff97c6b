"""The notebooks run from top to bottom, in a moment, and hold the outputs of a real run that is still true."""

import nbformat
import pytest

from examples.notebooks.__main__ import FOLDER, execute, main
from examples.paper import claims, figures, reading, report
from examples.paper.experiments import RESULTS, epochs_of
from tests.loaders import available

NAMES = {"mnist": "mnist", "cifar10": "cifar10", "penn_treebank": "ptb"}


def outputs(notebook, kind):
    """What the cells gave of a kind of output, as text."""
    given = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [output.data[kind] for output in given if kind in output.get("data", {})]


@pytest.mark.parametrize("name", ["method", *NAMES])
def test_a_notebook_runs_from_top_to_bottom(name, monkeypatch):
    if name in NAMES:
        available(name)
    monkeypatch.setenv("TINY", "1")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    notebook = execute(FOLDER / f"{name}.ipynb", timeout=300)
    assert outputs(notebook, "image/png")
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_holds_what_the_results_files_hold(name):
    """`python -m examples.notebooks` was run after the last results came in."""
    notebook, experiment = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4), NAMES[name]
    last = epochs_of("cpu")[experiment]
    shown = "\n".join(outputs(notebook, "text/markdown"))
    groups = reading.load(RESULTS["cpu"], experiment, last)
    expected = [report.table(experiment, groups, last), report.verdicts(claims.claims(RESULTS["cpu"], {experiment: last}))]
    expected += [
        report.rates(RESULTS["cpu"], experiment),
        *([[report.conditions(groups), "", *report.clock(experiment, groups)]] if groups else []),
    ]
    expected += [[caption] for _, caption in figures.panels(RESULTS["cpu"], experiment, last).values()]
    for part in expected:
        assert "\n".join(part) in shown
    assert "site-packages" not in nbformat.writes(notebook)  # no warning, with the folders of the machine it was run on


def test_an_unknown_notebook_ends_with_a_sentence(capsys):
    assert main(["mnits"]) == 1
    assert "must be some of cifar10, method, mnist, penn_treebank. Received: mnits" in capsys.readouterr().out
