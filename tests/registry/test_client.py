import itertools
import subprocess
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor

import pytest

from regadmin.errors import Error, Malformed, NotFound, RegistryRefused, RegistryUnavailable
from regadmin.registry import manifests
from regadmin.registry.client import RegistryClient
from tests.rigs import images, standin
from tests.rigs.registry import RealRegistry, free_port
from tests.rigs.standin import Reply, StandinRegistry
from tests.rigs.tokens import TokenSigner, self_signed
from tests.rigs.tools import find_tool

UNKNOWN = "sha256:" + "0" * 64
DELETE_ADVICE = "storage: delete: enabled: true"


def nobody(scopes):
    return None


def client_of(registry, authorize=nobody, **options):
    return RegistryClient(registry.url, authorize, user_agent="tests/1", **options)


def paths(registry, method):
    return [request.path for request in registry.requests if request.method == method]


@pytest.fixture(scope="module")
def real():
    with RealRegistry() as registry:
        yield registry


@pytest.fixture
def repository(numbers=itertools.count()):  # noqa: B008
    """A name that no other test uses."""
    return f"team/app{next(numbers)}"


@pytest.fixture
def client(real):
    client = client_of(real)
    yield client
    client.close()


@pytest.fixture
def modern():
    """Distribution 3.x, as far as the stand-in goes."""
    with StandinRegistry() as registry:
        yield registry


class TestReading:
    def test_ping_finds_a_registry_that_wants_nothing(self, client):
        ping = client.ping()
        assert (ping.status, ping.version, ping.challenge, ping.server) == (200, "registry/2.0", {}, "")
        assert 0 < ping.seconds < 5

    def test_the_catalog_is_read_over_all_its_pages(self, tmp_path):
        names = [f"many/{number:03}" for number in range(105)]
        with RealRegistry(tmp_path) as registry:
            for name in names:
                images.push(registry.url, name, "v1", images.oci_image())
            assert list(client_of(registry).repositories()) == names

    def test_tags_are_listed(self, real, client, repository):
        for tag in ("v1", "v2"):
            images.push(real.url, repository, tag, images.oci_image())
        assert sorted(client.tags(repository)) == ["v1", "v2"]

    def test_a_repository_that_is_unknown_or_emptied_has_no_tags(self, real, client, repository):
        assert client.tags(repository) == []
        digest = images.push(real.url, repository, "v1", images.oci_image())
        client.delete_manifest(repository, digest)
        assert client.tags(repository) == []

    @pytest.mark.parametrize(
        "build", [images.docker_image, images.docker_list, images.oci_image, images.oci_index]
    )
    def test_manifests_of_every_type_arrive_as_they_were_pushed(self, real, client, repository, build):
        image = build()
        images.push(real.url, repository, "v1", image)
        for reference in ("v1", image.digest):
            manifest = client.manifest(repository, reference)
            assert (manifest.raw, manifest.digest) == (image.raw, image.digest)
            assert manifest.media_type == image.media_type

    def test_a_known_manifest_is_not_sent_again(self, real, client, repository):
        digest = images.push(real.url, repository, "v1", images.oci_image())
        assert client.manifest(repository, "v1", unless=digest) is None
        assert client.manifest(repository, "v1", unless=UNKNOWN).digest == digest

    def test_an_unknown_manifest_is_not_found(self, real, client, repository):
        images.push(real.url, repository, "v1", images.oci_image())
        for name, reference in ((repository, "v2"), (repository, UNKNOWN), ("nobody/app", "v1")):
            with pytest.raises(NotFound, match=name):
                client.manifest(name, reference)

    def test_a_blob_arrives_whole(self, real, client, repository):
        image = images.oci_image()
        images.push(real.url, repository, "v1", image)
        for digest, blob in image.blobs.items():
            assert client.blob(repository, digest) == blob
        with pytest.raises(NotFound):
            client.blob(repository, UNKNOWN)

    def test_a_blob_that_is_too_large_is_refused(self, real, client, repository):
        image = images.oci_image()
        images.push(real.url, repository, "v1", image)
        with pytest.raises(RegistryUnavailable, match="more than 10 bytes"):
            client.blob(repository, next(iter(image.blobs)), limit=10)

    def test_the_client_survives_a_restart_of_the_registry(self, tmp_path):
        with RealRegistry(tmp_path) as registry:
            images.push(registry.url, "team/app", "v1", images.oci_image())
            client = client_of(registry)
            assert client.tags("team/app") == ["v1"]
            registry.stop()
            with pytest.raises(RegistryUnavailable, match="Connection refused"):
                client.tags("team/app")
            registry.start()
            assert client.tags("team/app") == ["v1"]


