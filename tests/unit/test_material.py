"""Loading TLS material: every form that is accepted, every mistake that is explained."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption
from hypothesis import given, settings
from hypothesis import strategies as st
from jetstream._certs import Authority, Issued
from jetstream._errors import JetStreamError, TlsConfigError
from jetstream._keys import describe_key
from jetstream._material import (
    MAX_FILE_BYTES,
    load_certificates,
    load_crls,
    load_identity,
    stamps,
)
from jetstream._scan import Item, Kind, scan
from jetstream._testing_ca import ThrowawayCA

PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
PKCS8 = serialization.PrivateFormat.PKCS8
TRADITIONAL = serialization.PrivateFormat.TraditionalOpenSSL
LOCKED = BestAvailableEncryption(b"open sesame")


@pytest.fixture(scope="module")
def ca():
    return ThrowawayCA()


@pytest.fixture(scope="module")
def issued(ca):
    return ca.issue_server()


@pytest.fixture
def request_der(issued):
    builder = x509.CertificateSigningRequestBuilder(issued.certificate.subject)
    return builder.sign(issued.key, hashes.SHA256()).public_bytes(DER)


def expect(message):
    return pytest.raises(TlsConfigError, match=message)


class TestCertificates:
    def test_pem(self, ca, issued):
        assert load_certificates(ca.ca_pem + issued.chain_pem) == [
            ca.ca_der,
            issued.certificate_der,
        ]

    def test_der(self, ca):
        assert load_certificates(ca.ca_der) == [ca.ca_der]

    @pytest.mark.parametrize("convert", [str, Path])
    def test_path(self, ca, tmp_path, convert):
        path = tmp_path / "ca.pem"
        path.write_bytes(ca.ca_pem)
        assert load_certificates(convert(path)) == [ca.ca_der]

    def test_text(self, ca):
        assert load_certificates(ca.ca_pem.decode()) == [ca.ca_der]

    def test_list(self, ca, issued, tmp_path):
        path = tmp_path / "ca.crt"
        path.write_bytes(ca.ca_der)
        loaded = load_certificates([str(path), issued.chain_pem])
        assert loaded == [ca.ca_der, issued.certificate_der]

    @pytest.mark.parametrize(
        "change",
        [
            lambda pem: pem.replace(b"\n", b"\r\n"),
            lambda pem: pem.replace(b"\n", b"\r"),
            lambda pem: b"\xef\xbb\xbf" + pem,
            lambda pem: b"# M\xc3\xbcller's CA\n\n" + pem + b"\nthe end",
            lambda pem: pem.decode().encode("utf-16"),
            lambda pem: pem.replace(b" CERTIFICATE", b" X509 CERTIFICATE"),
            lambda pem: b"".join(b"  " + line + b" \n" for line in pem.splitlines()),
        ],
    )
    def test_unusual_pem(self, ca, change):
        assert load_certificates(b"\n" + ca.ca_pem) == [ca.ca_der]
        assert load_certificates(change(ca.ca_pem)) == [ca.ca_der]

    def test_keys_are_passed_over(self, issued):
        assert load_certificates(issued.key_pem + issued.chain_pem) == [issued.certificate_der]

    @pytest.mark.parametrize("password", [None, "open sesame"])
    def test_pkcs12(self, issued, password):
        data = issued.pkcs12(password)
        assert load_certificates(data, password=password) == [issued.certificate_der]

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
    def test_pipe_is_read_once(self, issued):
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(issued.key_pem + issued.chain_pem)
        try:
            chain, _ = load_identity(f"/dev/fd/{reading}")
        finally:
            os.close(reading)
        assert chain == issued.chain_der


class TestIdentity:
    @pytest.mark.parametrize("encoding", [PEM, DER])
    @pytest.mark.parametrize("form", [PKCS8, TRADITIONAL])
    def test_forms_of_keys(self, issued, encoding, form):
        key = issued.key.private_bytes(encoding, form, NoEncryption())
        assert load_identity(issued.chain_pem, key) == (issued.chain_der, issued.key_der)

    @pytest.mark.parametrize(("encoding", "form"), [(PEM, PKCS8), (DER, PKCS8), (PEM, TRADITIONAL)])
    @pytest.mark.parametrize(
        "password", ["open sesame", b"open sesame", lambda: "open sesame", lambda: b"open sesame"]
    )
    def test_encrypted_keys(self, issued, encoding, form, password):
        key = issued.key.private_bytes(encoding, form, LOCKED)
        chain, der = load_identity(issued.certificate_der, key, password)
        assert (chain, der) == (issued.chain_der, issued.key_der)

    def test_both_in_one_file(self, issued):
        expected = (issued.chain_der, issued.key_der)
        assert load_identity(issued.chain_pem + issued.key_pem) == expected
        assert load_identity(issued.key_pem + issued.chain_pem) == expected
        assert load_identity([issued.chain_pem, issued.key_pem]) == expected

    def test_key_out_of_a_combined_file(self, issued):
        both = issued.key_pem + issued.chain_pem
        assert load_identity(both, both) == (issued.chain_der, issued.key_der)

    def test_chain(self, ca):
        issued = ca.authority.subordinate().issue(["localhost"])
        assert len(issued.chain_der) == 2
        expected = (issued.chain_der, issued.key_der)
        assert load_identity(issued.chain_pem, issued.key_pem) == expected
        parts = [issued.certificate_der, issued.chain_der[1]]
        assert load_identity(parts, issued.key_der) == expected
        assert load_identity(issued.pkcs12()) == expected

    @pytest.mark.parametrize("locked", [None, "open sesame"])
    def test_pkcs12(self, issued, locked):
        expected = (issued.chain_der, issued.key_der)
        data = issued.pkcs12(locked)
        assert load_identity(data, password=locked) == expected
        assert load_identity(issued.chain_pem, data, locked) == expected

    def test_a_password_is_asked_for_only_when_needed_and_once(self, issued):
        asked = []

        def password():
            asked.append(1)
            return "open sesame"

        load_identity(issued.chain_pem, issued.key_pem, password)
        load_identity(issued.pkcs12(), password=password)
        assert asked == []
        load_identity(issued.pkcs12("open sesame"), password=password)
        assert asked == [1]

    @pytest.mark.parametrize(
        "make",
        [
            lambda: ec.generate_private_key(ec.SECP384R1()),
            lambda: rsa.generate_private_key(65537, 2048),
            ed25519.Ed25519PrivateKey.generate,
        ],
    )
    def test_kinds_of_keys(self, make):
        key = make()
        certificate = self_signed(key)
        _, der = load_identity(certificate, key.private_bytes(PEM, PKCS8, NoEncryption()))
        assert der == key.private_bytes(DER, PKCS8, NoEncryption())
        issued = Authority(x509.load_der_x509_certificate(certificate), key).issue(["x"])
        issued.certificate.verify_directly_issued_by(x509.load_der_x509_certificate(certificate))

    @pytest.mark.parametrize(
        ("make", "name"),
        [
            (lambda: ec.generate_private_key(ec.SECP521R1()), "ECDSA P-521"),
            (lambda: ec.generate_private_key(ec.SECP256K1()), "ECDSA secp256k1"),
            (lambda: rsa.generate_private_key(65537, 1024), "RSA 1024 bits"),
            (ed448.Ed448PrivateKey.generate, "Ed448"),
        ],
    )
    def test_kinds_of_keys_that_tls_has_not(self, make, name):
        key = make()
        with expect(rf"bytes has a key of type {name}, which TLS cannot use here: make one of"):
            load_identity(self_signed(key), key.private_bytes(PEM, PKCS8, NoEncryption()))

    def test_describe_other_keys(self):
        assert describe_key(dsa.generate_private_key(1024).public_key()) == "DSA 1024 bits"


def self_signed(key):
    authority = Authority.make()
    builder = (
        x509.CertificateBuilder()
        .subject_name(authority.certificate.subject)
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(authority.certificate.not_valid_before_utc)
        .not_valid_after(authority.certificate.not_valid_after_utc)
    )
    edwards = isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return builder.sign(key, None if edwards else hashes.SHA256()).public_bytes(DER)


class TestCrls:
    def test_pem_and_der(self, ca):
        crl = ca.authority.crl()
        assert load_crls(crl.public_bytes(DER)) == [crl.public_bytes(DER)]
        assert load_crls([crl.public_bytes(PEM)] * 2) == [crl.public_bytes(DER)] * 2

    def test_mistakes(self, ca, issued):
        with expect("bytes is a certificate, not a certificate revocation list: name the file"):
            load_crls(ca.ca_pem)
        with expect("bytes is a PKCS#12 file, not a certificate revocation list"):
            load_crls(issued.pkcs12())
        with expect("bytes is damaged: it looks like a certificate revocation list"):
            load_crls(b"-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n")


class TestMistakesWithFiles:
    def test_missing(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with expect("no such file in .*: certs/ca.pem; 'jetstream certs init' makes") as caught:
            load_certificates("certs/ca.pem")
        assert str(tmp_path) in str(caught.value)
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, JetStreamError)
        with expect("no such file: /nowhere/ca.pem;"):
            load_certificates("/nowhere/ca.pem")

    def test_folder(self, tmp_path):
        with expect("is a folder: name the file in it that holds a certificate"):
            load_certificates(tmp_path)

    def test_unreadable(self, tmp_path, monkeypatch):
        def refuse(*args):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
        with expect("cannot be read by this user"):
            load_certificates(tmp_path / "ca.pem")

    def test_impossible_path(self):
        with expect("cannot be read"):
            load_certificates("a\0b")

    @pytest.mark.parametrize("data", [b"", b" \n"])
    def test_empty(self, tmp_path, data):
        path = tmp_path / "ca.pem"
        path.write_bytes(data)
        with expect(r"ca\.pem is empty: it should hold a certificate"):
            load_certificates(path)
        with expect("bytes is empty"):
            load_certificates(data)

    def test_too_large(self, tmp_path):
        path = tmp_path / "ca.pem"
        with path.open("wb") as file:
            file.truncate(MAX_FILE_BYTES + 1)
        with expect("larger than 16 MiB"):
            load_certificates(path)

    @pytest.mark.parametrize("data", [b"\x00\xff" * 50, b"\x30\x03abc", b"\x30", b"0" * 9])
    def test_junk(self, data):
        with expect("bytes holds neither PEM nor DER: it should hold a certificate"):
            load_certificates(data)

    def test_path_as_bytes(self):
        with expect("a path is passed as str or Path, not as bytes"):
            load_certificates(b"certs/ca.pem")

    @pytest.mark.parametrize("source", [None, 3, [None]])
    def test_wrong_type(self, source):
        with expect("a certificate is given as a path"):
            load_certificates(source)

    def test_empty_list(self):
        with expect("an empty list was given: it should name a certificate"):
            load_certificates([])

    @pytest.mark.parametrize("size", range(5, 27))
    def test_cut_off_where_the_next_one_begins(self, ca, size):
        rest = b"-----BEGIN CERTIFICATE-----"[:size]
        for data in (ca.ca_pem + rest, ca.ca_pem + b"\r\n# Root 2\r\n" + rest + b"\r\n"):
            with expect("bytes is damaged: .* breaks off"):
                load_certificates(data)
        with expect("bytes is damaged: .* breaks off"):
            load_crls(ca.crl_pem + rest)

    def test_lines_of_dashes_are_text(self, ca):
        text = b"----- Root 1 -----\n---\n-----END OF IT-----\n"
        assert load_certificates(text + ca.ca_pem + text) == [ca.ca_der]

    def test_cut_off(self, ca):
        with expect("bytes is damaged: a CERTIFICATE begins and has no end"):
            load_certificates(ca.ca_pem[:-30])
        with expect("bytes is damaged: a CERTIFICATE begins and has no end"):
            load_certificates(ca.ca_pem[:-30] + b"\n" + ca.ca_pem)
        with expect("bytes is damaged: a CERTIFICATE is not valid base64"):
            load_certificates(ca.ca_pem.replace(b"MII", b"M*I", 1))
        with expect("bytes is damaged: it looks like a certificate and cannot be parsed"):
            load_certificates(b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")
        with expect("neither PEM nor DER"):
            load_certificates(ca.ca_der[:-1])


class TestMistakesWithKinds:
    def test_key_instead_of_certificate(self, issued, tmp_path):
        path = tmp_path / "server.key"
        path.write_bytes(issued.key_pem)
        message = r"server\.key is a private key, not a certificate: name the file"
        with expect(message):
            load_certificates(path)
        with expect(message):
            load_identity(path)
        with expect(message):
            load_identity(path, path)
        with expect("bytes is a private key, not a certificate"):
            load_certificates(issued.key_der)

    def test_certificate_instead_of_key(self, issued):
        with expect("bytes is a certificate, not a private key: name the file"):
            load_identity(issued.chain_pem, issued.chain_pem)

    def test_certificate_without_key(self, issued):
        with expect("bytes holds no private key: pass the key's file as key="):
            load_identity(issued.chain_pem)

    def test_other_kinds(self, issued, request_der):
        with expect("is a certificate signing request, not a certificate: name the certificate"):
            load_certificates(request_der)
        public = issued.key.public_key().public_bytes(
            DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        with expect("is a public key, not a certificate"):
            load_certificates(public)
        with expect("is a public key, not a private key: name the file"):
            load_identity(issued.chain_pem, public)
        with expect("is a certificate revocation list, not a certificate"):
            load_certificates(ThrowawayCA().crl_pem)
        locked = issued.key.private_bytes(DER, PKCS8, LOCKED)
        with expect("is an encrypted private key, not a certificate"):
            load_certificates(locked)

    @pytest.mark.parametrize(
        ("label", "message"),
        [
            ("TRUSTED CERTIFICATE", "convert it with 'openssl x509'"),
            ("PKCS7", "convert it with 'openssl pkcs7 -print_certs'"),
            ("OPENSSH PRIVATE KEY", "'jetstream certs issue' makes a key"),
            ("PGP MESSAGE", "is PEM of another kind, not a certificate"),
        ],
    )
    def test_other_labels(self, label, message):
        data = f"-----BEGIN {label}-----\nMAA=\n-----END {label}-----\n".encode()
        with expect(message):
            load_certificates(data)

    def test_pkcs7_der(self):
        data = bytes.fromhex("300f06092a864886f70d010702a0023000")
        with expect("is a PKCS#7 bundle, not a certificate: convert it"):
            load_certificates(data)

    def test_pkcs12_without_key(self, issued):
        data = serialization.pkcs12.serialize_key_and_certificates(
            None, None, None, [issued.certificate], NoEncryption()
        )
        assert load_certificates(data) == [issued.certificate_der]
        with expect("holds no private key"):
            load_identity(data)
        with expect("is a PKCS#12 file without a private key: export it again with both"):
            load_identity(issued.chain_pem, data)


class TestMistakesWithKeys:
    def test_other_key(self, ca, issued):
        other = ca.issue_server()
        with expect("does not belong to the certificate in bytes: name the two files"):
            load_identity(issued.chain_pem, other.key_pem)

    def test_wrong_order(self, ca):
        issued = ca.authority.subordinate().issue(["localhost"])
        backwards = list(reversed(issued.chain_der))
        with expect("certificate of the private key at place 2: put it first"):
            load_identity(backwards, issued.key_pem)

    def test_two_keys(self, ca, issued):
        with expect("2 private keys in bytes: keep only the one"):
            load_identity(issued.chain_pem, issued.key_pem * 2)

    @pytest.mark.parametrize(("encoding", "form"), [(PEM, PKCS8), (DER, PKCS8), (PEM, TRADITIONAL)])
    def test_password(self, issued, encoding, form):
        key = issued.key.private_bytes(encoding, form, LOCKED)
        with expect("^bytes is an encrypted private key: pass password=$"):
            load_identity(issued.chain_pem, key)
        for wrong in ("no", ""):
            with expect("wrong password for bytes"):
                load_identity(issued.chain_pem, key, wrong)

    def test_pkcs12_password(self, issued, tmp_path):
        path = tmp_path / "client.p12"
        path.write_bytes(issued.pkcs12("open sesame"))
        with expect(r"client\.p12 is an encrypted PKCS#12 file: pass password=$"):
            load_identity(path)
        for wrong in ("no", ""):
            with expect(r"wrong password for .*client\.p12"):
                load_identity(path, password=wrong)

    def test_damaged(self, issued):
        with expect("looks like a private key and cannot be parsed"):
            load_identity(
                issued.chain_pem, b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"
            )
        with expect("looks like a PKCS#12 file and cannot be parsed"):
            load_identity(issued.pkcs12()[:50])

    def test_no_error_shows_a_key(self, issued):
        middle = issued.key_pem.splitlines()[1].decode()
        with expect("private key") as caught:
            load_certificates(issued.key_pem)
        assert middle not in str(caught.value)
        assert middle not in repr(scan(issued.key_pem))


class TestScan:
    def test_repr(self):
        assert repr(Item(Kind.KEY, b"secret")) == "Item(KEY, 6 bytes)"

    @settings(deadline=None, derandomize=True)
    @given(st.binary(max_size=200) | st.binary(max_size=80).map(lambda b: b"0\x82\x01\x00" + b))
    def test_any_bytes_are_loaded_or_explained(self, data):
        for load in (load_certificates, load_crls, load_identity):
            with pytest.raises(TlsConfigError):
                load(data)

    @settings(deadline=None, derandomize=True, max_examples=200)
    @given(st.data())
    def test_any_single_change_is_survived(self, data):
        material = _material()
        place = data.draw(st.integers(0, len(material) - 1))
        value = data.draw(st.integers(0, 255))
        changed = material[:place] + bytes([value]) + material[place + 1 :]
        try:
            chain, key = load_identity(changed)
        except TlsConfigError:
            return
        assert chain
        assert key


def _material(cache: list[Issued] = []) -> bytes:  # noqa: B006
    if not cache:
        cache.append(ThrowawayCA().issue_server())
    return cache[0].chain_pem + cache[0].key_pem


class TestImports:
    def test_the_package_stays_light(self):
        code = (
            "import jetstream, jetstream._material, sys;"
            "print([name for name in ('click', 'cryptography') if name in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is missing")
def test_files_made_by_openssl(tmp_path):
    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=tmp_path)

    openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-subj", "/CN=x", "-passout", "pass:pw"),
        *("-keyout", "key.pem", "-out", "cert.pem"),
    )
    chain, key = load_identity(tmp_path / "cert.pem", tmp_path / "key.pem", "pw")
    openssl(
        *("pkcs12", "-export", "-in", "cert.pem", "-inkey", "key.pem", "-passin", "pass:pw"),
        *("-passout", "pass:", "-out", "empty.p12"),
    )
    assert load_identity(tmp_path / "empty.p12") == (chain, key)
    openssl("rsa", "-in", "key.pem", "-passin", "pass:pw", "-traditional", "-out", "rsa.pem")
    assert b"RSA PRIVATE KEY" in (tmp_path / "rsa.pem").read_bytes()
    assert load_identity(tmp_path / "cert.pem", tmp_path / "rsa.pem") == (chain, key)


# ---- stamps ----


def test_stamps_change_with_their_files_and_bytes_have_none(tmp_path):
    path = tmp_path / "ca.pem"
    path.write_bytes(b"one")
    before = stamps([path, str(path), b"bytes", "-----BEGIN X-----"])
    assert len(before) == 2
    assert stamps(None) == stamps(b"bytes") == ()
    assert stamps([path, str(path)]) == before
    other = tmp_path / "other.pem"
    other.write_bytes(b"two")
    other.replace(path)
    assert stamps([path, str(path)]) != before
    path.unlink()
    assert stamps(path) == ((),)
