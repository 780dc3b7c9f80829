import multiprocessing
import os
import shlex
import shutil
import ssl
import stat
import subprocess
import time
from datetime import UTC, datetime, timedelta
from functools import partial

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from regadmin import errors
from regadmin.certificates.keys import load_or_build

NOW = 1_800_000_000
DAY = 24 * 60 * 60
NAMES = ("registry_auth.key", "registry_auth.pub", "registry_auth_ca.crt")
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def paths(tmp_path):
    return [tmp_path / "certs" / name for name in NAMES]


def load(paths, now=NOW, fqdns=("localhost", "registry.example.com"), ips=("127.0.0.1", "::1")):
    return load_or_build(*paths, list(fqdns), list(ips), clock=lambda: now)


def openssl(command):
    arguments = ["openssl", *shlex.split(command)]
    return subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=60).stdout


def contents(paths):
    return [path.read_bytes() for path in paths]


def beside(path, suffix):
    return path.with_name(path.name + suffix)


def listing(paths):
    return sorted(os.listdir(paths[0].parent))


def complaint(paths, **how):
    with pytest.raises(errors.Misconfigured) as caught:
        load(paths, **how)
    assert "\n" not in caught.value.message
    return caught.value.message


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def certify(paths, private_key, begins=NOW - DAY, ends=NOW + 10 * DAY):
    """Writes a set with this key, as another tool would."""
    paths[0].parent.mkdir(exist_ok=True)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "other")])
    certificate = (
        x509.CertificateBuilder(name, name, private_key.public_key(), 7)
        .not_valid_before(datetime.fromtimestamp(begins, UTC))
        .not_valid_after(datetime.fromtimestamp(ends, UTC))
        .sign(private_key, None if isinstance(private_key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    for path, data in zip(
        paths,
        (
            private_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain),
            private_key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo),
            certificate.public_bytes(pem),
        ),
        strict=True,
    ):
        path.write_bytes(data)


def test_a_missing_set_is_built_private_and_complete(paths):
    load(paths)
    assert mode(paths[0].parent) == 0o700
    assert [mode(path) for path in paths] == [0o600, 0o644, 0o644]
    assert listing(paths) == sorted([*NAMES, NAMES[0] + ".lock"])
    key, public_key, certificate = contents(paths)
    assert key.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert public_key.startswith(b"-----BEGIN PUBLIC KEY-----")
    assert certificate.startswith(b"-----BEGIN CERTIFICATE-----")


def test_the_umask_neither_opens_the_key_nor_hides_the_certificate(paths):
    before = os.umask(0o077)
    try:
        load(paths)
    finally:
        os.umask(before)
    assert [mode(path) for path in paths] == [0o600, 0o644, 0o644]


def test_a_set_is_built_once_and_then_loaded(paths):
    built = load(paths)
    before = contents(paths)
    assert load(paths, fqdns=["other.example.com"]).fingerprint == built.fingerprint
    assert contents(paths) == before


def test_a_set_is_loaded_from_a_directory_that_cannot_be_written(paths):
    built = load(paths)
    beside(paths[0], ".lock").unlink()
    paths[0].parent.chmod(0o500)
    try:
        assert load(paths).fingerprint == built.fingerprint
        assert not beside(paths[0], ".lock").exists()
    finally:
        paths[0].parent.chmod(0o700)


def test_the_files_may_stand_in_different_directories(tmp_path):
    paths = [tmp_path / directory / "file" for directory in ("a/b", "c", "d")]
    assert load(paths).fingerprint == load(paths).fingerprint


def test_openssl_accepts_the_new_certificate_for_its_names(paths):
    load(paths, now=time.time())
    verify = f"verify -x509_strict -purpose sslserver -CAfile {paths[2]}"
    assert openssl(f"{verify} -verify_hostname registry.example.com {paths[2]}").endswith("OK\n")
    assert openssl(f"{verify} -verify_ip ::1 {paths[2]}").endswith("OK\n")
    public_key = paths[1].read_text()
    assert openssl(f"pkey -in {paths[0]} -pubout") == public_key
    assert openssl(f"x509 -in {paths[2]} -noout -pubkey") == public_key


def test_the_new_certificate_says_what_it_is_for(paths):
    load(paths)
    certificate = x509.load_pem_x509_certificate(paths[2].read_bytes())
    extensions = certificate.extensions
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert certificate.subject.rfc4514_string() == certificate.issuer.rfc4514_string() == "CN=regadmin"
    assert certificate.serial_number > 0
    assert certificate.not_valid_before_utc == datetime.fromtimestamp(NOW, UTC) - timedelta(days=1)
    assert certificate.not_valid_after_utc == datetime.fromtimestamp(NOW, UTC) + timedelta(days=3650)
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert usage.digital_signature and usage.key_cert_sign and usage.crl_sign and not usage.key_encipherment
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        x509.ExtendedKeyUsageOID.SERVER_AUTH
    ]
    assert extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "registry.example.com"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]


