"""What the authority makes: extensions, validity, chains, revocation, and that TLS accepts it."""

import base64
import contextlib
import hashlib
import shutil
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st
from jetstream._certs import AUTHORITY_DAYS, LEAF_DAYS, Authority, Usage
from jetstream._errors import TlsConfigError
from jetstream._names import format_name, parse_name, parse_names
from jetstream._testing_ca import ThrowawayCA
from jetstream._x509 import CLOCK_SKEW

NOW = datetime(2026, 3, 1, 12, 0, 0, 987654, tzinfo=UTC)
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is missing")


@pytest.fixture(scope="module")
def authority():
    return Authority.make(now=NOW, path_length=None)


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind)


def openssl(*args, stdin=None):
    return subprocess.run(["openssl", *map(str, args)], input=stdin, capture_output=True, text=True)


class TestAuthority:
    def test_extensions(self):
        certificate = Authority.make(now=NOW).certificate
        constraints = extension(certificate, x509.BasicConstraints)
        assert constraints.critical
        assert constraints.value.ca
        assert constraints.value.path_length == 0
        usage = extension(certificate, x509.KeyUsage)
        assert usage.critical
        assert usage.value.key_cert_sign
        assert usage.value.crl_sign
        assert not usage.value.digital_signature
        own = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
        assert extension(certificate, x509.SubjectKeyIdentifier).value == own
        assert certificate.version is x509.Version.v3
        certificate.verify_directly_issued_by(certificate)

    def test_validity(self):
        certificate = Authority.make(now=NOW).certificate
        begin = NOW.replace(microsecond=0) - CLOCK_SKEW
        assert certificate.not_valid_before_utc == begin
        end = begin + timedelta(days=AUTHORITY_DAYS, seconds=-1)
        assert certificate.not_valid_after_utc == end

    def test_beyond_2049_is_written_as_generalized_time(self):
        certificate = Authority.make(now=NOW, days=365 * 30).certificate
        assert certificate.not_valid_after_utc.year == 2056
        assert b"\x18\x0f2056" in certificate.public_bytes(serialization.Encoding.DER)

    @pytest.mark.parametrize("days", [0, -1, 10**7, 10**12])
    def test_impossible_validity(self, days):
        with pytest.raises(TlsConfigError, match="validity"):
            Authority.make(days=days)

    @pytest.mark.parametrize("name", ["", "x" * 65])
    def test_impossible_name(self, name):
        with pytest.raises(TlsConfigError, match="1 to 64 characters"):
            Authority.make(name)

    def test_repr_holds_no_key(self, authority):
        issued = authority.issue(["localhost"], now=NOW)
        assert "PRIVATE" not in repr(authority) + repr(issued)
        assert "key=" not in repr(issued)


