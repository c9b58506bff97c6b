"""The pages are complete: every public name is in the reference, every page in the navigation, and every link leads somewhere."""

import inspect
import re
from pathlib import Path

import pytest

import importance_sampling

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))


def test_every_public_name_is_in_the_reference():
    reference = (ROOT / "docs" / "api.md").read_text()
    listed = set(re.findall(r"^\.\. auto(?:class|function|exception):: (\w+)$", reference, re.MULTILINE))
    assert listed == set(importance_sampling.__all__) - {"__version__"}


def test_every_page_is_in_the_navigation_once():
    index = (ROOT / "docs" / "index.md").read_text()
    entries = [line for tree in re.findall(r"```\{toctree\}(.*?)```", index, re.DOTALL) for line in tree.split("\n\n")[-1].split()]
    assert sorted([*entries, "index"]) == [page.stem for page in PAGES]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.rst"], ids=lambda page: page.name)
def test_links_lead_to_a_file(page):
    text = page.read_text()
    links = re.findall(r"\]\(([^)#]+)[^)]*\)|`[^`<]+<([^>]+)>`_", text)
    for link in (one or other for one, other in links):
        if "://" not in link:
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("name", sorted(set(importance_sampling.__all__) - {"__version__"}))
def test_public_docstrings_have_their_sections(name):
    """What is public says what it is given, and shows it; an example runs as a doctest."""
    part = getattr(importance_sampling, name)
    documented = part.__doc__ or ""
    assert documented.strip(), name
    if "for the arguments" in documented or part is importance_sampling.StateFileError:  # told elsewhere; made by the library alone
        return
    parameters = list(inspect.signature(part).parameters)
    section = documented.split("Args:")[-1].split("\n\n")[0] if "Args:" in documented else documented
    for parameter in parameters:
        assert re.search(rf"\b{parameter}\b", section), f"{name}: {parameter}"