def test_a_certificate_without_names_has_no_empty_extension(paths):
    load(paths, fqdns=[""], ips=[])
    certificate = x509.load_pem_x509_certificate(paths[2].read_bytes())
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_a_wrong_name_stops_the_building_and_leaves_nothing_in_the_way(paths):
    assert "'1.2.3' is no IP address" in complaint(paths, ips=["1.2.3"])
    assert "xn--" in complaint(paths, fqdns=["bücher.example"])
    assert load(paths)


@pytest.mark.parametrize("missing", [{0}, {1}, {2}, {0, 1}, {0, 2}, {1, 2}])
def test_a_half_present_set_is_an_error_and_stays_as_it_is(paths, missing):
    load(paths)
    for index in missing:
        paths[index].unlink()
    before = listing(paths)
    assert f"{paths[min(missing)]} is missing beside" in complaint(paths)
    assert listing(paths) == before


def test_a_half_present_set_is_named_even_where_nothing_can_be_written(paths):
    load(paths)
    paths[1].unlink()
    beside(paths[0], ".lock").unlink()
    beside(paths[0], ".lock").mkdir()
    assert f"{paths[1]} is missing beside {paths[0]}" in complaint(paths)


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "certs").write_text("a file")
    message = complaint([tmp_path / "certs" / name for name in NAMES])
    assert "cannot be made" in message and str(tmp_path / "certs") in message


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_file_that_cannot_be_read_is_named(paths, index):
    load(paths)
    paths[index].unlink()
    paths[index].mkdir()
    assert complaint(paths).startswith(f"{paths[index]} cannot be read (Is a directory)")


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("damage", ["empty", "noise", "cut", "der"])
def test_a_file_that_is_not_pem_is_named(paths, index, damage):
    load(paths)
    whole = paths[index].read_text()
    data = {
        "empty": b"",
        "noise": bytes(range(256)),
        "cut": whole.replace(whole.splitlines()[1], "").encode(),
        "der": ssl.PEM_cert_to_DER_cert(paths[2].read_text()),
    }[damage]
    paths[index].write_bytes(data)
    assert complaint(paths).startswith(f"{paths[index]} ")


@pytest.mark.parametrize(("index", "named"), [(0, 1), (1, 1), (2, 2)])
def test_files_of_different_sets_are_refused(paths, tmp_path, index, named):
    load(paths)
    others = [tmp_path / "others" / name for name in NAMES]
    load(others)
    shutil.copy(others[index], paths[index])
    assert complaint(paths).startswith(f"{paths[named]} ")


@pytest.mark.parametrize(
    "private_key",
    [
        ed25519.Ed25519PrivateKey.generate(),
        ec.generate_private_key(ec.SECP256K1()),
        rsa.generate_private_key(65537, 1024),
    ],
    ids=["ed25519", "secp256k1", "rsa1024"],
)
def test_a_key_that_the_registry_cannot_check_is_refused(paths, private_key):
    certify(paths, private_key)
    assert f"{paths[0]} is of a type that the registry cannot check" in complaint(paths)


def test_a_key_with_a_passphrase_is_refused(paths):
    load(paths)
    locked = beside(paths[0], ".enc")
    openssl(f"pkcs8 -topk8 -in {paths[0]} -out {locked} -passout pass:secret")
    locked.rename(paths[0])
    assert "passphrase" in complaint(paths)


def test_a_certificate_out_of_its_time_is_refused(paths):
    key = load(paths)
    assert load(paths, now=key.not_after)
    assert "expired on 2037-01-12" in complaint(paths, now=key.not_after + 1)
    assert load(paths, now=NOW - DAY)
    assert f"{paths[2]} is not valid before 2027-01-14" in complaint(paths, now=NOW - DAY - 1)


