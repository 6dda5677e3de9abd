"""Which run of a sweep is next: the first of the file that need not wait for one that is running."""

from __future__ import annotations

from collections import Counter
from functools import cache

from ablkit.runs.job import Job
from ablkit.runs.parameters import OneRun


class Order:
    """Puts off runs that would wait for another one; whoever uses it from several threads locks it.

    Runs on the same poisoned images share what is trained first: the attacker's networks, phase 1, the fine-tuning. A
    run that needs what another one is training waits for it and keeps its slot meanwhile. So of each poisoned set one
    run goes first, and the others follow once a run of that set is done, or where nothing else is left.
    """

    def __init__(self) -> None:
        self._running: Counter = Counter()
        self._ended: set = set()

    def sorted(self, jobs: list[Job]) -> list[Job]:
        """The jobs in their order, but those that would wait last."""
        return sorted(jobs, key=self._would_wait)

    def start(self, job: Job) -> None:
        """A job is being run."""
        self._running[_poisoned_set(job)] += 1

    def end(self, job: Job, *, done: bool) -> None:
        """It runs no longer; `done` where it has ended well, and so left what it trained."""
        self._running[_poisoned_set(job)] -= 1
        if done:
            self._ended.add(_poisoned_set(job))

    def _would_wait(self, job: Job) -> bool:
        images = _poisoned_set(job)
        return self._running[images] > 0 and images not in self._ended


@cache
def _poisoned_set(job: Job) -> object:
    """What tells the poisoned images of a job from those of others; one that compares runs shares with none."""
    p = job.parameters
    if not isinstance(p, OneRun):
        return job
    return p.dataset, *sorted(p.drawing().items()), *sorted(p.poisoning().items())
