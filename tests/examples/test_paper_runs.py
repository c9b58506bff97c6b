"""The paper's experiments: runs that go on where they stopped, the command line, and what is measured."""

import json
import shlex
import shutil
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from examples import datasets
from examples.paper import cli, data, figures, norms, reading, report, results_file
from examples.paper.experiments import EXPERIMENTS, epochs_of
from examples.paper.measures import variance_ratio
from examples.paper.results_file import Refused, Results, Settings, commit
from examples.paper.runs import run
from importance_sampling import ArraySource, ImportanceSampler, LSTMImportance, Oracle, Pool
from importance_sampling.importance.base import IMPORTANCES
from tests.models import classifier


@pytest.fixture
def small(monkeypatch, mnist):
    """The experiment on 300 images with a network of a moment; dropout and batch normalisation, so that their states matter."""
    x, y = mnist

    def network():
        layers = keras.layers
        return keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                layers.Flatten(),
                layers.Dropout(0.5),
                layers.BatchNormalization(),
                layers.Dense(10, activation="softmax"),
            ]
        )

    made = dict(EXPERIMENTS)
    made["mnist"] = type(EXPERIMENTS["mnist"])(
        **{
            **vars(EXPERIMENTS["mnist"]),
            "network": network,
            "drop_at": 30,
            "variance": 20,
            "data": lambda limit: data.Data(x[:300], y[:300], (x[300:500], y[300:500])),
        }
    )
    for module in ("examples.paper.cli", "examples.paper.runs", "examples.paper.norms"):
        monkeypatch.setattr(f"{module}.EXPERIMENTS", made)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def without_times(line):
    return {name: value for name, value in line.items() if name not in ("seconds", "cpu_seconds", "sampler_share")}


@pytest.mark.parametrize("method", ["oracle", "approx"])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(small, tmp_path, method, monkeypatch):
    monkeypatch.setitem(IMPORTANCES._parts, "approx", LSTMImportance(jit_compile=False))  # three quick starts
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
    with pytest.raises(Refused, match="must have its checkpoint in"):
        Results(Settings("mnist", "uniform", 1.0, 0, steps=2), tmp_path / "results", tmp_path / "elsewhere").load(classifier())
    path.unlink()  # the checkpoint alone is not gone on with either
    capsys.readouterr()
    assert cli.main(["mnist", "--methods", "uniform", "--seeds", "0", "--epochs", "2", "--steps", "3", *folders]) == 1
    assert "Received: other steps" in capsys.readouterr().out and not path.exists()


def test_a_run_of_other_versions_is_not_gone_on_with(small, tmp_path, capsys, monkeypatch):
    command = ["mnist", "--methods", "uniform", "--seeds", "0", "--steps", "2", "--results", str(tmp_path)]
    assert cli.main([*command, "--epochs", "1"]) == 0
    before = (tmp_path / "mnist-uniform-lr0.001-seed0.jsonl").read_text()
    monkeypatch.setattr(keras, "__version__", "9.9.9")
    assert cli.main([*command, "--epochs", "1"]) == 0  # it is done, whatever the versions are now
    assert cli.main([*command, "--epochs", "2"]) == 1
    assert f"Received: keras 9.9.9, not {lines(tmp_path / 'mnist-uniform-lr0.001-seed0.jsonl')[0]['versions']['keras']}" in (
        " ".join(capsys.readouterr().out.split())
    )
    assert (tmp_path / "mnist-uniform-lr0.001-seed0.jsonl").read_text() == before


