"""The certificate of HTTPS in the owner's files: what is refused, and how a renewed one is taken up."""

import subprocess
import time

import pytest

from regadmin.certificates.served import ServedCertificate
from regadmin.errors import Misconfigured
from tests.rigs.tls import write_certificate


@pytest.fixture
def paths(tmp_path):
    return write_certificate(tmp_path / "tls")


@pytest.fixture
def served(paths):
    return ServedCertificate(*paths, time.time)


def assert_refused(served: ServedCertificate, *words: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        served.load()
    for word in words:
        assert word in caught.value.message
    assert served.context is None


def openssl(*command) -> None:
    subprocess.run(["openssl", *command], check=True, capture_output=True, timeout=60)


def test_a_sound_pair_is_loaded(served):
    served.load()
    assert served.context
    assert abs(served.ends - time.time() - 90 * 86400) < 60


@pytest.mark.parametrize("which", [0, 1])
def test_a_missing_or_damaged_file_is_named(served, paths, which):
    content = paths[which].read_text()
    for damage in ("", "notes", content[:100], content.replace("M", "!")):
        paths[which].write_text(damage)
        assert_refused(served, str(paths[which]), "put")
    paths[which].unlink()
    assert_refused(served, str(paths[which]), "No such file")


def test_a_key_of_another_certificate_is_named(served, paths, tmp_path):
    paths[1].write_bytes(write_certificate(tmp_path / "other")[1].read_bytes())
    assert_refused(served, str(paths[0]), str(paths[1]), "is not the key")


def test_a_passphrase_is_refused_and_not_asked_for(served, paths, tmp_path):
    openssl("pkcs8", "-topk8", "-in", paths[1], "-out", tmp_path / "locked", "-passout", "pass:secret")
    (tmp_path / "locked").rename(paths[1])
    assert_refused(served, str(paths[1]), "passphrase")


def test_a_key_that_openssl_finds_too_weak_is_refused(served, paths):
    openssl("req", "-x509", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=a", "-keyout", paths[1], "-out", paths[0])
    assert_refused(served, str(paths[0]), "EE_KEY_TOO_SMALL")


def test_an_expired_certificate_is_served_with_a_warning(tmp_path, caplog):
    served = ServedCertificate(*write_certificate(tmp_path / "tls", days=-1), time.time)
    served.load()
    assert served.context
    assert "expired on" in caplog.text


def test_a_certificate_of_tomorrow_is_served_with_a_warning(paths, caplog):
    ServedCertificate(*paths, lambda: time.time() - 2000 * 86400).load()
    assert "is the clock right?" in caplog.text


def test_a_renewed_pair_is_taken_up_even_if_one_file_comes_before_the_other(served, paths, tmp_path, caplog):
    served.load()
    first, ends = served.context, served.ends
    served.refresh()
    assert served.context is first

    certificate, key = write_certificate(tmp_path / "new", days=180)
    certificate.replace(paths[0])
    served.refresh()
    served.refresh()
    assert (served.context, served.ends) == (first, ends)
    assert caplog.text.count("serving on with the old certificate") == 1

    key.replace(paths[1])
    served.refresh()
    assert served.context is not first
    assert served.ends > ends


def test_a_file_that_goes_away_for_a_while_does_no_harm(served, paths, tmp_path):
    served.load()
    first = served.context
    paths[0].rename(tmp_path / "away")
    served.refresh()
    assert served.context is first
    (tmp_path / "away").rename(paths[0])
    served.refresh()
    assert served.context