class TestDeleting:
    def test_deleting_a_manifest_removes_all_its_tags(self, real, client, repository):
        digest = images.push(real.url, repository, "v1", images.oci_image())
        images.push(real.url, repository, "same", images.oci_image())
        images.push(real.url, repository, "other", images.oci_image("other"))
        client.delete_manifest(repository, digest)
        assert client.tags(repository) == ["other"]
        with pytest.raises(NotFound):
            client.delete_manifest(repository, digest)

    def test_deleting_a_tag_on_2_8_leaves_the_image_and_its_other_tags(self, real, client, repository):
        image = images.oci_index()
        for tag in ("v1", "same", "other"):
            images.push(real.url, repository, tag, image)
        client.delete_tag(repository, "v1")
        assert sorted(client.tags(repository)) == ["other", "same"]
        assert client.manifest(repository, "same").digest == image.digest
        with pytest.raises(NotFound):
            client.manifest(repository, "v1")

    def test_deleting_the_last_tag_on_2_8_leaves_the_image_by_its_digest(self, real, client, repository):
        image = images.docker_image()
        images.push(real.url, repository, "v1", image)
        client.delete_tag(repository, "v1")
        assert client.tags(repository) == []
        assert client.manifest(repository, image.digest).raw == image.raw

    def test_an_unknown_tag_is_not_found_and_does_not_appear(self, real, client, repository):
        images.push(real.url, repository, "v1", images.oci_image())
        with pytest.raises(NotFound):
            client.delete_tag(repository, "v2")
        assert client.tags(repository) == ["v1"]

    def test_where_deletion_is_disabled_nothing_changes_and_the_way_out_is_told(self, tmp_path):
        with RealRegistry(tmp_path, delete_enabled=False) as registry:
            client, image = client_of(registry), images.oci_image()
            images.push(registry.url, "team/app", "v1", image)
            with pytest.raises(RegistryRefused, match=DELETE_ADVICE) as caught:
                client.delete_manifest("team/app", image.digest)
            assert caught.value.status == 405
            with pytest.raises(RegistryRefused, match=DELETE_ADVICE):
                client.delete_tag("team/app", "v1")
            assert client.manifest("team/app", "v1").digest == image.digest

    def test_deleting_a_tag_on_3_x_is_one_request(self, modern):
        image = images.oci_image()
        for tag in ("v1", "same"):
            modern.put("team/app", tag, image)
        client = client_of(modern)
        client.delete_tag("team/app", "v1")
        assert client.tags("team/app") == ["same"]
        assert client.manifest("team/app", image.digest).raw == image.raw
        assert paths(modern, "DELETE") == ["/v2/team/app/manifests/v1"]
        assert paths(modern, "PUT") == []

    def test_deleting_a_tag_on_3_x_with_deletion_disabled_changes_nothing(self):
        with StandinRegistry(delete_enabled=False) as registry:
            registry.put("team/app", "v1", images.oci_image())
            with pytest.raises(RegistryRefused, match=DELETE_ADVICE):
                client_of(registry).delete_tag("team/app", "v1")
            assert paths(registry, "PUT") == []

    def test_a_tag_that_cannot_be_removed_after_all_gets_its_image_back(self):
        class Stubborn(StandinRegistry):
            def _delete(self, repository, reference, digest):
                is_stored = (repository, digest) in self.manifests and ":" in reference
                return Reply(500) if is_stored else super()._delete(repository, reference, digest)

        image = images.docker_image()
        with Stubborn(has_untag=False) as registry:
            registry.put("team/app", "v1", image)
            with pytest.raises(RegistryUnavailable, match="500"):
                client_of(registry).delete_tag("team/app", "v1")
            assert client_of(registry).manifest("team/app", "v1").raw == image.raw


