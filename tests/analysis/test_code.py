"""Which code of a session somebody means."""

from __future__ import annotations

import pytest

from arbd.analysis.code import chosen, code_shares
from arbd.errors import UsageError
from arbd.results.session_code import SessionCode
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from tests.spool.sessions import make_session


def test_an_era_is_known_by_every_digest_that_it_had(layout: SpoolLayout) -> None:
    code = SessionCode(Files(), make_session(layout, 4), {"engine": "e" * 64})
    seen = [code.pin({"engine": "e" * 64, **{f"module:m{i}": f"{i}" * 64 for i in range(n)}}, ()) for n in range(3)]
    assert len(set(seen)) == 3
    code.give_up()
    later = code.pin({"engine": "f" * 64}, ())
    shares = code_shares(code, None)
    assert [chosen(code, shares, digest).era for digest in (*seen, later)] == [0, 0, 0, 1]
    for given in ("", "0123456789abcdef", "x"):
        with pytest.raises(UsageError, match="no one code of this session"):
            chosen(code, shares, given)
