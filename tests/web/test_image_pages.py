"""The page of one image, and deleting it, as a browser without JavaScript sees them."""

import json
import re
from dataclasses import replace
from html import unescape
from urllib.parse import quote

import pytest

from regadmin import samples
from regadmin.app import App
from regadmin.entities import EVERYONE_ID, Role
from regadmin.services.indexing import Indexer
from tests.conftest import ADMIN_PASSWORD
from tests.rigs import images
from tests.rigs.client import Answer, Client
from tests.rigs.registry import RealRegistry
from tests.rigs.standin import StandinRegistry

NGINX = "/repos/web/nginx/-/tags/1.27"


@pytest.fixture
def registry():
    with StandinRegistry() as registry:
        yield registry


@pytest.fixture
def app(settings, clock, registry) -> App:
    return App(settings(registry__port=registry.port), clock)


@pytest.fixture
def admin(browser) -> Client:
    return browser("admin", ADMIN_PASSWORD)


@pytest.fixture
def put(app, registry):
    """Store an image in the registry and take it into the index."""

    def put(name: str, tag: str, image: images.Image) -> str:
        digest = registry.put(name, tag, image)
        index(app, name, tag)
        return digest

    return put


@pytest.fixture
def sample(app, registry):
    """The same for one of the samples."""

    def put(sample: samples.SampleImage) -> str:
        for child in sample.children:
            registry.put_image(sample.repository, "", child.data, child.media_type)
        for tag in sample.tags:
            blobs = {blob.digest: blob.data for blob in sample.blobs}
            registry.put_image(sample.repository, tag, sample.manifest.data, sample.manifest.media_type, blobs)
            index(app, sample.repository, tag)
        return sample.manifest.digest

    return put


def index(app: App, name: str, tag: str) -> None:
    indexer = Indexer(app.store, app.registry)
    fetched = indexer.fetch(name, tag)
    indexer.save(name, fetched)
    app.store.repositories.point_tag(name, tag, fetched.digest)
    app.store.repositories.refresh([name])


def image_with(config: dict | None = None, history: list | None = None, **extra) -> images.Image:
    """An image of one layer whose configuration is this one."""
    made = images.oci_image("x", **extra)
    document = made.document
    old = document["config"]["digest"]
    raw = json.dumps({"os": "linux", "architecture": "amd64", "config": config, "history": history}).encode()
    document["config"] |= {"digest": images.digest_of(raw), "size": len(raw)}
    blobs = {digest: blob for digest, blob in made.blobs.items() if digest != old}
    return replace(made, raw=json.dumps(document).encode(), blobs=blobs | {images.digest_of(raw): raw})


def text_of(answer: Answer) -> str:
    """What somebody reads."""
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", answer.text)))


def confirm(browser: Client, address: str, **fields: str) -> Answer:
    """Open the question and answer it, with the hidden fields as a browser sends them."""
    shown = browser.get(address).text
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', shown[shown.index("<main") :]))
    hidden.pop("next", None)
    return browser.post(address, form={name: unescape(value) for name, value in hidden.items()} | fields)


# The page of an image


def test_an_image_shows_how_it_was_built_with_the_sizes_of_its_layers(sample, admin):
    sample(samples.web())
    shown = text_of(admin.get("/repos/demo/web/-/tags/2.3"))
    assert "demo/web:2.3" in shown
    assert "docker pull 127.0.0.1:" in shown
    assert "reconstructed from image history" in shown
    assert "apt-get update \\ && apt-get install -y nginx" in shown
    assert "#(nop)" not in shown
    assert "# buildkit" not in shown
    assert re.search(r"3 layers, 8\d\.\d kB compressed", shown)


def test_an_index_shows_its_platforms_and_one_of_them(sample, admin):
    sample(samples.tools())
    shown = text_of(admin.get("/repos/demo/tools/-/tags/1.27"))
    assert "2 platforms" in shown
    assert "1 attestation" in shown
    assert "linux/amd64 Shown below" in shown
    assert "unknown/unknown" not in shown
    chosen = text_of(admin.get("/repos/demo/tools/-/tags/1.27?platform=linux/arm64"))
    assert "linux/arm64/v8 Shown below" in chosen
    assert "bin/tools-arm64" in chosen