class TestCredentials:
    def test_every_request_works_with_a_token_for_its_own_scope_only(self, tmp_path):
        signer, asked = TokenSigner(tmp_path), []

        def authorize(scopes):
            asked.extend(scopes)
            return signer.authorize(scopes)

        image = images.oci_image()
        with RealRegistry(tmp_path, auth=signer.settings) as registry:
            images.push(registry.url, "team/app", "v1", image, authorize(("repository:team/app:pull,push",)))
            asked.clear()
            client = client_of(registry, authorize)
            assert client.ping().challenge == {"realm": signer.settings["realm"], "service": signer.service}
            assert list(client.repositories()) == ["team/app"]
            assert client.tags("team/app") == ["v1"]
            assert client.manifest("team/app", "v1").digest == image.digest
            assert asked == ["registry:catalog:*", "repository:team/app:pull", "repository:team/app:pull"]
            client.delete_tag("team/app", "v1")
            client.delete_manifest("team/app", image.digest)

    def test_a_refused_token_tells_the_scope_and_what_to_compare(self, tmp_path):
        signer = TokenSigner(tmp_path)
        with RealRegistry(tmp_path, auth=signer.settings | {"issuer": "another"}) as registry:
            with pytest.raises(RegistryRefused) as caught:
                client_of(registry, signer.authorize).tags("team/app")
        assert caught.value.status == 401
        for word in ("repository:team/app:pull", "realm", "service", "issuer", "certificate", "rootcertbundle"):
            assert word in caught.value.message

    def test_basic_credentials_work_and_wrong_ones_point_to_the_htpasswd_file(self, tmp_path):
        htpasswd = tmp_path / "htpasswd"
        program = find_tool("htpasswd", "apache2-utils")
        subprocess.run([program, "-Bbc", "-C", "4", htpasswd, "us", "secret"], check=True, capture_output=True)
        with RealRegistry(tmp_path, auth=htpasswd) as registry:
            for password in ("secret", "wrong"):
                header = "Basic " + b64encode(f"us:{password}".encode()).decode()
                client = client_of(registry, lambda scopes, header=header: header)
                assert client.ping().challenge == {}
                if password == "secret":
                    assert list(client.repositories()) == []
                    continue
                with pytest.raises(RegistryRefused, match="htpasswd"):
                    list(client.repositories())

    def test_a_blob_on_another_host_is_fetched_without_our_credentials(self, modern):
        with StandinRegistry(authorization="Bearer secret", blob_host=modern.url) as registry:
            image = images.oci_image()
            digest = registry.put("team/app", "v1", image) and next(iter(image.blobs))
            modern.put("team/app", "v1", image)
            blob = client_of(registry, lambda scopes: "Bearer secret").blob("team/app", digest)
            assert blob == image.blobs[digest]
            assert registry.requests[-1].headers["Authorization"] == "Bearer secret"
            assert "Authorization" not in modern.requests[-1].headers

    def test_nothing_but_blobs_is_followed_elsewhere(self, modern):
        with StandinRegistry() as registry:
            registry.fail(Reply(301, b"", {"Location": modern.url + "/v2/_catalog"}))
            with pytest.raises(RegistryUnavailable, match="301.*/v2/_catalog"):
                list(client_of(registry).repositories())
        assert modern.requests == []

    def test_proxies_and_netrc_of_the_environment_are_not_used(self, modern, tmp_path, monkeypatch):
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login stranger password secret\n")
        monkeypatch.setenv("NETRC", str(netrc))
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
        client_of(modern).ping()
        assert "Authorization" not in modern.requests[0].headers
        assert modern.requests[0].headers["User-Agent"] == "tests/1"

    def test_cookies_are_not_kept(self, modern):
        modern.fail(Reply(200, b"{}", {"Set-Cookie": "a=b"}))
        client = client_of(modern)
        client.ping()
        client.ping()
        assert "Cookie" not in modern.requests[1].headers

    def test_a_certificate_is_checked_against_the_given_authority(self, tmp_path):
        certificate, key = self_signed(tmp_path)
        with RealRegistry(tmp_path, tls=(certificate, key)) as registry:
            assert client_of(registry, verify=str(certificate)).ping().status == 200
            with pytest.raises(RegistryUnavailable, match="certificate.*self-signed"):
                client_of(registry).ping()


CHALLENGES = {
    'Bearer realm="https://a/t?x=1,2",service="s"': {"realm": "https://a/t?x=1,2", "service": "s"},
    'bearer Realm=plain , service="say \\"hi\\", you"': {"realm": "plain", "service": 'say "hi", you'},
    'Basic realm="x", Bearer realm="y"': {"realm": "y"},
    'Bearer realm="y", Basic realm="x"': {"realm": "y"},
    'Negotiate, Bearer realm="y",error="invalid_token"': {"realm": "y", "error": "invalid_token"},
    'Basic realm="a, Bearer realm=b"': {},
    'Bearer realm="never closed': {},
    "Bearer": {},
    "": {},
}


@pytest.mark.parametrize("header", CHALLENGES)
def test_challenges_are_read_with_their_quotes(modern, header):
    modern.fail(Reply(401, b"", {"WWW-Authenticate": header}))
    assert client_of(modern).ping().challenge == CHALLENGES[header]


