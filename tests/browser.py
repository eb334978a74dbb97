"""A real browser without a screen, and what a page has to keep in it."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest

from tests.beds.needs import require_programs

WIDE, PHONE = (1300, 900), (390, 800)


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Chromium by its own driver; skips without selenium."""
    webdriver = pytest.importorskip("selenium.webdriver")
    require_programs({"chromium": "chromium", "chromedriver": "chromium-driver"})
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1300,900",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    running = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield running
    finally:
        running.quit()


def appear(browser: Any, size: tuple[int, int], *, dark: bool = False) -> None:
    """Show pages in a window of this size, to somebody who likes them dark or light."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False},
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def asked_urls(browser: Any) -> set[str]:
    """Every address that the browser asked for since the last call."""
    asked = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return {m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"}


def complaints(browser: Any) -> list[str]:
    """What the browser had to complain of since the last call: errors of scripts, of the security policy, of loading."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] != "INFO"]


def is_wider_than_window(browser: Any) -> bool:
    """Whether one has to scroll sideways to read."""
    return bool(browser.execute_script("return document.documentElement.scrollWidth > window.innerWidth"))


def strays(browser: Any) -> list[str]:
    """Words that nobody wrote for people: what a script makes of a value that is not there."""
    found: list[str] = browser.execute_script(
        "return document.body.innerText.split('\\n').filter(line => /^\\s*(null|undefined)\\s*$|\\bundefined\\b|\\bNaN\\b|\\[object /.test(line))"
    )
    return found


def cramped(browser: Any) -> list[str]:
    """Texts that are hard to read where they stand: cut at the window's edge, wider than their tile, a word to a line."""
    script = """
        const bad = (e) => {
          const box = e.getBoundingClientRect();
          const lines = box.height / parseFloat(getComputedStyle(e).lineHeight);
          const text = document.createRange();
          text.selectNodeContents(e);
          const cut = e.matches('caption') && text.getBoundingClientRect().right > innerWidth + 1;
          return cut || (e.matches('.tile *') && e.scrollWidth > e.clientWidth + 1) || (box.width < 120 && lines > 5);
        };
        return [...document.querySelectorAll('caption, .reason, .tile dt, .tile dd')]
          .filter((e) => e.offsetParent && e.textContent && bad(e)).map((e) => e.textContent);
    """
    found: list[str] = browser.execute_script(script)
    return found


def violations(browser: Any) -> list[str]:
    """What axe-core finds wrong with the page as it is now: the rule, and the first element."""
    script = (resources.files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")
    # By the driver's own way in, which the page's security policy does not bind.
    browser.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})
    browser.execute_script(f"if (!window.axe) {{ {script} }}")
    found = browser.execute_async_script(
        "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then(r => done(r.violations), e => done([{id: String(e), nodes: []}]))"
    )
    return [f"{one['id']}: {one['nodes'][0]['html'][:200] if one['nodes'] else ''}" for one in found]
