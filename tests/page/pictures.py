"""The picture of the live page that README shows: a job is run, its session is served, a browser looks at it.

python -m tests.page.pictures    make docs/pictures/session.png anew
"""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

from arbd.cli.__main__ import call
from tests.browser import appear, chromium
from tests.conftest import REPOSITORY, wait_until
from tests.page.serving import serving

JOB = REPOSITORY / "etc" / "jobs" / "validated.yaml"
PICTURE = REPOSITORY / "docs" / "pictures" / "session.png"
SIZE = (1300, 1150)
READY = (
    "return document.querySelectorAll('canvas').length >= 2 && !document.body.textContent.includes('Running it again')"
)


def main() -> None:
    """Run the example of a job that judges its winner, and look at it."""
    # Its name is in the picture.
    folder = Path("/tmp/arbd-demo")
    folder.mkdir()
    try:
        spool, config, quotes = folder / "spool", folder / "arbd.yaml", folder / "quotes.parquet"
        spool.mkdir()
        config.write_text(f"cache_dir: {folder}/cache\nworker_id: host-a\ndata_dirs: [{folder}]\n")
        of = ["--spool", str(spool), "--config", str(config)]
        assert (
            call(["market", "synth", "--output", str(quotes), "--ticks", "200000", "--span-s", "864000", "--seed", "7"])
            == 0
        )
        job = [str(JOB), "--set", f"data=[{quotes}]", "--session-id", "judged", "--worker-id", "host-a"]
        assert call([*of, "run", *job]) == 0
        with serving(spool, config) as page, chromium() as browser:
            appear(browser, SIZE)
            browser.get(f"http://127.0.0.1:{page.port}/#/session/judged")
            wait_until(lambda: browser.execute_script(READY), what="the figures")
            shot = browser.execute_cdp_cmd(
                "Page.captureScreenshot",
                {"format": "png", "clip": {"x": 0, "y": 0, "width": 1300, "height": 1150, "scale": 1}},
            )
    finally:
        shutil.rmtree(folder)
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    main()