def test_a_platform_that_does_not_exist_is_explained(sample, admin):
    sample(samples.tools())
    answer = admin.get("/repos/demo/tools/-/tags/1.27?platform=plan9/mips")
    assert answer.status == 200
    assert "nothing for plan9/mips" in text_of(answer)


@pytest.mark.parametrize("view", ["layers", "config", "referrers", "manifest"])
def test_a_child_that_the_registry_lacks_is_no_error(registry, put, admin, view):
    whole = images.oci_index("sparse")
    missing = whole.children[1]
    put("web/nginx", "1.27", replace(whole, children=whole.children[:1]))
    answer = admin.get(f"{NGINX}?view={view}&platform=linux/arm64")
    assert answer.status == 200
    assert "Not in registry" in text_of(answer)
    assert admin.get(f"/repos/web/nginx/-/manifests/{missing.digest}").status == 404


@pytest.mark.parametrize("view", ["layers", "config", "referrers", "manifest", "nonsense"])
def test_every_view_works_while_the_registry_is_down(registry, sample, admin, view):
    for one in samples.images():
        sample(one)
    registry.stop()
    for one in samples.images():
        for address in (f"tags/{one.tags[0]}", f"manifests/{one.manifest.digest}"):
            answer = admin.get(f"/repos/{one.repository}/-/{address}?view={view}")
            assert answer.status == 200, address
            assert 'aria-current="page"' in answer.text


@pytest.mark.parametrize("view", ["layers", "config", "manifest"])
def test_an_image_without_its_configuration_is_explained(registry, admin, app, view):
    image = images.oci_image("no config")
    registry.put_image("web/nginx", "1.27", image.raw, image.media_type)
    index(app, "web/nginx", "1.27")
    answer = admin.get(f"{NGINX}?view={view}")
    assert answer.status == 200
    assert ("is not in the index" in text_of(answer)) == (view != "manifest")


def test_other_tags_of_the_digest_are_named(put, admin):
    image = images.oci_image("twins")
    put("web/nginx", "1.27", image)
    put("web/nginx", "latest", image)
    answer = admin.get(NGINX)
    assert "Other tags of this digest" in answer.text
    assert 'href="/repos/web/nginx/-/tags/latest"' in answer.text


def test_a_platform_names_the_index_that_it_is_a_part_of(put, admin):
    whole = images.oci_index("family")
    put("web/nginx", "1.27", whole)
    answer = admin.get(f"/repos/web/nginx/-/manifests/{whole.children[0].digest}")
    assert "Part of" in answer.text
    assert f'href="{NGINX}"' in answer.text


def test_a_layer_tells_with_how_many_images_it_is_shared_that_one_may_see(put, admin, browser, alice, allow):
    plain, other = images.oci_image("base"), images.oci_image("base", annotations={"a": "b"})
    put("web/nginx", "1.27", plain)
    put("secret/app", "1", other)
    allow(alice, "web/*")
    assert "shared with 1 image" in text_of(admin.get(NGINX))
    assert "shared with" not in text_of(browser("alice").get(NGINX))


def test_a_history_that_does_not_fit_the_layers_is_listed_beside_them(put, admin):
    put("web/nginx", "1.27", image_with({}, [{"created_by": "COPY a /"}, {"created_by": "COPY b /"}]))
    shown = text_of(admin.get(NGINX))
    assert "nobody can say which made which" in shown
    assert "2 steps" in shown
    assert "1 layer" in shown


def test_the_configuration_is_shown_with_its_secrets_folded_away(put, admin):
    put("web/nginx", "1.27", image_with({"Env": ["PATH=/bin", "DB_PASSWORD=hunter2"], "Cmd": ["a", "b"]}))
    answer = admin.get(NGINX + "?view=config")
    assert "root (not set)" in text_of(answer)
    folded = answer.text[answer.text.index('<details class="secret">') :]
    assert "hunter2" in folded
    assert "hunter2" not in answer.text.removesuffix(folded)
    assert "1 variable looks like a secret" in text_of(answer)