class TestPages:
    def test_lists_of_3_x_are_followed_to_their_end(self, modern):
        for number in range(250):
            modern.put("team/app", f"v{number:03}", images.oci_image())
        assert client_of(modern).tags("team/app") == [f"v{number:03}" for number in range(250)]
        assert [request.query["n"] for request in modern.requests] == ["100"] * 3

    def test_a_link_with_the_registrys_own_address_is_followed(self, modern):
        modern.put("team/app", "v1", images.oci_image())
        link = f'<{modern.url}/v2/_catalog?n=100&last=team%2Fapp>; rel="next"'
        modern.fail(Reply(200, b'{"repositories":["a","b"]}', {"Link": link}))
        names = client_of(modern).repositories()
        assert next(names) == "a"
        modern.heal()
        assert list(names) == ["b"]
        assert modern.requests[-1].query == {"n": "100", "last": "team/app"}

    @pytest.mark.parametrize(
        "target",
        [
            "http://elsewhere.example/v2/_catalog?last=a",
            "//elsewhere.example/v2/_catalog?last=a",
            "https://127.0.0.1/v2/_catalog?last=a",
            "/v2/team/app/tags/list?last=a",
            "http://[/",
            "http://127.0.0.1:port/v2/_catalog?last=a",
        ],
    )
    def test_a_link_that_leads_elsewhere_is_not_followed(self, modern, target):
        modern.fail(Reply(200, b'{"repositories":["a"]}', {"Link": f'<{target}>; rel="next"'}))
        with pytest.raises(RegistryUnavailable, match="not its own"):
            list(client_of(modern).repositories())
        assert len(modern.requests) == 1

    def test_a_circle_of_links_ends(self, modern):
        modern.fail(Reply(200, b'{"tags":["a"]}', {"Link": '</v2/team/app/tags/list?last=a>; rel="next"'}))
        with pytest.raises(RegistryUnavailable, match="circle"):
            client_of(modern).tags("team/app")
        assert len(modern.requests) == 2

    def test_an_error_in_the_middle_is_not_the_end_of_the_list(self, modern):
        for number in range(150):
            modern.put(f"team/app{number:03}", "v1", images.oci_image())
        names = client_of(modern).repositories()
        assert len(list(itertools.islice(names, 100))) == 100
        modern.fail(Reply(500))
        with pytest.raises(RegistryUnavailable):
            list(names)


FAULTS = {
    "slow": (standin.SLOW, "did not answer within 0.2 seconds"),
    "no answer": (standin.HANG_UP, "broke off"),
    "half an answer": (standin.CUT, "broke off"),
    "endless": (standin.ENDLESS, "more than"),
    "a hotel": (standin.GARBAGE, "not JSON"),
    "an error": (Reply(500), "answered 500"),
    "an error with a code": (
        Reply(503, b'{"errors":[{"code":"UNAVAILABLE","message":"low\\nspace"}]}'),
        r"503.*UNAVAILABLE: low\?space",
    ),
    "too many requests": (Reply(429), "answered 429"),
    "another server": (Reply(404, b"404 page not found"), "not as a registry does"),
    "nothing": (Reply(204), "answered 204"),
    "a list": (Reply(200, b"[]"), "not a JSON object"),
    "braces": (Reply(200, b"{" * 100_000), "not JSON"),
    "bytes": (Reply(200, b"\xff\xfe"), "not JSON"),
}
CALLS = {
    "repositories": lambda client: list(client.repositories()),
    "tags": lambda client: client.tags("team/app"),
    "manifest": lambda client: client.manifest("team/app", "v1"),
}