def test_of_a_bundle_the_own_certificate_that_holds_longest_is_taken(paths, tmp_path):
    private_key = ec.generate_private_key(ec.SECP256R1())
    others = [tmp_path / "others" / name for name in NAMES]
    load(others)
    certify(paths, private_key, ends=NOW - 1)
    bundle = others[2].read_text() + paths[2].read_text()
    certify(paths, private_key)
    paths[2].write_text(paths[2].read_text() + "renewed last year\n" + bundle)
    key = load(paths)
    assert key.not_after == NOW + 10 * DAY
    assert key.certificate_pem == paths[2].read_text()


@pytest.mark.parametrize(
    ("private_key", "algorithm"),
    [
        (rsa.generate_private_key(65537, 2048), "RS256"),
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
        (ec.generate_private_key(ec.SECP521R1()), "ES512"),
    ],
    ids=["rsa", "p256", "p384", "p521"],
)
@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
def test_keys_of_other_tools_are_loaded(paths, private_key, algorithm, form):
    certify(paths, private_key)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    paths[0].write_bytes(private_key.private_bytes(pem, getattr(serialization.PrivateFormat, form), plain))
    key = load(paths)
    assert key.algorithm == algorithm
    assert jwt.decode(key.sign({"sub": "a"}), key.public_key, [algorithm]) == {"sub": "a"}


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_the_originals_files_are_loaded(paths):
    """PKCS#1 with a `keyID` header inside the block, the same above the public key, serial number 0."""
    paths[0].parent.mkdir()
    openssl(f"genrsa -traditional -out {paths[0]} 2048")
    openssl(f"pkey -in {paths[0]} -pubout -out {paths[1]}")
    openssl(f"req -x509 -new -key {paths[0]} -subj /CN=AAAA:BBBB -set_serial 0 -out {paths[2]}")
    for path in paths[:2]:
        first, rest = path.read_text().split("\n", 1)
        path.write_text(f"{first}\nkeyID: AAAA:BBBB:CCCC\n\n{rest}")
    assert load(paths, now=time.time()).algorithm == "RS256"


def test_mislabelled_and_preceded_keys_are_loaded(paths):
    certify(paths, rsa.generate_private_key(65537, 2048))
    preface = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    for path, label in ((paths[0], "PRIVATE KEY"), (paths[1], "PUBLIC KEY")):
        path.write_text(preface + path.read_text().replace(label, f"RSA {label}"))
    assert load(paths).algorithm == "RS256"


def die_at(step, paths):
    """Builds a set and is gone, as by a power cut, at the given step of those that change a directory."""
    calls = iter(range(100))

    def counted(original, *arguments, **keywords):
        if next(calls) == step:
            os._exit(9)
        return original(*arguments, **keywords)

    for name in ("open", "rename", "fsync"):
        setattr(os, name, partial(counted, getattr(os, name)))
    load(paths)
    os._exit(0)


def run(target, *arguments):
    process = FORK.Process(target=target, args=arguments)
    process.start()
    return process


def finished(process):
    process.join(60)
    assert not process.is_alive()
    return process.exitcode


def test_a_crash_at_any_moment_does_not_block_the_next_start(tmp_path):
    for step in range(100):
        paths = [tmp_path / str(step) / name for name in NAMES]
        status = finished(run(die_at, step, paths))
        key = load(paths)
        assert key.fingerprint == load(paths).fingerprint
        assert listing(paths) == sorted([*NAMES, NAMES[0] + ".lock"])
        assert mode(paths[0]) == 0o600
        if status == 0:
            break
    assert step > 10


def test_drafts_left_by_a_crash_are_not_taken_for_another_set(paths):
    load(paths)
    before = contents(paths)
    for path in paths:
        path.rename(beside(path, ".new"))
    load(paths)
    assert contents(paths) != before
    paths[1].unlink()
    beside(paths[1], ".new").write_bytes(before[1])
    assert "is not the public key of" in complaint(paths)
    assert not paths[1].exists()


def test_processes_that_start_at_once_end_with_one_set(tmp_path):
    def build(paths, barrier, answers):
        barrier.wait(30)
        answers.put(load(paths).fingerprint)

    for turn in range(10):
        paths = [tmp_path / str(turn) / name for name in NAMES]
        barrier, answers = FORK.Barrier(4), FORK.Queue()
        processes = [run(build, paths, barrier, answers) for _ in range(4)]
        fingerprints = {answers.get(timeout=60) for _ in processes}
        assert [finished(process) for process in processes] == [0, 0, 0, 0]
        assert fingerprints == {load(paths).fingerprint}
