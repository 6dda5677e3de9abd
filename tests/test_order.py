"""A sweep starts first what need not wait for what it is running, and else goes by its file."""

from __future__ import annotations

import io
import re
import threading

from trivial import DONE, wanted

from ablkit.runs.job import Job
from ablkit.runs.parameters import changed, check
from ablkit.sweep import local, slots
from ablkit.sweep.board import Board
from ablkit.sweep.budget import Plan
from ablkit.sweep.expected import Expected
from ablkit.sweep.order import Order

ZERO, WAITS, ONE = wanted(0, method="none"), wanted(0), wanted(1)


def test_what_shares_its_poisoned_images_with_a_running_one_comes_last():
    order = Order()
    assert order.sorted([ZERO, WAITS, ONE]) == [ZERO, WAITS, ONE]  # nothing is running
    order.start(ZERO)
    assert order.sorted([WAITS, ONE]) == [ONE, WAITS]
    order.start(WAITS)  # as nothing else was left
    order.end(WAITS, done=False)
    assert order.sorted([wanted(0, gamma=0.4), ONE]) == [ONE, wanted(0, gamma=0.4)]  # it left nothing
    order.end(ZERO, done=True)
    assert order.sorted([wanted(0, gamma=0.4), ONE]) == [wanted(0, gamma=0.4), ONE]  # now the stages are there


def test_other_images_and_comparisons_share_nothing():
    order = Order()
    order.start(ZERO)
    others = [wanted(0, **own) for own in ({"poison_rate": 0.2}, {"attack": "blend"}, {"train_size": 300})]
    compared = Job("table1", "", check("table1", changed("table1", "smoke", {"attack_names": "badnets"})))
    assert order.sorted([*others, compared, WAITS]) == [*others, compared, WAITS]
    assert order.sorted([WAITS, compared]) == [compared, WAITS]  # the twin


def started(text: str) -> list[str]:
    return re.findall(r"started   (\w+)", text)


def test_with_two_slots_the_second_run_is_of_other_images(cells, folders):
    cells("import time\ntime.sleep(2)", DONE)
    stream, jobs = io.StringIO(), [ZERO, WAITS, ONE]
    assert local.run(jobs, slots.make(jobs, 2), Board(jobs, 2, stream), local.attempt) == {}
    assert {*started(stream.getvalue())[:2]} == {ZERO.folder.name, ONE.folder.name}
    assert all(job.is_done() for job in jobs)


def test_a_budget_puts_them_off_too(folders):
    plan = Plan([ZERO, WAITS, ONE], Expected([ZERO]), float("inf"), lambda line: None)
    plan.seconds_left = lambda job: 1.0
    never = threading.Event()
    assert plan.take(never) == ZERO and plan.take(never) == ONE
    plan.end(ZERO, 1.0)
    assert plan.take(never) == WAITS
