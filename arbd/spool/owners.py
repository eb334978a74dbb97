"""Whose a session is, as one person: also where hosts know a user by another name or by none, and when an account is gone.

Name and number of a user stand in a submission as the host that took the job up knew them; it has the number alone where
that host knew no name. A name is the same person everywhere, also where file servers give it another number on each host.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field

from arbd.spool.job_file import user_name
from arbd.spool.provenance import Submission
from arbd.values import dataclass


def has_name(submission: Submission) -> bool:
    """True where whoever took the job up knew more of its user than a number, or nothing at all is known."""
    return submission.uid is None or submission.user not in ("", str(submission.uid))


def is_same_user(one: Submission, other: Submission) -> bool:
    """By name where both have one, else by number."""
    if has_name(one) and has_name(other):
        return one.user == other.user
    return one.uid is not None and one.uid == other.uid


def is_one_of(submission: Submission, asked: Sequence[str]) -> bool:
    """True where somebody who asks for users, by name or number, means this one's."""
    if submission.user in asked:
        return True
    if submission.uid is None:
        return False
    return str(submission.uid) in asked or (not has_name(submission) and user_name(submission.uid) in asked)


def is_said_to_be_one_of(submission: Submission, asked: Sequence[str]) -> bool:
    """True where the submission itself says one of these names or numbers: so every host answers the same."""
    return submission.user in asked or (submission.uid is not None and str(submission.uid) in asked)


@dataclass(slots=True)
class Owners:
    """One name for each user, of what the submissions say together. Not thread-safe."""

    _names: dict[int, str] = field(default_factory=dict)
    # As this host calls those without, until one that knows a name says it.
    _here: dict[int, str] = field(default_factory=dict)

    def learn(self, submissions: Iterable[Submission]) -> None:
        """See how users are called there: the first of a number's names in the alphabet, whatever is learned first."""
        for one in submissions:
            if one.uid is not None and has_name(one):
                self._names[one.uid] = min(self._names.get(one.uid, one.user), one.user)

    def of(self, submission: Submission) -> str:
        """The user; the number where nobody knows a name, '' where not even that is known."""
        if submission.uid is None or has_name(submission):
            return submission.user
        if submission.uid not in self._here:
            self._here[submission.uid] = user_name(submission.uid)
        return self._names.get(submission.uid, self._here[submission.uid])