def test_only_addresses_of_the_web_become_links(put, admin):
    labels = {"good": "https://example.com/x", "bad": "javascript:alert(1)", "worse": "data:text/html,x"}
    put("web/nginx", "1.27", image_with({"Labels": labels}))
    shown = admin.get(NGINX + "?view=config").text
    assert '<a href="https://example.com/x" rel="noopener noreferrer">' in shown
    assert 'href="javascript' not in shown
    assert 'href="data' not in shown


@pytest.mark.parametrize("view", ["layers", "config", "manifest"])
@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\ud800"])
def test_what_images_say_is_shown_as_text(put, admin, view, hostile):
    config = {"Env": [f"{hostile}={hostile}"], "Labels": {hostile: hostile}, "User": hostile, "Cmd": [hostile]}
    put("web/nginx", "1.27", image_with(config, [{"created_by": hostile}], annotations={"a": hostile}))
    answer = admin.get(f"{NGINX}?view={view}")
    assert answer.status == 200
    assert "<script>alert" not in answer.text
    assert "<img src=x" not in answer.text


def test_an_artifact_shows_its_type_annotations_and_files(sample, admin):
    sample(samples.chart())
    answer = admin.get("/repos/demo/chart/-/tags/0.4.0")
    shown = text_of(answer)
    assert "application/vnd.cncf.helm.config.v1+json" in shown
    assert "org.opencontainers.image.version" in shown
    assert "oras pull" in shown
    assert "docker pull" not in shown
    assert "view=config" not in answer.text


def test_signatures_and_attestations_are_present_and_never_verified(registry, sample, put, app, admin):
    digest = sample(samples.tools())
    stem = digest.replace(":", "-")
    put("demo/tools", stem + ".sig", images.oci_image("signature"))
    sbom = images.oci_image("sbom", artifactType="application/spdx+json")
    put("demo/tools", stem, replace(images.oci_index("x", ()), raw=_index_of(sbom), children=(sbom,)))
    shown = text_of(admin.get("/repos/demo/tools/-/tags/1.27?view=referrers"))
    for words in ("Signature present", "Attestation", "SBOM", "application/spdx+json", "entry of the index"):
        assert words in shown
    assert "verified" not in shown.lower()


def _index_of(child: images.Image) -> bytes:
    entry = {"mediaType": child.media_type, "digest": child.digest, "size": len(child.raw)}
    return json.dumps({"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": [entry]}).encode()


def test_hidden_and_missing_images_look_the_same(put, browser, client, alice):
    digest = put("secret/app", "1", images.oci_image("secret"))
    put("open/app", "1", images.oci_image("open"))
    for caller in (client, browser("alice")):
        for name, reference in (("secret/app", "tags/1"), ("secret/app", f"manifests/{digest}"), ("no/such", "tags/1")):
            answer = caller.get(f"/repos/{name}/-/{reference}")
            assert answer.status == 404, reference
            assert "docker pull" not in answer.text


def test_a_stranger_reads_what_is_shared_with_everybody(put, allow, client):
    digest = put("open/app", "1", images.oci_image("open"))
    allow(EVERYONE_ID, "open/*")
    for address in ("/repos/open/app/-/tags/1", f"/repos/open/app/-/manifests/{quote(digest)}"):
        answer = client.get(address)
        assert answer.status == 200
        assert "/delete" not in answer.text
    assert client.get("/repos/open/app/-/tags/2").status == 404
    assert client.get("/repos/open/app/-/manifests/nonsense").status == 404


def test_tags_lead_to_their_images_and_only_admins_are_offered_to_delete(put, admin, browser, add_user):
    put("web/nginx", "1.27", images.oci_image("x"))
    add_user("mary", Role.MANAGER)
    shown = admin.get("/repos/web/nginx").text
    assert f'<a href="{NGINX}">1.27</a>' in shown
    assert re.search(rf'href="{NGINX}/delete"[^>]*>Delete<span class="visually-hidden">: web/nginx:1.27</span>', shown)
    for page in ("/repos/web/nginx", NGINX):
        assert "/delete" not in browser("mary").get(page).text


