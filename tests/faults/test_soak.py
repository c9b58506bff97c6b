"""The short form of `make soak`."""

import subprocess
import sys


def test_nothing_grows_in_five_thousand_steps():
    done = subprocess.run([sys.executable, "-m", "tests.faults.soak", "--steps", "5000"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "memory, objects and threads have not grown" in done.stdout
