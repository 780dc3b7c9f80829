"""Reading what builders wrote about an image: its history and its configuration."""

import json
import time

import pytest

from regadmin.entities import Descriptor
from regadmin.services.configurations import read_configuration, read_labels
from regadmin.services.history import looks_secret, read_history, read_line


def layers(*sizes: int) -> tuple[Descriptor, ...]:
    return tuple(Descriptor(f"sha256:{number:064x}", size) for number, size in enumerate(sizes))


@pytest.mark.parametrize(
    ("created_by", "instruction", "text"),
    [
        ("/bin/sh -c #(nop) ADD file:3f2a in / ", "ADD", "file:3f2a in /"),
        ('/bin/sh -c #(nop)  CMD ["bash"]', "CMD", '["bash"]'),
        ("/bin/sh -c make install", "RUN", "make install"),
        ("RUN /bin/sh -c make install # buildkit", "RUN", "make install"),
        ("RUN /bin/bash -eo pipefail -c make # buildkit", "RUN", "make"),
        ("/bin/bash -o pipefail -c make", "RUN", "make"),
        ("cmd /S /C #(nop) USER app", "USER", "app"),
        ("cmd /S /C dir", "RUN", "dir"),
        ("RUN make # buildkit", "RUN", "make"),
        ("COPY site /srv/site # buildkit", "COPY", "site /srv/site"),
        ('CMD ["nginx" "-g" "daemon off;"]', "CMD", '["nginx", "-g", "daemon off;"]'),
        ("EXPOSE map[80/tcp:{} 443/tcp:{}]", "EXPOSE", "80/tcp 443/tcp"),
        ("WORKDIR /srv", "WORKDIR", "/srv"),
        ("bazel build //:image", "", "bazel build //:image"),
        ("", "", ""),
    ],
)
def test_a_line_becomes_one_of_a_dockerfile(created_by, instruction, text):
    assert read_line(created_by) == (instruction, text, ())


@pytest.mark.parametrize(
    ("created_by", "arguments", "text"),
    [
        ("|1 A=b /bin/sh -c make", ("A=b",), "make"),
        ("RUN |2 A=b C=d e /bin/sh -c make # buildkit", ("A=b", "C=d e"), "make"),
        ("|0 /bin/sh -c make", (), "make"),
        ("|1 A= /bin/sh -c echo |1 B=c", ("A=",), "echo |1 B=c"),
    ],
)
def test_build_arguments_stand_apart(created_by, arguments, text):
    assert read_line(created_by) == ("RUN", text, arguments)


def test_a_long_command_is_broken_as_it_was_written():
    line = "RUN /bin/sh -c set -x     && make;     make install # buildkit"
    assert read_line(line)[1] == "set -x \\\n    && make; \\\n    make install"


def test_what_was_written_on_several_lines_stays_so():
    assert read_line("RUN /bin/sh -c <<EOF\na  && b\nEOF # buildkit")[1] == "<<EOF\na  && b\nEOF"


def test_steps_that_made_layers_get_them_in_order():
    entries = [
        {"created_by": "COPY a /"},
        {"created_by": "ENV A=b", "empty_layer": True},
        {"created_by": "COPY b /"},
    ]
    history = read_history(entries, layers(10, 30))
    assert history.is_paired
    assert [step.layer and step.layer.size for step in history.steps] == [10, None, 30]
    assert history.dockerfile == "COPY a /\nENV A=b\nCOPY b /"
    assert history.size == 40


@pytest.mark.parametrize("sizes", [(), (1,), (1, 2, 3)])
def test_nothing_is_paired_when_the_counts_differ(sizes):
    history = read_history([{"created_by": "COPY a /"}, {"created_by": "COPY b /"}], layers(*sizes))
    assert not history.is_paired
    assert [step.layer for step in history.steps] == [None, None]
    assert len(history.layers) == len(sizes)


@pytest.mark.parametrize("entries", [None, "text", 5, {}, [], [5, None, "x"], [{"created_by": 5, "comment": []}]])
def test_any_history_can_be_read(entries):
    assert isinstance(read_history(entries, layers(1)).dockerfile, str)


