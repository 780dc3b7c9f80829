"""The page of an image: platforms, steps and layers, and text from strangers."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PHONE
from tests.rigs import images

INDEX = "/repos/multi/app/-/tags/1"
HOSTILE = {
    "org.opencontainers.image.title": "<script>alert(1)</script>",
    "org.opencontainers.image.url": "javascript:alert(1)",
    "org.opencontainers.image.description": '"><img src=x onerror=alert(1)>',
    "org.opencontainers.image.authors": "\u202egnp.exe " + "x" * 300,
}


@pytest.fixture(scope="module")
def index(site):
    built = images.oci_index("multi")
    site.push("multi/app:1", built)
    return built


def test_platforms_are_chosen_by_link_and_by_address(visit, site, index):
    page = visit(site.url, login="admin").page
    page.goto(INDEX)
    platforms = page.get_by_role("table", name="Platforms").locator("tbody tr")
    expect(platforms).to_have_count(len(images.PLATFORMS))
    page.get_by_role("link", name="linux/arm64/v8").click()
    expect(page).to_have_url(re.compile("platform=linux%2Farm64%2Fv8|platform=linux/arm64/v8"))
    chosen = platforms.filter(has=page.locator("[aria-current=true]"))
    expect(chosen).to_contain_text("linux/arm64/v8")
    page.goto(f"{INDEX}?platform=linux/amd64")
    expect(chosen).to_contain_text("linux/amd64")
    expect(chosen).to_contain_text(index.children[0].digest[:19])


def test_a_step_stands_beside_the_layer_that_it_made(visit, site, index):
    page = visit(site.url, login="admin").page
    page.goto(f"{INDEX}?platform=linux/amd64")
    step = page.locator(".recipe li").filter(has_text="COPY")
    expect(step).to_contain_text("hello.txt /")
    layer = index.children[0].document["layers"][0]
    expect(step.locator(f"[title='{layer['digest']}']")).to_be_visible()
    expect(step.locator(f"data[value='{layer['size']}']")).to_be_visible()


@pytest.fixture(scope="module")
def hostile(site):
    name = "strange/" + "n" * 100
    tag = "t" * 128
    site.push(f"{name}:{tag}", images.oci_image("strange", annotations=HOSTILE))
    return name, tag


@pytest.mark.parametrize("has_javascript", [True, False])
def test_text_from_strangers_is_text(visit, site, hostile, has_javascript):
    name, tag = hostile
    visitor = visit(site.url, login="admin", viewport=PHONE, has_javascript=has_javascript)
    image = f"/repos/{name}/-/tags/{tag}"
    views = [image, f"{image}?view=config", f"{image}?view=manifest", f"{image}/delete"]
    for path in ("/repos", f"/repos/{name}", *views):
        assert visitor.page.goto(path).status == 200
        expect(visitor.page.locator("a[href^='javascript:'], main script, img[src=x]")).to_have_count(0)
        if has_javascript:
            assert not visitor.scrolls_sideways(), path
    visitor.page.goto(f"{image}?view=manifest")
    expect(visitor.page.locator("main")).to_contain_text("<script>alert(1)</script>")
