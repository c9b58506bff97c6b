"""Several runs at once, each in a process of its own that goes on from the results file as any run does."""

import subprocess
import sys
import time
from pathlib import Path

from examples.paper.results_file import Results


class JobFailed(RuntimeError):
    """A run in a process of its own ended with an error."""


def run_all(todo, chosen, progress):
    """Runs all, `chosen.jobs` at once. One that fails does not stop the others.

    Args:
        todo: pairs of the `Results` of a run and the epochs it is to come to.
        chosen: arguments of the command line, as far as they are the same for all runs.
        progress: of rich; has a bar for each run that was started. For one that is done already no process is.

    Raises:
        JobFailed: at least one failed; names it and the last line it said.
        KeyboardInterrupt: the processes have ended too.
    """
    waiting, running, failed = [(one, epochs) for one, epochs in todo if one.epochs < epochs], {}, []
    try:
        while waiting or running:
            while waiting and len(running) < chosen.jobs:
                one, epochs = waiting.pop(0)
                task = progress.add_task(one.settings.name, total=epochs, completed=min(one.epochs, epochs))
                running[_start(one.settings, epochs, chosen)] = one.settings, task
            time.sleep(0.5)
            for process, (settings, task) in list(running.items()):
                progress.update(task, completed=Results(settings, chosen.results, chosen.checkpoints).epochs)
                if process.poll() is not None:
                    del running[process]
                    if process.returncode:
                        failed.append(f"{settings.name}: {_last_line(_log(settings, chosen))} ({_log(settings, chosen)})")
    finally:
        for process in running:
            process.terminate()  # an interrupt is ignored where the shell started us in the background
        for process in running:
            process.wait()
    if failed:
        raise JobFailed("\n".join(failed))


def _start(settings, epochs, chosen):
    log = _log(settings, chosen)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        return subprocess.Popen(command(settings, epochs, chosen), stdout=out, stderr=subprocess.STDOUT)


def command(settings, epochs, chosen):
    """The command line of one run."""
    given = {
        "methods": settings.method,
        "k": settings.k,
        "seeds": settings.seed,
        "learning-rate": settings.learning_rate,
        "epochs": epochs,
        "steps": settings.steps,
        "limit": settings.limit,
        "threads": chosen.threads,
        "results": chosen.results,
        "checkpoints": chosen.checkpoints,
    }
    options = [text for name, value in given.items() if value is not None for text in (f"--{name}", str(value))]
    return [sys.executable, "-m", "examples.paper", settings.experiment, *options]


def _log(settings, chosen):
    return Path(chosen.checkpoints) / f"{settings.name}.log"


def _last_line(log):
    return (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
