import base64
import json
import subprocess
import time

import jwt
import pytest
from cryptography import x509

from regadmin.certificates.keys import load_or_build
from regadmin.certificates.signing import WARNING_DAYS

DAY = 24 * 60 * 60
NOW = int(time.time())
CLAIMS = {
    "iss": "registry_token_issuer",
    "sub": "",
    "aud": "container_registry",
    "exp": NOW + 900,
    "nbf": NOW - 10,
    "iat": NOW,
    "jti": "0123456789abcdef",
    "access": [{"type": "repository", "name": "team/app", "actions": ["pull", "push"]}],
}


@pytest.fixture
def paths(tmp_path):
    return [tmp_path / name for name in ("key", "pub", "crt")]


@pytest.fixture
def key(paths):
    return load_or_build(*paths, ["localhost"], [], clock=lambda: NOW)


def unpadded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_the_header_holds_type_algorithm_and_certificate_only(key, paths):
    header, claims, signature = key.sign(CLAIMS).split(".")
    fields = json.loads(unpadded(header))
    der = base64.b64decode(fields["x5c"][0], validate=True)
    assert fields.keys() == {"typ", "alg", "x5c"}
    assert (fields["typ"], fields["alg"], len(fields["x5c"])) == ("JWT", "ES256", 1)
    assert x509.load_der_x509_certificate(der) == x509.load_pem_x509_certificate(paths[2].read_bytes())
    assert json.loads(unpadded(claims)) == CLAIMS
    assert len(unpadded(signature)) == 64
    assert "=" not in header + claims + signature


def test_the_signature_holds_with_the_certificate_in_the_header(key):
    token = key.sign(CLAIMS)
    der = base64.b64decode(jwt.get_unverified_header(token)["x5c"][0])
    public_key = x509.load_der_x509_certificate(der).public_key()
    assert public_key == key.public_key
    assert jwt.decode(token, public_key, ["ES256"], audience="container_registry") == CLAIMS


def test_a_changed_token_does_not_hold(key):
    header, claims, signature = key.sign(CLAIMS).split(".")
    other = key.sign({**CLAIMS, "sub": "mallory"}).split(".")[1]
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(f"{header}.{other}.{signature}", key.public_key, ["ES256"], audience="container_registry")


def test_a_token_stays_well_below_the_headers_limits_of_proxies(key):
    assert len(key.sign(CLAIMS)) < 1400


def test_the_fingerprint_is_the_one_that_openssl_prints(key, paths):
    command = ["openssl", "x509", "-in", paths[2], "-noout", "-fingerprint", "-sha256"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert printed.strip().split("=")[1] == key.fingerprint
    assert key.certificate_pem == paths[2].read_text()


def test_the_days_left_are_whole_and_end_below_zero(key):
    assert key.not_after == NOW + 3650 * DAY
    assert key.days_left(NOW) == 3650
    assert key.days_left(NOW + 1) == 3649
    assert key.days_left(key.not_after) == 0
    assert key.days_left(key.not_after + 1) == -1
    assert key.days_left(NOW) > WARNING_DAYS