@pytest.mark.parametrize(
    "line",
    [
        " " * 300_000 + "x",
        "RUN " + "a" + " " * 300_000 + "&x",
        "|1 A=b" + " " * 300_000,
        "|1 " + "a " * 150_000 + "/bin/sh -c x",
        "/bin/sh" + " -a" * 100_000,
        "/bin/sh -" + "o" * 300_000,
        "powershell -Command " + " " * 300_000 + "#x",
        "ENV " + "a" * 300_000,
        "EXPOSE map[" + "a" * 300_000,
        'CMD ["' + '\\" "' * 100_000,
    ],
    ids=lambda line: line[:12].strip(),
)
def test_a_line_of_any_length_is_read_in_no_time(line):
    started = time.process_time()
    assert len(read_history([{"created_by": line}], ()).steps) == 1
    assert not any(step.is_secret for step in read_history([{"created_by": line}], ()).steps)
    assert time.process_time() - started < 2


def test_a_step_that_sets_a_secret_is_known():
    steps = read_history([{"created_by": "ENV DB_PASSWORD=x"}, {"created_by": "RUN echo TOKEN=x"}], ()).steps
    assert [step.is_secret for step in steps] == [True, False]


@pytest.mark.parametrize("name", ["DB_PASSWORD", "token", "ClientSecret", "API_KEY", "GPG_KEYS", "KEY_ID", "APIKEY"])
def test_names_of_secrets_are_recognised(name):
    assert looks_secret(name)


@pytest.mark.parametrize("name", ["PATH", "KEYBOARD_LAYOUT", "HOME", "LANG"])
def test_other_names_are_no_secrets(name):
    assert not looks_secret(name)


def configuration(**config):
    return read_configuration(json.dumps({"config": config}).encode())


def test_a_configuration_is_read_as_a_dockerfile_has_it():
    found = configuration(
        Entrypoint=["/start", "ü"],
        Cmd="a b",
        ExposedPorts={"80/tcp": {}, "443/tcp": {}},
        Env=["PATH=/bin", "API_TOKEN=a=b"],
        Healthcheck={"Test": ["CMD-SHELL", "curl /"], "Interval": 30 * 10**9, "Retries": 3},
    )
    assert (found.entrypoint, found.command) == ('["/start", "ü"]', "a b")
    assert found.ports == ("443/tcp", "80/tcp")
    assert (found.variables, found.secrets) == ((("PATH", "/bin"),), (("API_TOKEN", "a=b"),))
    assert found.healthcheck == "--interval=30s --retries=3 CMD curl /"


@pytest.mark.parametrize("value", [None, 5, "text", [], [5, None], {"a": 5}, {"Test": 5}, [["a"]]])
def test_any_configuration_can_be_read(value):
    names = ("Entrypoint", "Cmd", "WorkingDir", "User", "ExposedPorts", "Volumes", "Healthcheck", "Env", "Labels")
    assert configuration(**dict.fromkeys(names, value))


@pytest.mark.parametrize("raw", [b"", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_configuration_is_none(raw):
    assert read_configuration(raw) is None


def test_halves_of_surrogate_pairs_can_be_shown():
    found = read_configuration(b'{"config": {"User": "\\ud800", "Cmd": ["\\udfff"]}}')
    assert (found.user, found.command) == ("?", '["?"]')


def test_standard_labels_come_first():
    names = [label.name for label in read_labels({"b": "", "org.opencontainers.image.title": "", "a": ""})]
    assert names == ["org.opencontainers.image.title", "a", "b"]


@pytest.mark.parametrize("address", ["https://example.com/a?b#c", "http://localhost:8080", "HTTPS://example.com"])
def test_addresses_of_the_web_are_links(address):
    assert read_labels({"a": address})[0].link == address


@pytest.mark.parametrize(
    "value",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//example.com",
        "https:///path",
        "https://good.example@evil.example",
        "https://a.example\\@b.example",
        "https://a.example/ b",
        "https://a.example/\u202egnp",
        "java\nscript:alert(1)",
        "https://[",
        "text",
    ],
)
def test_nothing_else_is_a_link(value):
    assert read_labels({"a": value})[0].link == ""
