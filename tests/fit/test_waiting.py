"""What takes long before the first step says so while it does."""

import time

from importance_sampling import ImportanceTraining
from importance_sampling.fit.waiting import said_if_slow
from importance_sampling.importance.gaussian import PerClassGaussian
from tests.fit.test_read_ahead import SIZE, X, Y
from tests.models import classifier


def test_only_what_is_slow_and_only_where_fit_is_verbose(capsys):
    for verbose, takes, said in ((1, 0.3, "waiting\n"), (1, 0.0, ""), (0, 0.3, "")):
        with said_if_slow("waiting", {"verbose": verbose}, seconds=0.1):
            time.sleep(takes)
        assert capsys.readouterr().out == said
    time.sleep(0.2)
    assert capsys.readouterr().out == ""


def test_an_importance_that_compiles_for_long(capsys):
    class Slow(PerClassGaussian):
        def prepare(self, pool_size, batch_size):
            time.sleep(2.3)

    for verbose in (2, 0):
        ImportanceTraining(classifier(), Slow, seed=0).fit(X, Y, batch_size=SIZE, verbose=verbose)
        assert capsys.readouterr().out.startswith("Compiling what chooses the samples ...\n") == bool(verbose)
