"""Screenshots of the main pages, made from the demo. `make screenshots` runs this."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.rigs.tools import find_tool

FOLDER = Path(__file__).parent.parent / "docs" / "screenshots"
PAGES = {
    "overview": "/overview",
    "repositories": "/repos",
    "tags": "/repos/demo/web",
    "image": "/repos/demo/web/-/tags/2.3",
    "access": "/access",
    "activity": "/activity",
    "setup": "/setup",
}
SIZES = {"desktop": {"width": 1280, "height": 860}, "phone": {"width": 360, "height": 740}}
THEMES = ("light", "dark")


@contextmanager
def demo() -> Iterator[tuple[str, str]]:
    """The address of a demo and its admin's password."""
    command = [sys.executable, "-m", "regadmin", "demo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            welcome = "".join(iter(process.stdout.readline, "Ctrl-C stops both.\n"))
            yield re.search(r"RegistryAdmin +(\S+)", welcome)[1], re.search(r"\n +admin +(\S+)", welcome)[1]
        finally:
            process.terminate()


def shoot(browser: Browser, url: str, password: str, theme: str, size: str) -> None:
    context = browser.new_context(base_url=url, viewport=SIZES[size], color_scheme=theme, has_touch=size == "phone")
    page = context.new_page()
    _sign_in(page, password)
    for name, path in PAGES.items():
        page.goto(path, wait_until="networkidle")
        page.screenshot(path=FOLDER / f"{name}-{theme}-{size}.png")
    context.close()


def _sign_in(page: Page, password: str) -> None:
    page.goto("/login")
    page.get_by_label("Login", exact=True).fill("admin")
    page.get_by_label("Password", exact=True).fill(password)
    page.keyboard.press("Enter")
    page.wait_for_url("**/overview")


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    with demo() as (url, password), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_tool("chromium", "chromium"), args=["--no-sandbox"])
        for theme in THEMES:
            for size in SIZES:
                shoot(browser, url, password, theme, size)
        browser.close()