class TestIssue:
    def test_server(self, authority):
        issued = authority.issue(
            ["localhost", "127.0.0.1", "::1", "a@b.example", "spiffe://x/y", "localhost"], now=NOW
        )
        certificate = issued.certificate
        names = extension(certificate, x509.SubjectAlternativeName)
        assert not names.critical
        assert list(names.value) == [
            x509.DNSName("localhost"),
            x509.IPAddress(ip_address("127.0.0.1")),
            x509.IPAddress(ip_address("::1")),
            x509.RFC822Name("a@b.example"),
            x509.UniformResourceIdentifier("spiffe://x/y"),
        ]
        constraints = extension(certificate, x509.BasicConstraints)
        assert constraints.critical
        assert not constraints.value.ca
        usage = extension(certificate, x509.KeyUsage)
        assert usage.critical
        assert usage.value.digital_signature
        assert not usage.value.key_cert_sign
        pointer = extension(certificate, x509.AuthorityKeyIdentifier).value
        own = extension(authority.certificate, x509.SubjectKeyIdentifier).value
        assert pointer.key_identifier == own.digest
        certificate.verify_directly_issued_by(authority.certificate)
        assert isinstance(issued.key.curve, ec.SECP256R1)
        assert isinstance(certificate.signature_hash_algorithm, hashes.SHA256)
        assert issued.common_name == "localhost"

    @pytest.mark.parametrize(
        ("usage", "purposes"),
        [
            (Usage.SERVER, [ExtendedKeyUsageOID.SERVER_AUTH]),
            (Usage.CLIENT, [ExtendedKeyUsageOID.CLIENT_AUTH]),
            (Usage.BOTH, [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
        ],
    )
    def test_usage(self, authority, usage, purposes):
        certificate = authority.issue(["x"], usage=usage, now=NOW).certificate
        assert list(extension(certificate, x509.ExtendedKeyUsage).value) == purposes

    def test_default_validity_fits_browsers(self, authority):
        certificate = authority.issue(["localhost"], now=NOW).certificate
        span = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        assert span + timedelta(seconds=1) == timedelta(days=LEAF_DAYS) == timedelta(days=14)
        assert certificate.not_valid_before_utc < NOW

    def test_ends_with_the_authority(self):
        authority = Authority.make(days=10, now=NOW)
        certificate = authority.issue(["x"], days=100, now=NOW).certificate
        assert certificate.not_valid_after_utc == authority.certificate.not_valid_after_utc

    def test_expired_authority(self):
        authority = Authority.make(days=1, now=NOW)
        with pytest.raises(TlsConfigError, match="expired on 2026-03-02: make a new one"):
            authority.issue(["x"], now=NOW + timedelta(days=1))

    def test_serials_are_random_and_fit_20_octets(self, authority):
        serials = {authority.issue(["x"], now=NOW).certificate.serial_number for _ in range(20)}
        assert len(serials) == 20
        assert all(0 < serial < 2**159 for serial in serials)
        assert max(serials) > 2**100

    def test_long_name_leaves_the_subject_empty_and_names_critical(self, authority):
        name = ".".join(["a" * 30] * 4)
        certificate = authority.issue([name], now=NOW).certificate
        assert list(certificate.subject) == []
        assert extension(certificate, x509.SubjectAlternativeName).critical

    def test_common_name_without_names(self, authority):
        issued = authority.issue([], usage=Usage.CLIENT, common_name="Ada Lovelace", now=NOW)
        assert issued.common_name == "Ada Lovelace"
        with pytest.raises(x509.ExtensionNotFound):
            extension(issued.certificate, x509.SubjectAlternativeName)

    def test_no_name_at_all(self, authority):
        with pytest.raises(TlsConfigError, match="needs a name"):
            authority.issue([], now=NOW)

    def test_encodings_agree(self, authority):
        issued = authority.issue(["localhost"], now=NOW)
        assert x509.load_pem_x509_certificate(issued.chain_pem) == issued.certificate
        assert x509.load_der_x509_certificate(issued.certificate_der) == issued.certificate
        assert issued.chain_der == [issued.certificate_der]
        for load, data in [
            (serialization.load_pem_private_key, issued.key_pem),
            (serialization.load_der_private_key, issued.key_der),
        ]:
            assert load(data, None).private_numbers() == issued.key.private_numbers()
        assert issued.key_pem.startswith(b"-----BEGIN PRIVATE KEY-----")

    def test_hashes(self, authority):
        issued = authority.issue(["localhost"], now=NOW)
        digest = hashlib.sha256(issued.certificate_der).hexdigest().upper()
        assert issued.fingerprint.replace(":", "") == digest
        assert issued.fingerprint.count(":") == 31
        public = issued.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        assert base64.b64decode(issued.spki_sha256) == hashlib.sha256(public).digest()

    @pytest.mark.parametrize("password", [None, "", "sécret"])
    def test_pkcs12_holds_no_root(self, password):
        below = Authority.make(path_length=None, now=NOW).subordinate(now=NOW)
        issued = below.issue(["ada"], usage=Usage.CLIENT, now=NOW)
        opened = pkcs12.load_pkcs12(issued.pkcs12(password), (password or "").encode())
        assert opened.cert.certificate == issued.certificate
        assert [each.certificate for each in opened.additional_certs] == [below.certificate]
        assert opened.key.private_numbers() == issued.key.private_numbers()


class TestSubordinate:
    def test_chain(self):
        root = Authority.make(now=NOW, path_length=1)
        below = root.subordinate(now=NOW)
        issued = below.issue(["localhost"], now=NOW)
        assert issued.intermediates == (below.certificate,)
        assert issued.chain_pem.count(b"BEGIN CERTIFICATE") == 2
        assert extension(below.certificate, x509.BasicConstraints).value.path_length == 0
        below.certificate.verify_directly_issued_by(root.certificate)

    def test_path_length_is_respected(self):
        with pytest.raises(TlsConfigError, match="make it with path_length=None"):
            Authority.make(now=NOW).subordinate(now=NOW)


class TestLoad:
    def test_round_trip(self, authority):
        loaded = Authority.load(authority.certificate_pem, authority.key_pem)
        certificate = loaded.issue(["x"], now=NOW).certificate
        certificate.verify_directly_issued_by(authority.certificate)

    def test_intermediate_stays_in_the_chain(self, authority):
        below = authority.subordinate(now=NOW)
        loaded = Authority.load([below.certificate_pem, authority.certificate_pem], below.key_pem)
        assert loaded.issue(["x"], now=NOW).intermediates == (below.certificate,)

    def test_not_an_authority(self, authority):
        issued = authority.issue(["x.example"], now=NOW)
        with pytest.raises(TlsConfigError, match=r"certificate of x\.example may not issue"):
            Authority.load(issued.chain_pem, issued.key_pem)


class TestRevocation:
    def test_list(self, authority):
        good, bad = (authority.issue(["x"], now=NOW) for _ in range(2))
        authority.revoke(bad, reason=x509.ReasonFlags.key_compromise, now=NOW)
        authority.revoke(bad.certificate, now=NOW + timedelta(days=1))  # changes nothing
        authority.revoke(77, now=NOW)
        crl = authority.crl(now=NOW)
        assert crl.is_signature_valid(authority.certificate.public_key())
        assert crl.issuer == authority.certificate.subject
        assert {entry.serial_number for entry in crl} == {bad.certificate.serial_number, 77}
        assert crl.get_revoked_certificate_by_serial_number(good.certificate.serial_number) is None
        entry = crl.get_revoked_certificate_by_serial_number(bad.certificate.serial_number)
        assert entry.revocation_date_utc == NOW.replace(microsecond=0)
        assert extension(entry, x509.CRLReason).value.reason is x509.ReasonFlags.key_compromise
        assert crl.last_update_utc < NOW < crl.next_update_utc
        assert extension(crl, x509.AuthorityKeyIdentifier).value.key_identifier

    def test_numbers_rise(self):
        authority = Authority.make(now=NOW)
        numbers = [
            extension(authority.crl(now=NOW), x509.CRLNumber).value.crl_number for _ in range(3)
        ]
        assert numbers == sorted(set(numbers))

    def test_empty_list(self):
        ca = ThrowawayCA(now=NOW)
        assert list(x509.load_pem_x509_crl(ca.crl_pem)) == []


class TestNames:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("localhost", "DNS localhost"),
            ("API.Example.ORG.", "DNS api.example.org"),
            ("*.example.org", "DNS *.example.org"),
            ("my_service", "DNS my_service"),
            ("xn--bcher-kva.example", "DNS xn--bcher-kva.example"),
            ("10.0.0.1", "IP 10.0.0.1"),
            ("[2001:db8::1]", "IP 2001:db8::1"),
            ("ada@example.org", "email ada@example.org"),
            ("spiffe://example.org/app", "URI spiffe://example.org/app"),
            ("https://user@example.org/", "URI https://user@example.org/"),
            ("urn:uuid:0", "URI urn:uuid:0"),
        ],
    )
    def test_forms(self, text, shown):
        assert format_name(parse_name(text)) == shown

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "a name is empty"),
            ("  ", "a name is empty"),
            ("bücher.example", "xn--"),
            ("localhost:4433", "has a port, which certificates cannot hold: write localhost"),
            ("[::1]:4433", r"has a port, which certificates cannot hold: write \[::1\]"),
            ("fe80::1%eth0", "has a zone"),
            ("10.0.0.0/8", "neither a DNS name"),
            ("300.1.1.1", "not a valid IP address"),
            ("Ada Lovelace", "neither a DNS name"),
            ("a..b", "neither a DNS name"),
            ("*", "neither a DNS name"),
            ("a.*.b", "neither a DNS name"),
            ("-a.b", "neither a DNS name"),
            ("a" * 64 + ".b", "neither a DNS name"),
            (".".join(["a" * 60] * 5), "neither a DNS name"),
            ("@example.org", "not an email address"),
            ("a b@example.org", "not an email address"),
            ("http://a b", "not a URI"),
        ],
    )
    def test_refused(self, text, message):
        with pytest.raises(TlsConfigError, match=message):
            parse_name(text)

    def test_each_once(self):
        assert len(parse_names(["a", "A", "a.", "b"])) == 2

    @settings(deadline=None, derandomize=True)
    @given(st.text(max_size=80))
    def test_any_text_is_a_name_or_a_clear_error(self, text):
        with contextlib.suppress(TlsConfigError):
            x509.SubjectAlternativeName([parse_name(text)]).public_bytes()

    def test_foreign_kinds_are_shown(self):
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
        assert format_name(x509.DirectoryName(name)) == "directory CN=x"
        other = x509.RegisteredID(ExtendedKeyUsageOID.SERVER_AUTH)
        assert format_name(other).startswith("other ")


