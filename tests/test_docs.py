"""The documents keep up with the code."""

import re
from pathlib import Path

from regadmin.__main__ import COMMANDS
from regadmin.services.metrics import METRICS, SUM, Metric
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


def metric_row(metric: Metric) -> str:
    values = ", ".join(f"`{value}`" for value in metric.values if value != SUM)
    labels = f"`{metric.label}`: {values}" if metric.label not in ("", "le", "version") else metric.label
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.meaning} |"


def test_the_page_of_metrics_lists_each_of_them():
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert re.findall(r"^\| `regadmin_.*", page, re.MULTILINE) == [metric_row(metric) for metric in METRICS]


def test_what_the_page_of_metrics_asks_for_exists():
    page = (ROOT / "docs" / "metrics.md").read_text()
    names = {metric.name for metric in METRICS}
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in re.findall(r"regadmin_\w+", page)} == names


def test_every_relative_link_leads_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_names_every_command():
    readme = (ROOT / "README.md").read_text()
    assert all(f"`regadmin {name}`" in readme for name in COMMANDS if name != "serve")
