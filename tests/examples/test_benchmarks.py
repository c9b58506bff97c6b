"""The benchmarks: each training is what its name says, results are kept and gone on with, tables follow from them."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from benchmarks import methods, problems, runs, scale, time_report, time_to_result
from importance_sampling import ImportanceTraining, Pool


@pytest.fixture
def small(monkeypatch, mnist):
    """A problem of a moment, in place of the rare class."""
    x, y = mnist
    data = (x[:600], y[:600]), (x[600:900], y[600:900])

    def network():
        layers = [keras.layers.Flatten(), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(10, activation="softmax")]
        return keras.Sequential([keras.Input((28, 28, 1)), *layers])

    problem = problems.Problem("small", lambda: data, network, problems.misclassified, "test error (%)", steps=360, batch_size=32)
    monkeypatch.setitem(problems.PROBLEMS, "rare", problem)


def test_every_training_gets_its_budget_and_writes_its_file(small, tmp_path, capsys):
    """Of uniform 360 x 32; ours takes less, and controls and peers what ours took."""
    for method in methods.METHODS:
        time_to_result.run("rare", method, 0, tmp_path, None)
    found = {method: json.loads((tmp_path / f"rare-{method}-0.json").read_text()) for method in methods.METHODS}
    assert found["uniform"]["samples"] == 360 * 32
    assert {run["steps"] for method, run in found.items() if method != "shorter"} == {360}
    fraction = found["ours"]["samples"] / found["uniform"]["samples"]
    assert 0.25 < fraction < 0.99
    for method in ("smaller", "shorter", "infobatch", "hardest"):
        run = found[method]
        assert run["samples"] == run["steps"] * run["batch_size"] == pytest.approx(fraction * 360 * 32, rel=0.03)
        assert run["fraction"] == fraction
    assert found["shorter"]["batch_size"] == 32
    for run in found.values():
        assert run["error"] < 40 and len(run["curve"]) == runs.EVALUATIONS and run["curve"][-1][0] == run["samples"]
        assert np.all(np.diff(run["curve"], axis=0)[:, :2] > 0) and run["versions"]["keras"] == keras.__version__
    chosen = SimpleNamespace(problems=["rare"], methods=list(methods.METHODS), seeds=[0, 1], results=tmp_path)
    table = time_report.table(chosen)
    assert "| ours, k = 1 |" in table and "360 updates of 32, 1 seeds" in table
    assert f"| {fraction:.2f} |" in table
    chosen_two = SimpleNamespace(problems=["rare"], methods=["uniform", "ours"], seeds=[0], results=tmp_path)
    assert [row.split(" |")[0] for row in time_report.table(chosen_two).splitlines()[4:]] == ["| uniform sampling", "| ours, k = 1"]
    path = tmp_path / "picture.png"
    time_report.picture(time_report.found(chosen), path)
    assert path.read_bytes().startswith(b"\x89PNG")
    # what has a file is not run again, and no process is started
    arguments = ["--problems", "rare", "--seeds", "0", "--results", str(tmp_path), "--picture", str(tmp_path / "other.png")]
    time_to_result.main(arguments)
    assert table in capsys.readouterr().out


def test_the_page_has_the_tables_of_the_results_files():
    page = (time_to_result.RESULTS.parents[1] / "docs" / "performance.md").read_text()
    for folder in (time_to_result.RESULTS, time_to_result.RESULTS / "auto"):
        chosen = SimpleNamespace(problems=list(problems.PROBLEMS), methods=list(methods.METHODS), seeds=[0, 1, 2], results=folder)
        assert time_report.found(chosen) and time_report.table(chosen).strip() in page


def test_controls_wait_for_ours(tmp_path):
    with pytest.raises(SystemExit, match="--methods must have uniform and ours before smaller"):
        time_to_result.main(["--problems", "rare", "--methods", "smaller", "--results", str(tmp_path)])


def test_infobatch_draws_half_of_what_is_below_the_mean_and_all_at_the_end():
    rule = methods.InfoBatch(updates=8)
    rule.build(6, 0, 0)
    pool = Pool(np.arange(6), None, None)
    np.testing.assert_array_equal(rule.score(pool), np.ones(6))
    rule.update(np.arange(5), None, np.array([1.0, 1.0, 1.0, 1.0, 6.0]))  # the last is not seen yet
    np.testing.assert_array_equal(rule.score(pool), [0.5, 0.5, 0.5, 0.5, 1, 1])
    for _ in range(6):
        rule.update(np.arange(5), None, np.array([1.0, 1.0, 1.0, 1.0, 6.0]))
    np.testing.assert_array_equal(rule.score(pool), np.ones(6))


def test_uniform_sampling_takes_another_order_in_each_epoch():
    """Plain `fit` does not, after `keras.utils.set_random_seed`: that would be a handicap for whom we compare with."""

    class Looking(keras.Sequential):
        def train_step(self, data):
            seen.append(data[0].numpy()[:, 0])
            return super().train_step(data)

    seen = []
    keras.utils.set_random_seed(0)
    model = Looking([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    assert len({methods.METHODS[method].trainer for method in ("uniform", "smaller", "shorter")}) == 1
    trainer = methods.METHODS["uniform"].trainer(model, 20, 0, None)
    x = np.arange(40, dtype=np.float32)
    trainer.fit(x[:, None], 0 * x, batch_size=4, epochs=2, verbose=0)
    first, second = np.concatenate(seen[-20:-10]), np.concatenate(seen[-10:])
    np.testing.assert_array_equal(np.sort(first), x)
    np.testing.assert_array_equal(np.sort(second), x)
    assert np.any(first != second)


def test_the_hardest_half_is_trained_on_without_weights(mnist):
    x, y = mnist
    model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    draws = []
    methods.HardestHalf(model, 0, 0, lambda draw, losses: draws.append(draw)).fit(x, y, batch_size=20, verbose=0)
    for draw in draws:
        assert draw.pool_size == 40 and np.all(draw.weights == 1)
        assert draw.scores.min() >= np.sort(draw.pool_scores)[20] and len(set(draw.indices)) == 20
    candidates = np.concatenate([draw.pool_indices for draw in draws[:50]])
    assert len(set(candidates)) == 2000  # each sample is a candidate once in a pass


def test_a_training_that_stops_at_its_last_update(mnist):
    """Not at the end of an epoch, and the schedule of the learning rate is at its end."""
    x, y = mnist
    problem = problems.PROBLEMS["mnist"]
    model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")])
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, 30)), "sparse_categorical_crossentropy")
    for trainer in (model, ImportanceTraining(model, "history", seed=0)):
        model.optimizer.iterations.assign(0)
        clock = runs.Clock(30, lambda: problem.evaluated(model, (x[:100], y[:100])), 100)
        clock.start()
        trainer.fit(x, y, batch_size=100, epochs=5, verbose=0, callbacks=[clock])
        assert int(model.optimizer.iterations) == 30 and clock.result["samples"] == 3000
        assert float(model.optimizer.learning_rate) == pytest.approx(0, abs=1e-9)


def test_average_precision_is_that_of_scikit_learn():
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, 200), rng.random((200, 1))
    assert problems.missed_precision(y, p) == pytest.approx(100 * (1 - average_precision_score(y, p[:, 0])))


def test_the_loss_of_a_problem_is_that_of_keras(mnist):
    x, y = mnist
    for name, labels in (("rare", (y == 9).astype(int)), ("mnist", y)):
        problem = problems.PROBLEMS[name]
        model = problem.compiled(10)
        found = problem.evaluated(model, (x[:300], labels[:300]))
        assert found["loss"] == pytest.approx(model.evaluate(x[:300], labels[:300], verbose=0), rel=1e-4)


def test_the_scale_is_measured():
    """4 bytes a sample, and some for the pool and what waits."""
    found, held = scale.one("history", 10**6)
    assert found > 0 and 4 <= held < 6
