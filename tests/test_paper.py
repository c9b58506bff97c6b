"""The paper's experiments: their data, their networks, and runs that go on where they stopped."""

import json
import re
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from scipy.stats import ttest_ind

from examples import datasets
from examples.paper import claims, cli, data, figures, networks, norms, reading, report
from examples.paper.experiments import EXPERIMENTS
from examples.paper.measures import gradient_of, gradient_variance
from examples.paper.runs import OtherSettings, Results, Settings, run
from importance_sampling import ArraySource, ImportanceSampler, ItemSource
from tests.data import available
from tests.models import classifier


@pytest.mark.parametrize(("name", "parameters"), [("mnist", 1_938_922), ("cifar10", 5_874_250), ("penn_treebank", 4_064_337)])
def test_the_networks_are_those_of_the_paper(name, parameters):
    assert getattr(networks, name)().count_params() == parameters


IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)


def test_an_augmented_image_is_its_original_flipped_or_not_and_shifted():
    augmented = data.Augmented(IMAGES)
    assert len(augmented) == 60
    moved, flipped = set(), set()
    for i in range(60):
        original = IMAGES[i % 6].astype(np.float32) / 255
        padded = {flip: np.pad(original[:, ::flip], ((4, 4), (4, 4), (0, 0))) for flip in (1, -1)}
        places = [
            (flip, top, left)
            for flip in (1, -1)
            for top in range(9)
            for left in range(9)
            if np.array_equal(augmented[i], padded[flip][top : top + 8, left : left + 8])
        ]
        assert len(places) == 1  # one of all the transforms gives it
        flipped.add(places[0][0])
        moved.add(places[0][1:])
    assert flipped == {1, -1} and len(moved) > 30


def test_a_transform_belongs_to_its_sample_and_nothing_is_stored():
    one, other = data.Augmented(IMAGES), data.Augmented(IMAGES)
    np.testing.assert_array_equal(one[41], other[41])
    np.testing.assert_array_equal(one[41], one[41])
    assert not np.array_equal(one[5], one[11])  # another version of the same image
    assert ItemSource(one, np.tile(np.arange(6), 10))[np.array([7, 59])][0].shape == (2, 8, 8, 3)


@pytest.fixture
def sentences(monkeypatch):
    text = {"train": [["a", "b", "a"], ["c"]], "valid": [["b", "c"]], "test": []}
    monkeypatch.setattr(datasets, "penn_treebank", lambda: text)


def test_each_word_has_those_before_it_in_its_sentence(sentences):
    x, y, (x_valid, y_valid) = data.penn_treebank()
    end = 4  # after a = 1, b = 2, c = 3
    assert y.tolist() == [1, 2, 1, end, 3, end]
    assert x.shape == (6, 20)
    assert [row[row > 0].tolist() for row in x] == [[], [1], [1, 2], [1, 2, 1], [], [3]]
    assert x[3, -3:].tolist() == [1, 2, 1]
    assert y_valid.tolist() == [2, 3, end] and x_valid[2, -2:].tolist() == [2, 3]


def test_no_more_than_twenty_words_are_kept(monkeypatch):
    monkeypatch.setattr(datasets, "penn_treebank", lambda: {"train": [list("abcdefghijklmnopqrstuvwxyz")], "valid": [["a"]]})
    x, y, _ = data.penn_treebank()
    assert x[-1].tolist() == list(range(7, 27)) and y[-1] == 27


def test_cifar10_is_complete():
    (x, y), (x_test, y_test) = available("cifar10")
    assert x.shape == (50000, 32, 32, 3) and x_test.shape == (10000, 32, 32, 3) and x.dtype == np.uint8
    assert np.bincount(y).tolist() == [5000] * 10 and np.bincount(y_test).tolist() == [1000] * 10
    np.testing.assert_allclose(x.mean((0, 1, 2)) / 255, [0.49139968, 0.48215841, 0.44653091], rtol=1e-6)


