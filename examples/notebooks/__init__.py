"""Notebooks of the method and of the paper's experiments. `python -m examples.notebooks` runs them and keeps the outputs."""
