"""The site: `make docs` builds it into build/docs, and warnings are errors."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import examples  # noqa: F401  # TensorFlow without its log lines
from importance_sampling.version import __version__

project = "importance_sampling"
author = "the importance_sampling developers"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
default_role = "code"

autodoc_default_options = {"members": True, "inherited-members": False, "show-inheritance": False}
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Warns"]

html_theme = "furo"
html_title = f"importance_sampling {release}"
html_static_path = []
exclude_patterns = []
