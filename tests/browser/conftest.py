"""A real browser before a real server and a real registry. Each visit fails on what the browser complains about."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.rigs import images
from tests.rigs.server import ADMIN, GuardedRegistry, wait_until
from tests.rigs.skopeo import Skopeo
from tests.rigs.tools import find_tool

PASSWORD = "a good password"
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
STATUSES = ("Failed to load resource: the server responded with a status of ", "Response Status Error Code ")
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
RULES = {"runOnly": {"type": "tag", "values": TAGS}, "resultTypes": ["violations"]}


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        program = find_tool("chromium", "chromium")
        # Nobody looks at the pictures: to draw them without a graphics card takes longer than the tests.
        lean = ["--disable-gpu", "--disable-software-rasterizer"]
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", *lean])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Iterator["Site"]:
    """A server with accounts and images, shared by all files: a test makes its own things if it changes them."""
    site = Site(tmp_path_factory.mktemp("site"))
    yield site
    site.stop()


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Callable[..., "Visit"]]:
    """`visit(site.url, login="alice", has_javascript=False)`: somebody with a browser of his own."""
    visits = []

    def start(url: str, **options) -> Visit:
        visits.append(Visit(chromium, url, **options))
        return visits[-1]

    yield start
    for each in visits:
        each.context.close()
    complaints = [complaint for each in visits for complaint in each.complaints]
    assert complaints == []


class Site(GuardedRegistry):
    """With an account of each role (login = role, or `admin`), and images in web/app, web/shared and team/private."""

    def __init__(self, directory: Path, **changes):
        super().__init__(directory, **changes)
        self.skopeo = Skopeo(directory / "skopeo")
        self.directory = directory
        self.ids = {role: self.add_user(role, role) for role in ("manager", "user")}
        self.push("web/app:1.0", images.docker_image("first"))
        self.push("web/app:1.1", images.docker_image("second"))
        self.push("team/private:1", images.docker_image("private"))
        self.allow(self.ids["user"], "web/*")

    @property
    def url(self) -> str:
        return self.server.url

    def add_user(self, login: str, role: str = "user") -> int:
        return self.server.create("users", login=login, name=login.title(), password=PASSWORD, role=role)

    def allow(self, owner_id: int, name: str, action: str = "pull", **fields) -> int:
        fields |= {"owner_id": owner_id, "resource_name": name, "action": action, "type": "repository"}
        return self.server.create("access", **fields)

    def push(self, name: str, image: images.Image) -> None:
        """Push and wait until the index shows it."""
        source = images.write_dir(image, self.directory / "pushed" / image.digest[-12:])
        pushed = self.skopeo.copy(source, self.docker(name), creds=":".join(ADMIN), all=bool(image.children))
        assert pushed.returncode == 0, pushed.stderr
        repository, _, tag = name.partition(":")
        filters = {"repository_name": repository, "tag": tag}
        wait_until(lambda: any(row["digest"] == image.digest for row in self.server.catalog(**filters)), 20)


class Visit:
    """A browser's window: `page`, and what went wrong in it: console errors, CSP reports, missing assets."""

    def __init__(
        self,
        browser: Browser,
        url: str,
        *,
        login: str = "",
        password: str = PASSWORD,
        has_javascript: bool = True,
        **options,
    ):
        options = {"viewport": WIDE, "base_url": url} | options
        self.url = url
        self.context: BrowserContext = browser.new_context(java_script_enabled=has_javascript, **options)
        self.context.set_default_timeout(10_000)
        self.complaints: list[str] = []
        if login:
            self.sign_in(login, ADMIN[1] if login == ADMIN[0] else password)
        self.page = self.context.new_page()
        self._watch(self.page)

    def sign_in(self, login: str, password: str) -> None:
        """Put the cookies of a session into this browser."""
        form = {"user": login, "passwd": password}
        answer = requests.post(self.url + "/auth/local/login", data=form, timeout=30)
        assert answer.status_code == 200, answer.text
        cookies = [{"name": name, "value": value, "url": self.url} for name, value in answer.cookies.items()]
        self.context.add_cookies(cookies)

    def choose_theme(self, theme: str) -> None:
        self.context.add_cookies([{"name": "theme", "value": theme, "url": self.url}])

    def violations(self) -> list[str]:
        """What axe-core finds on the page as it is now."""
        found = Axe().run(self.page, options=RULES).response["violations"]
        return [f"{v['id']}: {[node['html'] for node in v['nodes']]}" for v in found]

    def scrolls_sideways(self) -> bool:
        return self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")

    def _watch(self, page: Page) -> None:
        page.on("console", lambda message: self._note(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self._note(str(error)))
        page.on("response", self._look_at)

    def _look_at(self, response) -> None:
        if response.status >= 400 and response.request.resource_type not in ("document", "xhr", "fetch"):
            self._note(f"{response.status} for {response.url}")

    def _note(self, complaint: str) -> None:
        # A status that a page or a fragment has on purpose is what its test asserts.
        if not complaint.startswith(STATUSES):
            self.complaints.append(complaint)