# Deleting


@pytest.mark.parametrize(("role", "status"), [(None, 303), (Role.USER, 403), (Role.MANAGER, 403)])
def test_only_admins_may_delete(registry, put, browser, client, add_user, allow, role, status):
    digest = put("web/nginx", "1.27", images.oci_image("x"))
    allow(EVERYONE_ID, "**")
    if role:
        add_user("somebody", role)
    caller = browser("somebody") if role else client
    for address in (NGINX, f"/repos/web/nginx/-/manifests/{digest}"):
        assert caller.get(address + "/delete").status == status
        assert caller.post(address + "/delete", form={"digest": digest, "what": "image"}).status == status
    assert registry.tags["web/nginx"] == {"1.27": digest}


def test_a_form_from_elsewhere_deletes_nothing_and_the_choice_is_kept(registry, put, admin):
    image = images.oci_image("x")
    digest = put("web/nginx", "1.27", image)
    put("web/nginx", "latest", image)
    answer = admin.post(NGINX + "/delete", form={"digest": digest, "what": "image", "csrf": "0" * 64})
    assert answer.status == 403
    assert 'value="image" checked' in answer.text
    assert set(registry.tags["web/nginx"]) == {"1.27", "latest"}


def test_the_question_names_what_will_go(put, admin):
    image = images.oci_image("x")
    digest = put("web/nginx", "1.27", image)
    put("web/nginx", "latest", image)
    answer = admin.get(NGINX + "/delete")
    shown = text_of(answer)
    for words in ("web/nginx", digest, "Pulls", "These tags point to the same image and will disappear", "latest"):
        assert words in shown
    assert 'value="tag" checked' in answer.text


def test_the_question_counts_the_pulls_of_the_last_30_days(app, put, admin):
    image = images.oci_image("x")
    digest = put("web/nginx", "1.27", image)
    put("web/nginx", "latest", image)
    put("web/nginx", "other", images.oci_image("y"))
    now = app.store.now()
    for reference, days in ((":1.27", 1), (":latest", 29), (f"@{digest}", 3), (":1.27", 31), (":other", 1)):
        app.store.activity.add("pull", "bob", f"web/nginx{reference}", at=now - days * 86_400)
    assert "<dt>Pulls in 30 days</dt><dd>3</dd>" in admin.get(NGINX + "/delete").text


def test_every_tool_has_its_command_by_tag_and_by_digest(put, admin):
    digest = put("web/nginx", "1.27", images.oci_image("x"))
    shown = text_of(admin.get(NGINX))
    tools = ("docker pull ", "podman pull ", "skopeo copy --all docker://", "nerdctl pull ", "crane pull --format=oci ")
    for tool in tools:
        for reference in (":1.27", f"@{digest}"):
            assert re.search(re.escape(tool) + r"127\.0\.0\.1:\d+/web/nginx" + re.escape(reference), shown), tool


def test_the_whole_history_can_be_copied(sample, admin):
    sample(samples.web())
    copied = unescape(re.search(r'data-copy="(ADD[^"]*)"', admin.get("/repos/demo/web/-/tags/2.3").text)[1])
    assert "\nRUN apt-get update \\\n    && apt-get install -y nginx" in copied
    assert copied.splitlines()[-1].startswith("CMD ")


def test_removing_only_the_tag_leaves_its_siblings(registry, put, admin):
    image = images.oci_image("x")
    digest = put("web/nginx", "1.27", image)
    put("web/nginx", "latest", image)
    answer = confirm(admin, NGINX + "/delete", what="tag")
    assert (answer.status, answer.header("Location")) == (303, "/repos/web/nginx")
    assert registry.tags["web/nginx"] == {"latest": digest}
    shown = admin.get("/repos/web/nginx").text
    assert "The tag is removed." in shown
    assert NGINX not in shown


def test_deleting_the_image_takes_all_its_tags_and_the_repository_if_it_was_the_last(registry, put, admin):
    image = images.oci_image("x")
    put("web/nginx", "1.27", image)
    put("web/nginx", "latest", image)
    answer = confirm(admin, NGINX + "/delete", what="image")
    assert answer.header("Location") == "/repos"
    assert registry.tags["web/nginx"] == {}
    assert "registry garbage-collect" in admin.get("/repos").text
    assert admin.get(NGINX).status == 404


