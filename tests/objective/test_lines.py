"""Programs that are kept: what leaves them out of step, or ends them, costs the iteration that it happened in alone."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from arbd.errors import CodeChangedError, ObjectiveError
from arbd.job.policy import ObjectivePolicy, patterns_of
from arbd.job.spec import ObjectiveSpec
from arbd.objective.lines import LinesEvaluator
from arbd.objective.load import load_evaluator
from arbd.objective.processes import children, descendants, is_running
from arbd.objective.program import CommandError
from arbd.objective.protocol import Trial
from tests.objective.test_objectives import SPEC

# Answers with the iteration, how many this process answered before, and its own number; `do` is what else it does.
PROGRAM = """#!{python} -S
import json, os, sys, time
answered = 0
for line in sys.stdin:
    q = json.loads(line)
    number, first = q["iteration"], answered == 0
    answer = json.dumps({{"id": q["id"], "metrics": {{"v": number, "before": answered, "pid": os.getpid()}}}})
{do}
    print(answer, flush=True)
    answered += 1
"""
BAD = 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def kept(folder: Path, do: str, name: str = "program", **changed: Any) -> LinesEvaluator:
    program = folder / name
    body = "\n".join(f"    {line}" for line in do.splitlines() or ["pass"])
    program.write_text(PROGRAM.format(python=sys.executable, do=body))
    program.chmod(0o755)
    spec = replace(SPEC, objective=ObjectiveSpec("command", (str(program),), "lines"), **changed)
    evaluator = load_evaluator(spec, "s", None, [])
    assert isinstance(evaluator, LinesEvaluator)
    return evaluator


def results(evaluator: LinesEvaluator, count: int = 5) -> Iterator[tuple[int, Any]]:
    """Each iteration's metrics, or its error."""
    for iteration in range(1, count + 1):
        try:
            yield iteration, evaluator.evaluate({"x": 0.5}, Trial(iteration, 7, "s")).metrics
        except (ObjectiveError, CommandError) as error:
            yield iteration, error


def test_start_up_is_paid_once_and_a_question_has_all_that_an_iteration_is(folder: Path) -> None:
    do = """if q != {"id": number, "iteration": number, "seed": 7, "budget": 1.0, "params": {"c": 2, "x": 0.5}}:
    sys.exit(9)
if os.environ.get("SECRET") or os.environ["ARBD_SESSION_ID"] != "s":
    sys.exit(8)"""
    os.environ["SECRET"] = "hidden"
    try:
        with closing(kept(folder, do, fixed={"c": 2})) as evaluator:
            found = dict(results(evaluator))
    finally:
        del os.environ["SECRET"]
    assert [metrics["before"] for metrics in found.values()] == [0, 1, 2, 3, 4]
    assert len({metrics["pid"] for metrics in found.values()}) == 1


# What happens in iteration BAD, whatever process asks: the kind of error, and what it says.
EXITS = {
    "status": ("sys.stderr.write('oops'); sys.exit(7)", CommandError, "exited with status 7; its final output: oops"),
    "success": ("sys.exit(0)", ObjectiveError, "ended without an answer"),
    "killed": ("os.kill(os.getpid(), 9)", CommandError, "was killed by SIGKILL"),
    "segmentation fault": ("os.kill(os.getpid(), 11)", CommandError, "was killed by SIGSEGV"),
    "term": ("os.kill(os.getpid(), 15)", CommandError, "was killed by SIGTERM"),
    "exception": ("1 / 0", CommandError, "ZeroDivisionError"),
    "no JSON": ("answer = '{oops}'", ObjectiveError, "printed what is no answer"),
    "two on a line": ("answer = answer + answer", ObjectiveError, "printed what is no answer"),
    "noise glued to it": ("answer = '50 %' + answer", ObjectiveError, "printed what is no answer"),
    "deep": ("answer = '{\"id\":' + '[' * 100000 + '}'", ObjectiveError, "printed what is no answer"),
    "without id": ("answer = json.dumps({'v': 1})", ObjectiveError, "answered without the question's id"),
    "another id": ("answer = json.dumps({'id': q['id'] - 1})", ObjectiveError, "when it was asked question"),
    "id that is true": ("answer = json.dumps({'id': True})", ObjectiveError, "answered without the question's id"),
    "long line": ("answer = '{' + 'x' * 2000000 + '}'", ObjectiveError, "a line of more than 1 MiB"),
    "endless line": ("while True: sys.stdout.write('x' * 65536)", ObjectiveError, "a line of more than 1 MiB"),
    "flood": ("while True: print('x' * 1000)", ObjectiveError, "printed more than 16 MiB for one question"),
    "flood of errors": ("while True: sys.stderr.write('x' * 1000)", ObjectiveError, "printed more than 16 MiB"),
    "partial line": ("os.write(1, answer[:20].encode()); os._exit(0)", ObjectiveError, "ended in the middle of a line"),
    "closed output": ("os.close(1); time.sleep(60)", ObjectiveError, "closed its standard output"),
    "output held by a child": ("if os.fork(): os._exit(3)\n    time.sleep(60)", CommandError, "exited with status 3"),
    "its own error": ("answer = json.dumps({'id': q['id'], 'error': 'no fills'})", CommandError, "^no fills$"),
    "no metrics": ("answer = json.dumps({'id': q['id']})", ObjectiveError, "returned NoneType"),
    "a text": ("answer = json.dumps({'id': q['id'], 'metrics': {'v': 'a'}})", ObjectiveError, "as metric 'v'"),
}