class TestThrowawayCA:
    def test_defaults(self):
        ca = ThrowawayCA()
        names = extension(ca.issue_server().certificate, x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["localhost"]
        client = ca.issue_client("ada", "ada@example.org")
        assert client.common_name == "ada"
        assert x509.load_pem_x509_certificate(ca.ca_pem).public_bytes(
            serialization.Encoding.DER
        ) == (ca.ca_der)
        assert "Throwaway" in repr(ca)

    def test_expired(self):
        ca = ThrowawayCA(now=NOW)
        for issued in (ca.expired_client("ada"), ca.expired_server()):
            assert issued.certificate.not_valid_after_utc < NOW - timedelta(days=1)

    def test_revoke(self):
        ca = ThrowawayCA(now=NOW)
        bad = ca.issue_client()
        ca.revoke(bad)
        (entry,) = x509.load_pem_x509_crl(ca.crl_pem)
        assert entry.serial_number == bad.certificate.serial_number

    def test_write(self, tmp_path):
        ca = ThrowawayCA()
        client = ca.issue_client("ada")
        written = ca.write(tmp_path / "new", client=client)
        assert written.ca.read_bytes() == ca.ca_pem
        assert written.client_certificate.read_bytes() == client.chain_pem
        assert written.client_key.stat().st_mode & 0o777 == 0o600
        assert not (tmp_path / "new" / "ca.key").exists()
        ca.write(tmp_path / "new")  # replaces
        x509.load_pem_x509_crl(written.crl.read_bytes())


def contexts(folder, *, crl=False):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context, name in ((server, "server"), (client, "client")):
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
        context.load_verify_locations(folder / "ca.pem")
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    if crl:
        server.load_verify_locations(folder / "ca.crl")
        server.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return server, client


def handshake(server_context, client_context, name="localhost"):
    """Mutual TLS in memory; returns the certificates that client and server were shown."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(down, up, server_hostname=name)
    server = server_context.wrap_bio(up, down, server_side=True)
    waiting = [client, server]
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    assert not waiting
    server.write(b"x")
    assert client.read(1) == b"x"
    return client.getpeercert(), server.getpeercert()


class TestHandshake:
    @pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
    def test_mutual_tls(self, tmp_path, name):
        ca = ThrowawayCA()
        ca.write(tmp_path, client=ca.issue_client("ada", "ada@example.org"))
        seen_by_client, seen_by_server = handshake(*contexts(tmp_path, crl=True), name)
        assert ("DNS", "localhost") in seen_by_client["subjectAltName"]
        assert (("commonName", "ada"),) in seen_by_server["subject"]
        assert seen_by_server["subjectAltName"] == (("email", "ada@example.org"),)

    def test_through_an_intermediate(self, tmp_path):
        ca = ThrowawayCA()
        below = ca.authority.subordinate()
        client = below.issue([], usage=Usage.CLIENT, common_name="ada")
        ca.write(tmp_path, server=below.issue(["localhost"]), client=client)
        handshake(*contexts(tmp_path))

    @pytest.mark.parametrize("case", ["expired", "revoked", "wrong authority", "wrong usage"])
    def test_bad_clients_are_refused(self, tmp_path, case):
        ca = ThrowawayCA()
        client = {
            "expired": ca.expired_client,
            "revoked": ca.issue_client,
            "wrong authority": ThrowawayCA().issue_client,
            "wrong usage": ca.issue_server,
        }[case]()
        if case == "revoked":
            ca.revoke(client)
        ca.write(tmp_path, client=client)
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            handshake(*contexts(tmp_path, crl=True))

    def test_bad_server_is_refused(self, tmp_path):
        ca = ThrowawayCA()
        ca.write(tmp_path, server=ca.issue_server("other.example"))
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            handshake(*contexts(tmp_path))


class TestOtherVerifier:
    """The verifier of `cryptography`, whose profile is that of browsers (CABF)."""

    def policy(self, ca):
        store = verification.Store([x509.load_pem_x509_certificate(ca.ca_pem)])
        return verification.PolicyBuilder().store(store)

    @pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
    def test_server(self, name):
        ca = ThrowawayCA()
        verifier = self.policy(ca).build_server_verifier(parse_name(name))
        assert len(verifier.verify(ca.issue_server().certificate, [])) == 2

    def test_client(self):
        ca = ThrowawayCA()
        below = ca.authority.subordinate()
        issued = below.issue(["ada@example.org"], usage=Usage.CLIENT)
        verifier = self.policy(ca).build_client_verifier()
        verified = verifier.verify(issued.certificate, list(issued.intermediates))
        assert len(verified.chain) == 3


@needs_openssl
class TestOpenSsl:
    @pytest.mark.parametrize("who", ["server", "client"])
    def test_verify_strictly(self, tmp_path, who):
        ThrowawayCA().write(tmp_path)
        result = openssl(
            *("verify", "-x509_strict", "-check_ss_sig", "-purpose", f"ssl{who}"),
            *("-crl_check", "-CRLfile", tmp_path / "ca.crl"),
            *("-CAfile", tmp_path / "ca.pem", tmp_path / f"{who}.pem"),
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout.strip().endswith("OK")

    @pytest.mark.parametrize("password", ["", "open sesame"])
    def test_pkcs12(self, tmp_path, password):
        issued = ThrowawayCA().issue_client()
        path = tmp_path / "client.p12"
        path.write_bytes(issued.pkcs12(password))
        result = openssl("pkcs12", "-in", path, "-passin", f"pass:{password}", "-nodes")
        assert result.returncode == 0, result.stderr
        assert "BEGIN PRIVATE KEY" in result.stdout
        assert issued.chain_pem.decode() in result.stdout

    def test_fingerprint(self, tmp_path):
        issued = ThrowawayCA().issue_server()
        result = openssl(
            "x509", "-noout", "-fingerprint", "-sha256", stdin=issued.chain_pem.decode()
        )
        assert result.stdout.strip().partition("=")[2] == issued.fingerprint
