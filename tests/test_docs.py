"""The documents keep up with the code."""

import re
from pathlib import Path

from regadmin.__main__ import COMMANDS
from regadmin.web.routes import Route

ROOT = Path(__file__).parent.parent


def api_rows(routes: list[Route]) -> set[str]:
    return {f"| {route.method} | `{documented(route.path)}` | {route.access} |" for route in routes}


def documented(path: str) -> str:
    return re.sub(r"<([a-z_]+):[a-z]+>", r"{\1}", path)


def test_the_api_page_lists_every_route_with_its_access(app):
    page = (ROOT / "docs" / "api.md").read_text()
    listed = {line for line in page.splitlines() if re.match(r"\| (GET|POST|PUT|DELETE) ", line)}
    assert listed == api_rows(app.api_routes)


def test_every_relative_link_leads_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_names_every_command():
    readme = (ROOT / "README.md").read_text()
    assert all(f"`regadmin {name}`" in readme for name in COMMANDS if name != "serve")