# Answers to the question that was asked: they are the iteration's own, whatever process gives them.
IN_STEP = {"its own error", "no metrics", "a text"}


@pytest.mark.parametrize("what", EXITS)
def test_whatever_goes_wrong_is_one_iterations_own(folder: Path, what: str) -> None:
    do, kind, message = EXITS[what]
    own = children()
    with closing(kept(folder, f"if number == {BAD}:\n    {do}")) as evaluator:
        found = dict(results(evaluator))
    assert isinstance(found[BAD], kind), found[BAD]
    assert re.search(message, str(found[BAD])), found[BAD]
    assert {i: metrics["v"] for i, metrics in found.items() if i != BAD} == {1: 1, 2: 2, 4: 4, 5: 5}
    # Each finds what it would have found alone: nothing of another's answer.
    assert children() == own


@pytest.mark.parametrize("what", sorted(EXITS.keys() - IN_STEP))
def test_what_goes_wrong_in_a_process_with_a_past_is_asked_again_of_a_fresh_one(folder: Path, what: str) -> None:
    do = EXITS[what][0]
    with closing(kept(folder, f"if number == {BAD} and not first:\n    {do}")) as evaluator:
        found = dict(results(evaluator))
    assert [metrics["v"] for metrics in found.values()] == [1, 2, 3, 4, 5]
    assert [metrics["before"] for metrics in found.values()] == [0, 1, 0, 1, 2]


def test_a_process_that_ends_between_questions_is_started_anew_without_an_attempt(folder: Path) -> None:
    with closing(kept(folder, "print(answer, flush=True)\nsys.exit(number % 2)")) as evaluator:
        found = dict(results(evaluator))
    assert [metrics["v"] for metrics in found.values()] == [1, 2, 3, 4, 5]
    assert len({metrics["pid"] for metrics in found.values()}) == 5


def test_noise_is_passed_over_and_reading_it_never_blocks(folder: Path) -> None:
    do = "print('loading ... \\r 50 %\\n\\n[1, 2]\\nDone')\nsys.stderr.write('w' * 200000)"
    with closing(kept(folder, do)) as evaluator:
        assert [metrics["before"] for metrics in dict(results(evaluator)).values()] == [0, 1, 2, 3, 4]


def test_a_question_larger_than_a_pipe_is_read_while_the_program_talks(folder: Path) -> None:
    do = "sys.stderr.write('w' * 300000)"
    with closing(kept(folder, do, fixed={f"p{i}": "x" * 900 for i in range(300)})) as evaluator:
        assert [metrics["before"] for metrics in dict(results(evaluator)).values()] == [0, 1, 2, 3, 4]


def test_a_second_answer_to_one_question_is_never_taken_for_the_next(folder: Path) -> None:
    with closing(kept(folder, f"if number == {BAD}: print(answer)")) as evaluator:
        found = dict(results(evaluator))
    assert [metrics["v"] for metrics in found.values()] == [1, 2, 3, 4, 5]
    assert found[BAD + 1]["before"] == 0


def test_what_the_program_started_ends_with_it(folder: Path) -> None:
    do = "if first:\n    if not os.fork():\n        os.setsid(); time.sleep(60)"
    with closing(kept(folder, do)) as evaluator:
        dict(results(evaluator))
        below = descendants(next(iter(evaluator.kept)))
        assert len(below) == 1
        assert all(map(is_running, below))
    assert not any(map(is_running, below))
    assert evaluator.kept == frozenset()


def test_a_program_that_ends_with_its_input_has_time_for_it(folder: Path) -> None:
    evaluator = kept(folder, f"import atexit\natexit.register(open, {str(folder / 'bye')!r}, 'w')")
    evaluator.evaluate({"x": 0.5}, Trial(1, 7, "s"))
    evaluator.close()
    assert (folder / "bye").exists()


def test_a_program_that_was_changed_is_asked_nothing_more(folder: Path) -> None:
    with closing(kept(folder, "")) as evaluator:
        dict(results(evaluator, 1))
        (folder / "program").write_text("#!/bin/sh\n")
        with pytest.raises(CodeChangedError, match="was changed while the session ran"):
            evaluator.evaluate({"x": 0.5}, Trial(2, 7, "s"))


def test_a_program_is_bound_to_the_memory_that_its_iteration_may_have(folder: Path) -> None:
    from arbd.daemon.slots.memory_limit import memory_limit

    do = "import resource\nanswer = json.dumps({'id': q['id'], 'metrics': {'mb': resource.getrlimit(resource.RLIMIT_DATA)[0] >> 20}})"
    with closing(kept(folder, do)) as evaluator:
        for memory_mb in (512, 256):
            with memory_limit(memory_mb):
                assert evaluator.evaluate({"x": 0.5}, Trial(1, 7, "s")).metrics == {"mb": float(memory_mb)}


def test_the_list_allows_a_kept_program_as_any_other(folder: Path) -> None:
    objective = ObjectiveSpec("command", ("/usr/bin/env",), "lines")
    assert patterns_of(objective) == ("command:/usr/bin/env",)
    assert ObjectivePolicy(("command:/usr/bin/env",)).check(objective) is None
    assert "is not allowed on this host" in str(ObjectivePolicy(("paper",)).check(objective))
    (folder / "x").write_text("#!/bin/sh\n")
    (folder / "x").chmod(0o777)
    with pytest.raises(ObjectiveError, match="can be written by every user"):
        load_evaluator(replace(SPEC, objective=ObjectiveSpec("command", (str(folder / "x"),), "lines")), "s", None, [])
