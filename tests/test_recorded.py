"""The same seed gives the same draws, weights and training as when they were recorded."""

import json

import pytest

from tests import recorded

RECORD = json.loads(recorded.RECORD.read_text())


@pytest.mark.parametrize("case", recorded.CASES)
def test_a_seed_gives_what_it_gave(case):
    found, known = recorded.run(case), RECORD[case]
    assert found["loss"] == pytest.approx(known["loss"], rel=1e-3)  # on every machine
    if RECORD["machine"] == recorded.machine():
        assert found == known
