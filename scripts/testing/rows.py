"""Steps of scripts/test and how they share the machine: in two rows, one of which has only the time that the other leaves."""
import os
import resource
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Callable

from outcome import Outcome


@dataclass(frozen=True)
class Step:
    """`needs` names steps before it that must have passed."""
    name: str
    what: str
    body: Callable[[], Outcome]
    quick: bool = False
    needs: tuple[str, ...] = ()
    behind: bool = False  # compiles or reads, and may wait: runs beside the others, in time that nobody wants


class Rows:
    """Runs steps, each row in its order; a step waits for what it needs. Prints a line for each as it ends."""

    def __init__(self, steps):
        self.front, self.behind = [s for s in steps if not s.behind], [s for s in steps if s.behind]
        self.ended = {step.name: threading.Event() for step in steps}
        self.broken = set()

    def run(self):
        """The outcomes of all."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            rest = pool.submit(self._run_behind, self.behind)
            return [self._run_step(step) for step in self.front] + rest.result()

    def _run_behind(self, steps):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # of this thread and of what it starts
        return [self._run_step(step) for step in steps]

    def _run_step(self, step):
        for name in step.needs:
            self.ended[name].wait()
        if sys.stdout.isatty():
            print(f"…    {step.name:<14} {step.what}", end="\r", flush=True)
        start, outcome = time.monotonic(), Outcome()
        stopped_by = [name for name in step.needs if name in self.broken]
        if stopped_by:
            outcome.add(step.name, False, f"not run: {', '.join(stopped_by)} failed")
        else:
            try:
                outcome = step.body()
            except Exception as error:  # a step that cannot run is a failed test, not the end of the others
                outcome.add(step.name, False, f"{type(error).__name__}: {error}")
        if outcome.failed:
            self.broken.add(step.name)
        self.ended[step.name].set()
        tell(step, outcome, time.monotonic() - start)
        return outcome


def tell(step, outcome, seconds):
    skipped = f", {outcome.skipped} skipped" if outcome.skipped else ""
    lines = [f"{'FAIL' if outcome.failed else 'ok  '} {step.name:<14} {step.what:<36} {seconds:6.1f} s  {outcome.passed} passed, {len(outcome.failed)} failed{skipped}"]
    for case in outcome.failed:
        lines += [f"  --- {case.name}", *("      " + line for line in case.words.strip().splitlines())]
    print("\n".join(lines), flush=True)


def cpu_seconds():
    """Of all commands that have ended: what the steps cost whatever else runs on the machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
