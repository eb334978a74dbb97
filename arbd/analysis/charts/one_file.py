"""A page that is one file and works offline: markup, style, script and data, nothing fetched, nothing of the data executed.

Session ids, parameters, error texts and the job are as untrusted as the jobs were. They travel as JSON in a block that no
browser executes, with every `<` escaped, and the script puts them on the page as text alone. A content security policy
names the digests of the one style and the one script, so nothing else on the page can run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from typing import Any

from arbd import __version__
from arbd.analysis import charts
from arbd.plain_json import as_plain


def one_file(title: str, own_script: str, content: dict[str, Any]) -> str:
    """The page. `title` is for browsers without script; `own_script` draws `content`, which it finds in the block of data."""
    style, code = charts.asset(charts.STYLE), f"{charts.script()}\n{own_script}"
    data = json.dumps(as_plain(content | {"version": __version__}), ensure_ascii=True, allow_nan=False)
    page = (resources.files(__package__) / "one_file.html").read_text(encoding="utf-8")
    for mark, value in (
        ("{{title}}", title),
        ("{{style-digest}}", _digest(style)),
        ("{{script-digest}}", _digest(code)),
        ("{{style}}", style),
        ("{{script}}", code),
        # Last, so that nothing is replaced within it. Inside JSON, \u003c is the same text.
        ("{{data}}", data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")),
    ):
        page = page.replace(mark, value, 1)
    return page


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