def test_penn_treebank_is_complete():
    """The sizes that are published for it."""
    text = available("penn_treebank")
    assert {name: len(sentences) for name, sentences in text.items()} == {"train": 42068, "valid": 3370, "test": 3761}
    assert sum(map(len, text["train"])) + 42068 == 929_589
    x, y, _ = data.penn_treebank()
    assert len(y) == 929_589 and y.max() == 10_000 and x.max() < 10_000 and y.min() == 1


@pytest.fixture
def small(monkeypatch, mnist):
    """The experiment on 300 images with a network of a moment; dropout, so that the random state matters."""
    x, y = mnist

    def network():
        layers = keras.layers
        return keras.Sequential(
            [keras.Input((28, 28, 1)), layers.Flatten(), layers.Dropout(0.5), layers.Dense(10, activation="softmax")]
        )

    made = dict(EXPERIMENTS)
    made["mnist"] = type(EXPERIMENTS["mnist"])(
        **{
            **vars(EXPERIMENTS["mnist"]),
            "network": network,
            "data": lambda limit: data.Data(x[:300], y[:300], (x[300:500], y[300:500])),
        }
    )
    for module in ("examples.paper.cli", "examples.paper.runs"):
        monkeypatch.setattr(f"{module}.EXPERIMENTS", made)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def without_times(line):
    return {name: value for name, value in line.items() if name not in ("seconds", "cpu_seconds", "sampler_share")}


@pytest.mark.parametrize("method", ["uniform", "approx"])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(small, tmp_path, method):
    command = ["mnist", "--methods", method, "--k", "0.5", "--seeds", "0", "--steps", "12"]
    folders = lambda name: ["--results", str(tmp_path / name), "--checkpoints", str(tmp_path / f"{name}-kept")]  # noqa: E731
    assert cli.main([*command, "--epochs", "4", *folders("whole")]) == 0
    assert cli.main([*command, "--epochs", "2", *folders("parts")]) == 0
    assert cli.main([*command, "--epochs", "4", *folders("parts")]) == 0
    (whole,), (parts,) = (list((tmp_path / name).glob("*.jsonl")) for name in ("whole", "parts"))
    settings, *evaluations = lines(whole)
    assert settings["settings"]["method"] == method and "tensorflow" in settings["versions"]
    assert [line["epoch"] for line in evaluations] == [1, 2, 3, 4] and evaluations[-1]["step"] == 48
    assert [len(line["losses"]) for line in evaluations] == [2, 2, 2, 2]
    assert [without_times(line) for line in lines(parts)[1:]] == [without_times(line) for line in evaluations]
    assert lines(parts)[-1]["seconds"] > lines(parts)[2]["seconds"]


def test_a_line_that_was_not_written_any_more_is_written_first(small, tmp_path):
    settings = Settings("mnist", "uniform", 1.0, 0, steps=2)
    folders = tmp_path / "results", tmp_path / "kept"
    results = Results(settings, *folders)
    from examples.paper.runs import EXPERIMENTS as made

    loaded = made["mnist"].data(None)
    run(results, loaded, 2)
    expected = lines(results.path)
    results.path.write_text("".join(json.dumps(line) + "\n" for line in expected[:2]))  # killed between checkpoint and line
    again = Results(settings, *folders)
    assert again.epochs == 1
    run(again, loaded, 2)
    assert lines(again.path) == expected


def test_results_of_other_settings_are_not_appended_to(small, tmp_path, capsys):
    folders = ["--results", str(tmp_path / "results"), "--checkpoints", str(tmp_path / "kept")]
    assert cli.main(["mnist", "--methods", "uniform", "--seeds", "0", "--epochs", "1", "--steps", "2", *folders]) == 0
    (path,) = (tmp_path / "results").glob("*.jsonl")
    before = path.read_text()
    assert cli.main(["mnist", "--methods", "uniform", "--seeds", "0", "--epochs", "1", "--steps", "3", *folders]) == 1
    assert "Received: other steps" in capsys.readouterr().out.replace("\n", " ")
    assert path.read_text() == before
    with pytest.raises(OtherSettings, match="must be removed to start anew"):
        Results(Settings("mnist", "uniform", 1.0, 0, steps=2), tmp_path / "results", tmp_path / "elsewhere").load(classifier())