class TestFaults:
    @pytest.mark.parametrize("call", CALLS)
    @pytest.mark.parametrize("fault", FAULTS)
    def test_a_fault_of_the_registry_is_told_with_its_address(self, modern, fault, call):
        reply, words = FAULTS[fault]
        modern.fail(reply)
        with pytest.raises(RegistryUnavailable, match=words) as caught:
            CALLS[call](client_of(modern, timeout=(1, 0.2)))
        assert modern.url in caught.value.message

    def test_a_registry_that_is_down_is_told_in_plain_words(self, modern):
        client = client_of(modern)
        client.ping()
        modern.stop()
        with pytest.raises(RegistryUnavailable, match="cannot be reached: Connection refused"):
            client.ping()
        modern.start()
        assert client.ping().status == 200

    def test_an_unknown_host_and_the_wrong_scheme_are_told_too(self, modern):
        for url in ("http://registry.invalid", modern.url.replace("http:", "https:")):
            with pytest.raises(RegistryUnavailable, match=url):
                RegistryClient(url, nobody, user_agent="tests/1", timeout=(2, 2)).ping()

    @pytest.mark.parametrize("body", [b'{"tags":"v1"}', b'{"tags":[1]}', b'{"tags":[null]}', b'{"tags":{}}'])
    def test_a_list_of_no_names_is_a_fault(self, modern, body):
        modern.fail(Reply(200, body))
        with pytest.raises(RegistryUnavailable, match="a list of tags that is none"):
            client_of(modern).tags("team/app")

    def test_a_list_that_is_null_is_empty(self, modern):
        modern.fail(Reply(200, b'{"tags":null,"repositories":null}'))
        assert client_of(modern).tags("team/app") == list(client_of(modern).repositories()) == []

    @pytest.mark.parametrize("fault", [standin.WRONG_DIGEST, standin.WRONG_BYTES])
    def test_bytes_that_do_not_fit_their_digest_are_refused(self, modern, fault):
        image = images.oci_image()
        modern.put("team/app", "v1", image)
        modern.fail(fault)
        for reference in ("v1", image.digest):
            with pytest.raises(RegistryUnavailable, match="other bytes"):
                client_of(modern).manifest("team/app", reference)

    def test_a_blob_with_other_bytes_is_refused(self, modern):
        image = images.oci_image()
        modern.put("team/app", "v1", image)
        modern.fail(standin.WRONG_BYTES)
        with pytest.raises(RegistryUnavailable, match="other bytes"):
            client_of(modern).blob("team/app", next(iter(image.blobs)))

    def test_a_broken_manifest_that_the_registry_really_holds_is_malformed(self, modern):
        modern.put_image("team/app", "v1", b'{"schemaVersion":1}', manifests.OCI_MANIFEST)
        with pytest.raises(Malformed, match="schema 1"):
            client_of(modern).manifest("team/app", "v1")

    def test_other_refusals_tell_status_and_code(self, modern):
        modern.fail(Reply(400, b'{"errors":[{"code":"NAME_INVALID","message":"invalid name"}]}'))
        with pytest.raises(RegistryRefused, match="NAME_INVALID: invalid name") as caught:
            client_of(modern).manifest("team/app", "v1")
        assert (caught.value.status, caught.value.code) == (400, "NAME_INVALID")

    def test_a_304_that_was_not_asked_for_is_a_fault(self, modern):
        modern.fail(Reply(304))
        with pytest.raises(RegistryUnavailable):
            client_of(modern).manifest("team/app", "v1")

    @pytest.mark.parametrize("body", [b'{"errors":5}', b'{"errors":[7]}', b'{"errors":[{"code":{}}]}', b""])
    def test_an_error_body_of_any_shape_is_read(self, modern, body):
        for status in (400, 401, 403, 404, 405, 500):
            modern.fail(Reply(status, body))
            with pytest.raises(Error):
                client_of(modern).manifest("team/app", "v1")


@pytest.mark.parametrize("name", ["..", "a/../b", "A", "a b", "a%2f..", "a?x", "", "a" * 300, "_catalog"])
def test_impossible_names_never_reach_the_registry(modern, name):
    client = client_of(modern)
    for call in (
        lambda: client.tags(name),
        lambda: client.manifest(name, "v1"),
        lambda: client.manifest("team/app", name + "/"),
        lambda: client.manifest("team/app", "v1", unless=name or "x"),
        lambda: client.blob(name, UNKNOWN),
        lambda: client.blob("team/app", name),
        lambda: client.delete_manifest(name, UNKNOWN),
        lambda: client.delete_manifest("team/app", "v1"),
        lambda: client.delete_tag(name, "v1"),
        lambda: client.delete_tag("team/app", UNKNOWN),
    ):
        with pytest.raises(Malformed):
            call()
    assert modern.requests == []


def test_many_threads_share_few_connections(modern):
    image = images.oci_image()
    modern.put("team/app", "v1", image)
    client = client_of(modern, max_connections=2)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: client.manifest("team/app", "v1").digest, range(100)))
    assert found == [image.digest] * 100
    assert len({request.port for request in modern.requests}) <= 2


def test_connections_are_kept_until_the_client_is_closed(modern):
    client = client_of(modern)
    for _ in range(2):
        client.ping()
    client.close()
    client.ping()
    first, second, third = [request.port for request in modern.requests]
    assert first == second != third


def test_a_client_whose_connections_are_all_in_use_says_so(modern):
    modern.fail(standin.SLOW)
    client = client_of(modern, timeout=(0.1, 0.4), max_connections=1)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(client.ping) for _ in range(4)]
    messages = [str(call.exception()) for call in calls]
    assert any("in use" in message for message in messages)
    assert any("did not answer" in message for message in messages)
