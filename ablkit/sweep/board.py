"""What a sweep shows while it runs: a table that redraws itself in a terminal, a line for each event elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from io import TextIOBase

from ablkit.errors import shortened
from ablkit.runs import records
from ablkit.runs.job import Job


class Board:
    """The states of a sweep's jobs; safe to use from several threads."""

    def __init__(self, jobs: list[Job], slots: int, stream: TextIOBase | None = None) -> None:
        self.jobs, self.slots, self.stream = jobs, slots, stream or sys.stdout
        self.started: dict[Job, float] = {}
        self.taken: list[float] = []
        self.states = dict.fromkeys(jobs, "waiting")
        self.lock, self.drawn = threading.Lock(), 0

    def start(self, job: Job, where: str) -> None:
        """A slot has taken a job."""
        with self.lock:
            self.states[job], self.started[job] = "running", time.monotonic()
        self.tell(f"started   {_name(job)} on {where}")

    def end(self, job: Job, state: str, note: str = "") -> None:
        """A job is `done`, `failed`, `stopped`, held `elsewhere`, or `waiting` again."""
        with self.lock:
            self.states[job] = state
            seconds = time.monotonic() - self.started.pop(job)
            if state == "done" and not note:
                self.taken.append(seconds)
        self.tell(f"{state:<10}{_name(job)}{f', {seconds:.0f} s' if not note else f': {note}'}")

    def counts(self) -> str:
        """How many jobs are in which state, and when the sweep may be over."""
        states = list(self.states.values())
        line = ", ".join(f"{states.count(state)} {state}" for state in ("done", "running", "failed", "elsewhere"))
        left = states.count("waiting") + states.count("running")
        if left and self.taken:
            seconds = sum(self.taken) / len(self.taken) * left / self.slots
            return f"{line}, {left} left: about {seconds // 60:.0f} m {seconds % 60:02.0f} s"
        return f"{line}, {left} left"

    def draw(self) -> None:
        """Redraw the table, where the output is a terminal."""
        if not self.stream.isatty():
            return
        with self.lock:
            now = time.monotonic()
            lines = [f"  {_name(job)}  {_epoch(job):<16} {now - at:>5.0f} s" for job, at in self.started.items()]
            self._erase()
            for line in [*lines, self.counts()]:
                self.stream.write(f"{line}\n")
            self.drawn = len(lines) + 1
            self.stream.flush()

    def tell(self, line: str) -> None:
        """Print a line above the table."""
        with self.lock:
            self._erase()
            print(shortened(line, 600), file=self.stream, flush=True)

    def _erase(self) -> None:
        if self.drawn:
            self.stream.write(f"\x1b[{self.drawn}A\x1b[J")
            self.drawn = 0


def _name(job: Job) -> str:
    return f"{job.folder.name}  {job.notebook}: {job.title}, {job.subject}"


def _epoch(job: Job) -> str:
    try:
        last = records.history(job.folder)[-1]
    except records.Damaged:  # none yet, or damaged
        return ""
    return f"{last['stage']} {last['epoch']}"
