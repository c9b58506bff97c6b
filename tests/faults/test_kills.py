"""`kill -9`, again and again. The long version is `make faults`."""

import os
import re
import subprocess
import sys

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are made by fork")
def test_killed_trainings_end_as_undisturbed_ones():
    """Eight kills at random moments, of trainings of three kinds; in each life a training gets some way, or not at all."""
    command = [sys.executable, "-m", "tests.faults.kills", "--kills", "8", "--kinds", "equal-variance", "auto", "callback"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kills, trainings = re.search(r"(\d+) kills .* of (\d+) trainings", done.stdout).groups()
    assert int(kills) >= 8 and int(trainings) >= 1
