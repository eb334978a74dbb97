"""Which method `method: auto` is: by what methods declare, and from the job alone, so that every host chooses alike.

The slots of the farm do not matter: each method's schedule follows them. What was chosen stands in the resolved job and
in a notice of it. Why the policy is this one: docs/search.md.
"""

from __future__ import annotations

import dataclasses

from arbd.job.file import JobDocument
from arbd.job.model import AUTO
from arbd.search.policy import method_for


def with_method(document: JobDocument) -> tuple[JobDocument, list[str]]:
    """A job of method `auto` with one in its place, and a notice of which one it is."""
    job, tuning = document.job, document.job.tuning
    assert tuning.method == AUTO
    # A job that does not say how many is told so by whichever it is.
    iterations = tuning.max_iterations or 1
    method, suits = method_for(iterations)
    chosen = job.model_copy(update={"tuning": tuning.model_copy(update={"method": method})})
    return dataclasses.replace(document, job=chosen), [f"method auto is {method}: {suits}"]
