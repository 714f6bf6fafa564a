"""A real browser on a real server: every page fails that breaks the policy or asks elsewhere."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.processes import LoggedProcess

ROOT = Path(__file__).parents[3]
CHROMIUM = shutil.which("chromium")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
TIMEOUT_MS = 30_000
# What a script of the page cannot see before it runs.
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""
OpenPage = Callable[..., Page]


def serve(folder: Path, artifacts: Path, **variables: str) -> contextlib.closing[LoggedProcess]:
    command = [sys.executable, "-m", "service", "--port", "0", "--workers", "1"]
    command += ["--artifacts", str(artifacts)]
    return contextlib.closing(LoggedProcess(command, folder, **variables))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The service with the artifacts that ship."""
    folder = tmp_path_factory.mktemp("server")
    with serve(folder, ROOT / "models" / "artifacts") as process:
        yield process.wait_for("serving")["url"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed; apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Open an address; at the end nothing may have gone wrong, and nobody else been asked."""
    opened: list[tuple[Page, str, list[str]]] = []

    def opening(url: str, **options: object) -> Page:
        context = browser.new_context(**options)  # type: ignore[arg-type]
        context.set_default_timeout(TIMEOUT_MS)
        page, faults = context.new_page(), []
        origin = "/".join(url.split("/")[:3])
        page.add_init_script(WATCH)
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((origin, "data:"))
                else faults.append(f"asked {request.url}")
            ),
        )
        opened.append((page, url, faults))
        page.goto(url)
        return page

    yield opening
    for page, url, faults in opened:
        scripted = page.evaluate("() => window.violations ?? null")
        assert (url, faults, scripted or []) == (url, [], [])
        page.context.close()
