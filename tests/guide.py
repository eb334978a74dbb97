"""The shell commands of the documentation, for tests that run them as they stand there."""

from __future__ import annotations

import re

from tests.conftest import REPOSITORY

# Before such commands where everything is done by root: packages must be there already, settings are written already.
AS_ROOT = """\
set -e
sudo() { "$@"; }
apt() { shift; dpkg-query --show "$@"; }
sudoedit() { test -s "$1"; }
USER=root
"""


def commands(document: str, after: str) -> str:
    """The first block of shell commands that follows the text `after` in a document of docs/."""
    text = (REPOSITORY / "docs" / document).read_text()
    assert text.count(after) == 1, f"{after!r} is not once in {document}"
    found = re.search(r"```sh\n(.*?)```", text[text.index(after) :], re.DOTALL)
    assert found is not None, f"no block of commands after {after!r} in {document}"
    return found[1]