def test_ctrl_c_keeps_what_is_done_and_tells_the_command(small, tmp_path, capsys, monkeypatch):
    def interrupted(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt
        end(self, epoch, logs)

    from examples.paper import runs

    end = runs._Evaluations.on_epoch_end
    monkeypatch.setattr(runs._Evaluations, "on_epoch_end", interrupted)
    command = ["mnist", "--methods", "pcg", "--k", "0.5", "--seeds", "0", "--epochs", "3", "--steps", "2"]
    command += ["--results", str(tmp_path / "results"), "--checkpoints", str(tmp_path / "kept")]
    assert cli.main(command) == 130
    assert "To go on: python -m examples.paper mnist --methods pcg --k 0.5" in " ".join(capsys.readouterr().out.split())
    (path,) = (tmp_path / "results").glob("*.jsonl")
    assert [line["epoch"] for line in lines(path)[1:]] == [1]
    monkeypatch.undo()


def test_uniform_sampling_runs_once_for_all_k():
    chosen = cli.arguments(["ptb", "--methods", "uniform", "pcg", "--k", "1", "0.5", "--seeds", "0", "1"])
    assert [settings.name for settings in cli.settings_of(chosen, "ptb")] == [
        f"ptb-{method}-lr0.001-seed{seed}" for seed in (0, 1) for method in ("uniform", "pcg-k1", "pcg-k0.5")
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["imagenet"], "invalid choice: 'imagenet'"),
        (["mnist", "--methods", "aprox"], "invalid choice: 'aprox'"),
        (["mnist", "--epochs", "0"], "--epochs must be >= 1. Received: 0"),
        (["mnist", "--k", "2"], "--k must be <= 1. Received: [2.0]"),
        (["mnist", "--learning-rate", "0"], "--learning-rate must be > 0. Received: 0.0"),
        (["mnist", "--jobs", "0"], "--jobs must be >= 1. Received: 0"),
        (["mnist", "--grid", "--k", "1"], "--grid must come without --methods, --k and --learning-rate"),
    ],
)
def test_bad_arguments_end_with_a_sentence(arguments, text, capsys):
    with pytest.raises(SystemExit):
        cli.main(arguments)
    assert text in capsys.readouterr().err


def test_data_that_cannot_be_had_end_with_a_sentence_before_any_work(small, monkeypatch, tmp_path, capsys):
    def unavailable(limit):
        raise datasets.DataUnavailable("mnist.npz cannot be had. Tried: nothing")

    from examples.paper.cli import EXPERIMENTS as made

    monkeypatch.setitem(made, "mnist", type(made["mnist"])(**{**vars(made["mnist"]), "data": unavailable}))
    assert cli.main(["mnist", "--results", str(tmp_path / "results")]) == 1
    assert "mnist.npz cannot be had" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()


def test_the_variance_of_the_gradient_is_that_of_its_samples(blobs):
    """Of uniform draws with replacement it is the variance over the samples divided by the batch size."""
    x, y = blobs
    model = classifier()
    sampler = ImportanceSampler(ArraySource(x, y), "uniform", pools="random", seed=0)
    state = sampler.get_state()
    _, found = gradient_variance(model, sampler, 10, 400)
    each = np.stack([gradient_of(model)(x[i : i + 1], y[i : i + 1], np.ones(1, np.float32)) for i in range(0, 300, 4)])
    expected = each.astype(np.float64).var(axis=0).sum() / 10
    assert found == pytest.approx(expected, rel=0.25)  # 400 draws: a standard error of about 5 %, every fourth sample as much
    assert sampler.get_state()["rng"] == state["rng"]


def line(epoch, error, seconds):
    return {
        "epoch": epoch,
        "step": 300 * epoch,
        "seconds": seconds,
        "error": error,
        "losses": [error / epoch] * 30,
        "deviations": [0.1] * 30,
        "sorted_losses": [0.0, 0.1, error],
        "variance": [error, 1.0],
    }


