"""Which method `method: auto` is: by a policy that depends on the job alone, so that every host chooses alike.

The slots of the farm do not matter: each method's schedule follows them. What the policy chose stands in the resolved job
and in a notice of it. Why it is this one: docs/search.md.
"""

from __future__ import annotations

import dataclasses

from arbd.job.file import JobDocument
from arbd.job.model import AUTO, Job

# A model of what was found is worth more than its time while results are few; later they outweigh what it adds.
MOST_MODELLED = 2_000


def with_method(document: JobDocument) -> tuple[JobDocument, list[str]]:
    """The job with a method in the place of `auto`, and a notice of which one it is."""
    tuning = document.job.tuning
    if tuning.method != AUTO:
        return document, []
    method, reason = _chosen(document.job)
    job = document.job.model_copy(update={"tuning": tuning.model_copy(update={"method": method})})
    return dataclasses.replace(document, job=job), [f"method auto is {method}: {reason}"]


def _chosen(job: Job) -> tuple[str, str]:
    n = job.tuning.max_iterations or 0
    goals = len(job.metric) if isinstance(job.metric, list) else 1
    if n <= MOST_MODELLED:
        return "bayesian", f"at most {MOST_MODELLED:,} iterations, each of which a model can make the most of"
    if goals > 1:
        return "nsga2", f"{goals} metrics and more than {MOST_MODELLED:,} iterations"
    return "tpe", f"one metric and more than {MOST_MODELLED:,} iterations"
