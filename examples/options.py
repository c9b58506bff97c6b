"""The options that the commands have in common: the same names, with the same meaning."""

from pathlib import Path

from importance_sampling import registered


def add_methods(parser, choices=None, default=None, more=""):
    """`--methods`: importances by their registered names."""
    parser.add_argument(
        "--methods", nargs="+", choices=choices or registered("importance"), default=default, help=f"importances{more}"
    )


def add_k(parser, default=None, more=""):
    parser.add_argument(
        "--k", nargs="+", type=float, default=default, help=f"1 is unbiased, smaller moves towards the maximum loss{more}"
    )


def add_seeds(parser, default=None, more=""):
    parser.add_argument("--seeds", nargs="+", type=int, default=default, help=f"one run for each{more}")


def add_results(parser, what):
    parser.add_argument("--results", type=Path, help=what)


def check(parser, chosen, at_least_1=()):
    """Ends the program with a sentence where an option breaks its rule."""
    for name in at_least_1:
        value = getattr(chosen, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be >= 1. Received: {value}")
    if not all(seed >= 0 for seed in chosen.seeds or ()):
        parser.error(f"--seeds must be >= 0. Received: {chosen.seeds}")
    if not all(k <= 1 for k in chosen.k or ()):
        parser.error(f"--k must be <= 1. Received: {chosen.k}")