def test_a_single_tag_is_deleted_with_its_image(registry, put, admin):
    digest = put("web/nginx", "1.27", images.oci_image("x"))
    assert confirm(admin, NGINX + "/delete").status == 303
    assert ("web/nginx", digest) not in registry.manifests


def test_the_children_of_an_index_stay_unless_ticked(registry, put, admin):
    whole = images.oci_index("x")
    put("web/nginx", "1.27", whole)
    assert "Delete 2 child manifests too" in text_of(admin.get(NGINX + "/delete"))
    confirm(admin, NGINX + "/delete")
    assert {digest for _, digest in registry.manifests} == {child.digest for child in whole.children}


def test_ticked_children_go_but_those_that_are_needed_elsewhere(registry, put, admin):
    whole = images.oci_index("x")
    put("web/nginx", "1.27", whole)
    put("web/nginx", "amd64", whole.children[0])
    confirm(admin, NGINX + "/delete", children="on")
    assert {digest for _, digest in registry.manifests} == {whole.children[0].digest}
    assert admin.get("/repos/web/nginx/-/tags/amd64").status == 200


def test_a_part_of_an_index_is_deleted_only_after_a_warning(put, admin):
    whole = images.oci_index("x")
    put("web/nginx", "1.27", whole)
    shown = text_of(admin.get(f"/repos/web/nginx/-/manifests/{whole.children[0].digest}/delete"))
    assert "a part of 1 index" in shown


def test_a_tag_that_moved_meanwhile_is_asked_about_again(registry, put, admin):
    put("web/nginx", "1.27", images.oci_image("old"))
    shown = admin.get(NGINX + "/delete").text
    form = {name: re.search(rf'name="{name}" value="([^"]*)"', shown)[1] for name in ("csrf", "digest")}
    digest = put("web/nginx", "1.27", images.oci_image("new"))
    answer = admin.post(NGINX + "/delete", form=form | {"what": "image"})
    assert answer.status == 409
    assert "points to another image now" in answer.text
    assert registry.tags["web/nginx"] == {"1.27": digest}


@pytest.mark.parametrize("what", ["tag", "image"])
def test_a_registry_that_does_not_allow_to_delete_is_explained(registry, put, admin, what):
    image = images.oci_image("x")
    put("web/nginx", "1.27", image)
    put("web/nginx", "latest", image)
    registry.delete_enabled = False
    answer = confirm(admin, NGINX + "/delete", what=what)
    assert answer.status == 409
    assert "storage:\n  delete:\n    enabled: true" in answer.text
    assert NGINX in admin.get("/repos/web/nginx").text


def test_a_registry_that_is_down_is_a_clear_page_and_nothing_is_gone(registry, put, admin):
    put("web/nginx", "1.27", images.oci_image("x"))
    registry.stop()
    answer = confirm(admin, NGINX + "/delete")
    assert answer.status == 502
    assert "cannot be reached" in answer.text
    assert "Nothing was deleted." in answer.text
    assert admin.get(NGINX).status == 200


class TestARealRegistry:
    @pytest.fixture
    def registry(self):
        with RealRegistry() as registry:
            yield registry

    def test_untagging_and_deleting_through_the_page(self, app, registry, admin, skopeo):
        image = images.docker_image("real")
        for tag in ("1.27", "latest"):
            images.push(registry.url, "web/nginx", tag, image)
            index(app, "web/nginx", tag)
        there = f"docker://{registry.host}/web/nginx:"
        assert confirm(admin, NGINX + "/delete", what="tag").status == 303
        assert skopeo.inspect(there + "1.27").returncode != 0
        assert skopeo.inspect(there + "latest").returncode == 0
        assert confirm(admin, "/repos/web/nginx/-/tags/latest/delete").status == 303
        assert skopeo.inspect(there + "latest").returncode != 0
        assert admin.get("/repos/web/nginx").status == 404