def written(folder, method, k, seed, errors, each=5, **others):
    settings = Settings("mnist", method, k, seed, **others)
    results = Results(settings, folder, folder / "kept")
    results.lines = [line(each * (i + 1), error, 10.0 * (i + 1)) for i, error in enumerate(errors)]
    results._write()


def test_the_report_has_the_paper_beside_what_was_measured(tmp_path):
    for seed, errors in enumerate([[0.9, 0.7], [0.8, 0.6], [1.0, 0.8]]):
        written(tmp_path / "results", "uniform", 1.0, seed, errors)
    for seed, errors in enumerate([[0.6, 0.5], [0.7, 0.52], [0.65, 0.54]]):
        written(tmp_path / "results", "approx", 0.5, seed, errors)
    written(tmp_path / "results", "approx", 0.5, 7, [0.1])  # not finished
    written(tmp_path / "results", "uniform", 1.0, 0, [0.1, 0.1], learning_rate=0.002)  # of the grid
    assert report.main(["--results", str(tmp_path / "results"), "--docs", str(tmp_path)]) == 0
    text = (tmp_path / "results.md").read_text()
    assert "| 5 | uniform | 0.79 % ± 0.11 | 0.9 % ± 0.1 | 3 |  |" in text
    expected = ttest_ind([0.6, 0.7, 0.65], [0.9, 0.8, 1.0], equal_var=False).pvalue
    assert f"| 5 | approx, k = 0.5 | 0.65 % ± 0.05 | 0.65 % ± 0.05 | 3 | p = {expected:.2g} |" in text
    assert "| 10 | approx, k = 0.5 | 0.61 % ± 0.04 | 0.52 % ± 0.02 | 3 |" in text
    assert "6 runs, 0.0 hours of training" in text
    assert "| 10 | oracle, k = 1 | 0.56 % ± 0.07 | not run | 0 |  |" in text and text.count("| not run |") == 6 + 5 + 30
    assert "left out: approx, k = 0.5, seed 7 (5 epochs)." in text
    assert "| approx, k = 0.5 | 20 | 1.00 | epoch 1 | 10 |" in text  # 0.65 is below the 0.7 that uniform sampling ends with
    named = re.findall(r"\(figures/(.+?)\)", text)
    assert len(named) == 5
    for name in named:
        assert (tmp_path / "figures" / name).read_bytes().startswith(b"\x89PNG")


def test_the_moving_average_is_that_of_the_batches(tmp_path):
    """From the means and deviations of every 10 steps the mean and deviation of all the steps of a window come back."""
    losses = np.random.default_rng(0).gamma(2.0, size=600)
    parts = losses.reshape(60, 10)
    run = reading.Run({"steps": 600}, [{"losses": parts.mean(axis=1), "deviations": parts.std(axis=1)}], {}, 1)
    steps, means, deviations = reading.moving(run)
    for i in (0, 17, len(steps) - 1):
        window = losses[steps[i] - 300 : steps[i]]
        assert (means[i], deviations[i]) == (pytest.approx(window.mean()), pytest.approx(window.std()))


def test_the_page_is_that_of_the_results_files(tmp_path):
    """`make paper` was run after the last results came in."""
    drawn = figures.draw(cli.RESULTS, tmp_path)
    assert (report.DOCS / "results.md").read_text() == report.page(cli.RESULTS, drawn)
    assert {path.name for path in drawn} == {path.name for path in (report.DOCS / "figures").iterdir()}


def claimed(folder, text):
    (found,) = (claim for claim in claims.claims(folder) if text in claim.text)
    return found


def test_a_verdict_follows_from_the_runs(tmp_path):
    better = "approx, k = 0.5: lower error than uniform"
    assert claimed(tmp_path, better).verdict == claims.PENDING
    for seed, error in enumerate([0.80, 0.82, 0.84]):
        written(tmp_path, "uniform", 1.0, seed, [2.0, error])
    for seed, error in enumerate([0.60, 0.62]):
        written(tmp_path, "approx", 0.5, seed, [0.64, error])
    assert claimed(tmp_path, better)[2:] == (claims.OPEN, "error 0.61 ± 0.014 against 0.82 ± 0.02: too few seeds for a test")
    written(tmp_path, "approx", 0.5, 2, [0.64, 0.64])
    assert claimed(tmp_path, better).verdict == claims.YES