def test_the_commit_tells_where_the_code_has_changed_but_not_where_results_have(tmp_path):
    """Results taken again are tracked files that change: they must not make the code seem another."""
    folder = tmp_path / "repository" / "paper"
    (folder / "results").mkdir(parents=True)
    code, result = folder / "code.py", folder / "results" / "run.jsonl"

    def told():
        commit.cache_clear()
        return commit(folder)

    def git(*command):
        who = ["-c", "user.name=a", "-c", "user.email=a@b.invalid"]
        return subprocess.run(["git", "-C", folder, *who, *command], check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", "..")
    code.write_text("1")
    result.write_text("1")
    git("add", ".")
    git("commit", "-qm", "both")
    clean = told()
    assert git("rev-parse", "HEAD").startswith(clean)
    result.write_text("2")
    assert told() == clean
    code.write_text("2")
    assert told() == f"{clean}-dirty"
    assert commit(tmp_path) is None


def test_an_evaluation_by_newer_code_names_its_commit(small, tmp_path, monkeypatch):
    command = ["mnist", "--methods", "uniform", "--seeds", "0", "--steps", "2", "--results", str(tmp_path)]
    for epochs in (1, 2, 3):
        monkeypatch.setattr(results_file, "commit", lambda epochs=epochs: "older" if epochs < 3 else "newer")
        assert cli.main([*command, "--epochs", str(epochs)]) == 0
    (found,) = reading.read(tmp_path, "mnist")
    assert [line["commit"] for line in found.lines] == ["older", "older", "newer"]
    assert "; commit newer or older." in report.conditions({"uniform": [found]})


def test_a_run_before_the_grid_is_whole_is_told_what_that_means(small, tmp_path, capsys):
    run = ["mnist", "--methods", "uniform", "--seeds", "0", "--steps", "2", "--results", str(tmp_path)]
    beside = ["--results", str(tmp_path / "grid"), "--epochs", "3", "--learning-rate"]
    warning = "1 of the 10 rates of the grid are tried. 0.001 is used until all are"
    for command, told in (([*run, *beside, "0.002"], False), ([*run, "--epochs", "1"], True)):
        assert cli.main(command) == 0
        assert (warning in capsys.readouterr().out) == told


def test_a_run_is_trained_by_one_process_at_a_time(small, tmp_path, capsys):
    command = ["mnist", "--methods", "uniform", "--seeds", "0", "--steps", "2", "--epochs", "1", "--results", str(tmp_path)]
    with Results(Settings("mnist", "uniform", 1.0, 0, steps=2), tmp_path, tmp_path / "checkpoints").locked():
        assert cli.main(command) == 1
    assert "must be written by one process at a time" in " ".join(capsys.readouterr().out.split())
    assert cli.main(command) == 0


def test_the_command_to_go_on_is_in_one_piece(small, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "_run_here", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    command = [
        "mnist",
        "--methods",
        "uniform",
        "--steps",
        "2",
        "--results",
        str(tmp_path / "a folder with [a] name of some length"),
    ]
    assert cli.main(command) == 130
    assert f"  {shlex.join([sys.executable, '-m', 'examples.paper', *command])}\n" in capsys.readouterr().out


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
    assert f"To go on: {sys.executable} -m examples.paper mnist --methods pcg --k 0.5" in " ".join(capsys.readouterr().out.split())
    (path,) = (tmp_path / "results").glob("*.jsonl")
    assert [line["epoch"] for line in lines(path)[1:]] == [1]
    monkeypatch.undo()


def test_uniform_sampling_runs_once_for_all_k():
    chosen = cli.arguments(
        ["ptb", "--methods", "uniform", "pcg", "--k", "1", "0.5", "--seeds", "0", "1", "--learning-rate", "0.001"]
    )
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
        (["mnist", "--seeds", "0", "-1"], "--seeds must be >= 0. Received: [0, -1]"),
        (["mnist", "--steps", "2"], "--steps and --limit must come with --results"),
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


def test_the_variance_ratio_is_that_of_the_whole_presample(blobs):
    """The expectation has a closed form where the presample is all of the data: the sum of |g|^2 / p by N times that of |g|^2."""
    x, y = blobs
    model = classifier(optimizer=keras.optimizers.Adam(0.02))
    model.fit(x, y, epochs=20, verbose=0)  # some samples are harder than others now
    source = ArraySource(x, y)
    sampler = ImportanceSampler(source, Oracle(model), k=0.5, smoothing=0.1, presample=300, seed=0)
    before = sampler.get_state()
    gradient_norm = Oracle(model, quantity="full_gnorm")
    found = variance_ratio(gradient_norm, sampler, 299)
    assert sampler.get_state()["rng"] == before["rng"]
    everything = Pool(np.arange(300), None, lambda part: source[part])
    losses, norms = Oracle(model).score(everything) + 0.1, gradient_norm.score(everything)
    expected = np.sum(norms**2 * losses.sum() / losses) / 300 / np.sum(norms**2)
    assert found == pytest.approx(expected, rel=0.15)  # 299 draws
    assert abs(expected - 1) > 0.2  # so a ratio of 1 would fail
    assert variance_ratio(gradient_norm, ImportanceSampler(source, "uniform", seed=0), 50) == 1


def test_loss_and_norm_are_taken_just_before_the_step_of_the_sample(blobs):
    """Against Keras alone: plain gradient descent with rate 1 moves the weights by the gradient."""
    x, y = blobs
    model, other = classifier(), classifier()
    other.set_weights(model.get_weights())
    losses, found, indices = norms.measured(model, ArraySource(x, y), 20, seed=0, batch_size=10)
    assert losses.shape == found.shape == (2, 10)
    order = np.random.default_rng(0).permutation(len(x))
    np.testing.assert_array_equal(indices, order[:20].reshape(2, 10))
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
    assert found["rank_correlation_within_batches"] == [1, 0] and found["rank_correlation"] > 0.999
    assert found["samples"] == 400 and np.all(np.diff(found["means"]) > 0)
    assert found["lowest_norms_above_the_mean"] == [pytest.approx(5.5 - 50.5), 0]  # 1 to 10 of 1 to 100, in each batch
    assert found["highest_norms_above_the_mean"] == [pytest.approx(95.5 - 50.5), 0]
    assert found["means"][0] == pytest.approx(np.repeat(np.arange(1, 14), 4)[:50].mean(), abs=0.01)


def test_first_words_are_told_apart_in_figure_4():
    """Half of the samples have no word before them, losses and norms against each other; the rest go together."""
    values = np.arange(1.0, 21.0)
    losses = np.tile(np.concatenate([values, values]), (3, 1))
    found = np.tile(np.concatenate([values, values[::-1]]), (3, 1))
    contexts = np.zeros((3, 40, 5), int)
    contexts[:, :20, -1] = 7
    assert norms.within_batches(losses, found)["rank_correlation_within_batches"][0] == pytest.approx(0, abs=0.05)
    kept = norms.within_batches(*norms._with_context(losses, found, contexts))
    assert kept["rank_correlation_within_batches"] == [1, 0]
    assert kept["lowest_norms_above_the_mean"] == [1.5 - 10.5, 0]


def test_figure_4_runs_and_is_drawn(small, tmp_path, capsys):
    assert norms.main(["mnist", "--samples", "200", "--results", str(tmp_path)]) == 0
    found = reading.norms(tmp_path, "mnist")
    assert found["samples"] == 200 and len(found["means"]) == 151
    assert list(figures.draw(tmp_path, tmp_path / "figures", epochs_of("cpu")).values())[0].startswith(
        "Figure 4a: loss of 200 samples"
    )
    before = (tmp_path / "mnist-norms.jsonl").read_text()
    assert norms.main(["mnist", "--samples", "200", "--results", str(tmp_path)]) == 0
    assert (tmp_path / "mnist-norms.jsonl").read_text() == before  # with its seconds
    with pytest.raises(SystemExit):
        norms.main(["mnist", "--samples", "0"])
    assert "--samples must be >= 1. Received: 0" in capsys.readouterr().err
    for quick in ("--samples", "--seed", "--limit"):  # would take the place of the results that are shown
        with pytest.raises(SystemExit):
            norms.main(["mnist", quick, "7"])
        assert "--samples, --seed and --limit must come with --results" in capsys.readouterr().err


def test_a_finished_run_needs_no_checkpoint(small, tmp_path):
    command = ["mnist", "--methods", "uniform", "--seeds", "0", "--epochs", "1", "--steps", "2", "--results", str(tmp_path)]
    assert cli.main([*command, "--checkpoints", str(tmp_path / "kept")]) == 0
    before = (tmp_path / "mnist-uniform-lr0.001-seed0.jsonl").read_text()
    assert cli.main([*command, "--checkpoints", str(tmp_path / "lost")]) == 0
    assert (tmp_path / "mnist-uniform-lr0.001-seed0.jsonl").read_text() == before


def test_the_grid_is_ten_rates_of_uniform_sampling(small, tmp_path, monkeypatch):
    tried = list(cli.settings_of(cli.arguments(["mnist", "--grid"]), "mnist"))
    assert [settings.learning_rate for settings in tried] == [rate / 1000 for rate in range(1, 11)]
    assert {(settings.method, settings.seed) for settings in tried} == {("uniform", 0)}
    for module in (cli, reading, report):  # ten trainings take long, and say no more than two
        monkeypatch.setattr(module, "GRID", (0.001, 0.01))
    folders = ["--results", str(tmp_path), "--checkpoints", str(tmp_path / "kept")]
    assert cli.main(["mnist", "--grid", "--steps", "2", "--epochs", "3", *folders]) == 0
    assert list(reading.grid(tmp_path, "mnist")) == [0.001, 0.01]
    assert "The best, " in report.page(tmp_path, {}, epochs_of("cpu", 1))
    assert not reading.load(tmp_path, "mnist", 1)  # the long run of the rate that is used is another


RUNS = ["mnist", "--methods", "uniform", "pcg", "--k", "0.5", "--seeds", "0", "--steps", "2", "--limit", "300"]


def test_runs_in_processes_of_their_own_are_those_of_one_and_one_that_fails_is_named(mnist, tmp_path, capsys):
    broken = tmp_path / "kept" / "mnist-pcg-k0.5-lr0.001-seed0"
    broken.mkdir(parents=True)
    (broken / "epoch-1").write_bytes(b"no checkpoint")
    at_once = ["--epochs", "1", "--jobs", "2", "--results", str(tmp_path / "at-once"), "--checkpoints", str(tmp_path / "kept")]
    assert cli.main([*RUNS, *at_once]) == 1
    assert "mnist-pcg-k0.5-lr0.001-seed0: _pickle.UnpicklingError" in capsys.readouterr().out
    here = ["--epochs", "1", "--results", str(tmp_path / "here"), "--checkpoints", str(tmp_path / "kept-here")]
    assert cli.main([*RUNS, "--methods", "uniform", *here]) == 0
    (path,) = (tmp_path / "at-once").glob("*.jsonl")
    (settings, found), (expected_settings, expected) = lines(path), lines(tmp_path / "here" / path.name)
    assert path.name == "mnist-uniform-lr0.001-seed0.jsonl" and settings == expected_settings
    assert without_times(found) == without_times(expected)
    shutil.rmtree(tmp_path / "kept")
    assert cli.main([*RUNS, "--methods", "uniform", *at_once]) == 0
    assert not (tmp_path / "kept").exists()  # nothing was to do, and no process was started


def test_a_signal_ends_the_processes_too(mnist, tmp_path):
    """A termination, which is told as Ctrl-C is: that by `test_ctrl_c_keeps_what_is_done_and_tells_the_command`."""
    command = [sys.executable, "-m", "examples.paper", *RUNS, "--methods", "uniform", "--jobs", "2", "--epochs", "1000"]
    folders = ["--results", tmp_path, "--checkpoints", tmp_path / "kept"]
    process = subprocess.Popen([*command, *folders], stdout=subprocess.PIPE, text=True)
    path = tmp_path / "mnist-uniform-lr0.001-seed0.jsonl"
    while not path.exists():
        time.sleep(0.1)
        assert process.poll() is None
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "To go on:" in out
    before = path.read_text()
    time.sleep(1)
    assert path.read_text() == before


def test_a_run_that_was_killed_goes_on_bit_for_bit(mnist, tmp_path):
    """SIGKILL, wherever it comes; the same epochs as of a run that nobody killed."""
    command = [*RUNS[:1], "--methods", "uniform", *RUNS[-6:]]
    killed = ["--results", str(tmp_path / "killed")]
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.paper", *command, "--epochs", "1000", *killed], stdout=subprocess.PIPE
    )
    path = tmp_path / "killed" / "mnist-uniform-lr0.001-seed0.jsonl"
    while not (path.exists() and len(lines(path)) > 2):
        time.sleep(0.05)
        assert process.poll() is None
    process.kill()
    process.communicate()
    epochs = str(len(lines(path)) + 2)
    assert cli.main([*command, "--epochs", epochs, *killed]) == 0
    assert cli.main([*command, "--epochs", epochs, "--results", str(tmp_path / "whole")]) == 0
    expected = lines(tmp_path / "whole" / path.name)
    assert [without_times(line) for line in lines(path)[1:]] == [without_times(line) for line in expected[1:]]