@pytest.mark.parametrize(
    ("uniform", "approx", "verdict", "reason"),
    [
        ([0.7, 0.7, 0.7, 0.7, 0.7, 0.6], [0.6] * 6, "YES", "epoch 1 against epoch 6"),
        ([0.7, 0.7, 0.7, 0.7, 0.6, 0.6], [0.6] * 6, "NO", "epoch 1 against epoch 5"),
        ([0.7] * 6, [0.7, 0.6, 0.6, 0.6, 0.6, 0.6], "YES", "epoch 2 against not in 6 epochs"),
        ([0.7] * 5, [0.7, 0.6, 0.6, 0.6, 0.6], "OPEN", "epoch 2 against not in 5 epochs: uniform sampling was not"),
        ([0.6] * 6, [0.7] * 6, "NO", "not in 6 epochs against epoch 1"),
    ],
)
def test_a_lead_is_counted_in_epochs(tmp_path, uniform, approx, verdict, reason):
    for seed in range(3):
        assert claimed(tmp_path, "comes to 0.65 % error 5 epochs").verdict in (claims.PENDING, claims.OPEN)
        written(tmp_path, "uniform", 1.0, seed, [error + seed / 1000 for error in uniform], each=1)
        written(tmp_path, "approx", 0.5, seed, [error + seed / 1000 for error in approx], each=1)
    found = claimed(tmp_path, "comes to 0.65 % error 5 epochs")
    assert found.verdict == getattr(claims, verdict) and found.reason.startswith(reason)


def test_a_difference_the_wrong_way_or_none_is_not_reproduced(tmp_path):
    for seed, error in enumerate([0.60, 0.62, 0.64]):
        written(tmp_path, "uniform", 1.0, seed, [error])
        written(tmp_path, "approx", 0.5, seed, [error + 0.2])
        written(tmp_path, "oracle", 0.5, seed, [error - 0.001])
    worse, same = (claimed(tmp_path, f"{label}, k = 0.5: lower error than uniform") for label in ("approx", "oracle"))
    assert worse.verdict == same.verdict == claims.NO
    assert "the opposite" in worse.reason and "within what the seeds differ by" in same.reason


def test_loss_and_norm_are_taken_just_before_the_step_of_the_sample(blobs):
    """Against Keras alone: plain gradient descent with rate 1 moves the weights by the gradient."""
    x, y = blobs
    model, other = classifier(), classifier()
    other.set_weights(model.get_weights())
    losses, found = norms.measured(model, ArraySource(x, y), 20, seed=0, batch_size=10)
    assert losses.shape == found.shape == (2, 10)
    order = np.random.default_rng(0).permutation(len(x))
    other.train_on_batch(x[order[:10]], y[order[:10]])
    start = other.get_weights()
    for i in range(10):
        sample = order[10 + i : 11 + i]
        other.set_weights(start)
        other.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy")
        loss = other.train_on_batch(x[sample], y[sample])
        moved = np.sqrt(sum(np.sum((before - after) ** 2) for before, after in zip(start, other.get_weights())))
        assert (losses[1, i], found[1, i]) == (pytest.approx(float(loss), rel=1e-4), pytest.approx(moved, rel=1e-4))


def test_figure_4_sorts_the_losses_by_the_norm_within_its_batch():
    """Losses that are the norms: rank correlation 1, whatever each batch's norms are scaled by."""
    losses = np.random.default_rng(0).permuted(np.tile(np.arange(1.0, 101.0), (4, 1)), axis=1)
    found = norms.summary(losses, losses * np.array([[1.0], [10.0], [0.1], [5.0]]), 400)
    assert found["rank_correlation_within_batches"] == 1 and found["rank_correlation"] > 0.999
    assert found["samples"] == 400 and np.all(np.diff(found["means"]) > 0)
    assert found["means"][0] == pytest.approx(np.repeat(np.arange(1, 14), 4)[:50].mean(), abs=0.01)


def test_figure_4_runs_and_is_drawn(small, tmp_path, capsys):
    assert norms.main(["mnist", "--samples", "200", "--results", str(tmp_path)]) == 0
    found = reading.norms(tmp_path, "mnist")
    assert found["samples"] == 200 and len(found["means"]) == 151
    assert list(figures.draw(tmp_path, tmp_path / "figures").values())[0].startswith("Figure 4a: loss of 200 samples")
    before = (tmp_path / "mnist-norms.jsonl").read_text()
    assert norms.main(["mnist", "--samples", "200", "--results", str(tmp_path)]) == 0
    assert (tmp_path / "mnist-norms.jsonl").read_text() == before  # with its seconds
    with pytest.raises(SystemExit):
        norms.main(["mnist", "--samples", "0"])
    assert "--samples must be >= 1. Received: 0" in capsys.readouterr().err


def test_a_finished_run_needs_no_checkpoint(small, tmp_path):
    command = ["mnist", "--methods", "uniform", "--seeds", "0", "--epochs", "1", "--steps", "2", "--results", str(tmp_path)]
    assert cli.main([*command, "--checkpoints", str(tmp_path / "kept")]) == 0
    before = (tmp_path / "mnist-uniform-lr0.001-seed0.jsonl").read_text()
    assert cli.main([*command, "--checkpoints", str(tmp_path / "lost")]) == 0
    assert (tmp_path / "mnist-uniform-lr0.001-seed0.jsonl").read_text() == before


def test_the_grid_is_ten_rates_of_uniform_sampling(small, tmp_path):
    folders = ["--results", str(tmp_path), "--checkpoints", str(tmp_path / "kept")]
    assert cli.main(["mnist", "--grid", "--steps", "2", "--epochs", "3", *folders]) == 0
    found = reading.grid(tmp_path, "mnist")
    assert list(found) == [0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.007, 0.008, 0.009, 0.01]
    assert "Best: " in report.page(tmp_path, {}) and len(reading.load(tmp_path, "mnist")["uniform"]) == 1


RUNS = ["mnist", "--methods", "uniform", "pcg", "--k", "0.5", "--seeds", "0", "--steps", "2", "--limit", "300"]


def test_runs_in_processes_of_their_own_are_those_of_one_and_one_that_fails_is_named(mnist, tmp_path, capsys):
    broken = tmp_path / "kept" / "mnist-pcg-k0.5-lr0.001-seed0"
    broken.mkdir(parents=True)
    (broken / "epoch-1").write_bytes(b"no checkpoint")
    at_once = ["--epochs", "1", "--jobs", "2", "--results", str(tmp_path / "at-once"), "--checkpoints", str(tmp_path / "kept")]
    assert cli.main([*RUNS, *at_once]) == 1
    assert "mnist-pcg-k0.5-lr0.001-seed0: _pickle.UnpicklingError" in "".join(capsys.readouterr().out.splitlines())
    here = ["--epochs", "1", "--results", str(tmp_path / "here"), "--checkpoints", str(tmp_path / "kept-here")]
    assert cli.main([*RUNS, *here]) == 0
    (path,) = (tmp_path / "at-once").glob("*.jsonl")
    (settings, found), (expected_settings, expected) = lines(path), lines(tmp_path / "here" / path.name)
    assert path.name == "mnist-uniform-lr0.001-seed0.jsonl" and settings == expected_settings
    assert without_times(found) == without_times(expected)


def test_ctrl_c_ends_the_processes_too(mnist, tmp_path):
    command = [sys.executable, "-m", "examples.paper", *RUNS, "--methods", "uniform", "--jobs", "2", "--epochs", "1000"]
    folders = ["--results", tmp_path, "--checkpoints", tmp_path / "kept"]
    process = subprocess.Popen([*command, *folders], stdout=subprocess.PIPE, text=True)
    path = tmp_path / "mnist-uniform-lr0.001-seed0.jsonl"
    while not path.exists():
        time.sleep(0.1)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "To go on:" in out
    before = path.read_text()
    time.sleep(1)
    assert path.read_text() == before
