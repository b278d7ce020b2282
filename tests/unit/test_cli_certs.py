"""`jetstream certs`: what it writes, with which modes, what it says, and how it refuses."""

import json
import os
import shutil
import ssl
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID
from jetstream._certs import Authority, Usage
from jetstream._errors import TlsConfigError
from jetstream._material import load_identity, read
from jetstream._testing_ca import ThrowawayCA
from jetstream.cli import app
from jetstream.cli._describe import describe, render

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SECRET = {"ca.key", "server.key", "client.key", "client.p12"}
PUBLIC = {"ca.pem", "server.pem", "server.crt", "server.spki", "client.pem"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("JETSTREAM_"):
            monkeypatch.delenv(name)
    return tmp_path


def run(*args, env=None, stdin=None, code=0):
    result = CliRunner().invoke(app, [*map(str, args)], env=env, input=stdin, prog_name="jetstream")
    assert result.exit_code == code, result.output
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def mode(path):
    return stat.S_IMODE(Path(path).stat().st_mode)


def content(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def content_names(folder):
    return [path.name for path in Path(folder).iterdir()]


def certificate(path):
    return x509.load_pem_x509_certificate(Path(path).read_bytes())


def names_of(path):
    names = certificate(path).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return [str(name.value) for name in names.value]


class TestInit:
    def test_files(self, folder):
        output = run("certs", "init", "dev")
        assert set(content("dev")) == SECRET | PUBLIC
        assert all(f"wrote dev/{name}" in output for name in SECRET | PUBLIC)
        assert "nothing was put in a trust store" in output
        server = certificate("dev/server.pem")
        assert Path("dev/server.crt").read_bytes() == server.public_bytes(
            serialization.Encoding.DER
        )
        assert Path("dev/server.spki").read_text().strip() in output
        assert names_of("dev/server.pem") == ["localhost", "127.0.0.1", "::1"]
        server.verify_directly_issued_by(certificate("dev/ca.pem"))
        certificate("dev/client.pem").verify_directly_issued_by(certificate("dev/ca.pem"))
        for who in ("server", "client"):
            load_identity(f"dev/{who}.pem", f"dev/{who}.key")

    def test_default_folder(self):
        run("certs", "init")
        assert Path("certs/ca.pem").exists()

    @pytest.mark.parametrize("umask", [0, 0o022, 0o277])
    def test_modes(self, umask):
        Path("dev").mkdir()
        before = os.umask(umask)
        try:
            run("certs", "init", "dev")
        finally:
            os.umask(before)
        assert {mode(Path("dev", name)) for name in SECRET} == {0o600}
        assert {mode(Path("dev", name)) for name in PUBLIC} == {0o644 & ~umask}

    def test_keys_are_never_readable_by_others(self, monkeypatch):
        modes = []
        real = os.open

        def spy(path, flags, mode=0o777, **kwargs):
            if flags & os.O_CREAT:
                modes.append((Path(path).name.lstrip("."), flags, mode))
            return real(path, flags, mode, **kwargs)

        monkeypatch.setattr(os, "open", spy)
        run("certs", "init", "dev")
        run("certs", "init", "dev", "--force")
        secret = [each for each in modes if ".key" in each[0] or ".p12" in each[0]]
        assert len(secret) == 8
        assert all(mode == 0o600 and flags & os.O_EXCL for _, flags, mode in secret)

    def test_options(self):
        run("certs", "init", "dev", "--name", "api.local", "--name", "10.0.0.7", "--days", "3")
        assert names_of("dev/server.pem")[3:] == ["api.local", "10.0.0.7"]
        server = certificate("dev/server.pem")
        assert server.not_valid_after_utc - server.not_valid_before_utc < timedelta(days=3)

    @pytest.mark.parametrize(
        ("common_name", "names"), [("ada@example.org", ["ada@example.org"]), ("Ada Lovelace", None)]
    )
    def test_common_name(self, common_name, names):
        run("certs", "init", "dev", "--common-name", common_name)
        client = certificate("dev/client.pem")
        (attribute,) = client.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        assert attribute.value == common_name
        if names:
            assert names_of("dev/client.pem") == names

    @pytest.mark.parametrize(
        ("env", "password"),
        [({}, b""), ({"JETSTREAM_P12_PASSWORD": "open sesame"}, b"open sesame")],
    )
    def test_p12_password(self, env, password):
        run("certs", "init", "dev", env=env)
        opened = pkcs12.load_pkcs12(Path("dev/client.p12").read_bytes(), password)
        assert opened.cert is not None
        assert opened.cert.certificate == certificate("dev/client.pem")
        assert opened.additional_certs == []

    def test_environment(self):
        env = {"JETSTREAM_CERTS_INIT_NAME": "a.local b.local", "JETSTREAM_CERTS_INIT_DAYS": "2"}
        run("certs", "init", "dev", env=env)
        assert names_of("dev/server.pem")[3:] == ["a.local", "b.local"]

    @pytest.mark.parametrize("existing", sorted(SECRET | PUBLIC))
    def test_nothing_is_overwritten(self, existing):
        Path("dev").mkdir()
        Path("dev", existing).write_text("precious")
        output = run("certs", "init", "dev", code=1)
        assert f"dev/{existing} already exists; nothing was written and nothing is lost" in output
        assert "--renew keeps the authority" in output
        assert content("dev") == {existing: b"precious"}

    def test_a_dangling_link_is_not_followed(self, folder):
        Path("dev").mkdir()
        Path("dev/server.key").symlink_to(folder / "elsewhere")
        run("certs", "init", "dev", code=1)
        run("certs", "init", "dev", "--force")
        assert not Path("elsewhere").exists()
        assert not Path("dev/server.key").is_symlink()

    def test_force(self):
        run("certs", "init", "dev")
        before = content("dev")
        Path("dev/server.key").chmod(0o644)
        run("certs", "init", "dev", "--force")
        after = content("dev")
        assert set(after) == set(before)
        assert all(after[name] != before[name] for name in before)
        assert mode("dev/server.key") == 0o600

    def test_renew(self):
        run("certs", "init", "dev")
        before = content("dev")
        run("certs", "init", "dev", "--renew", "--name", "new.local")
        after = content("dev")
        assert {name for name in before if before[name] == after[name]} == {"ca.pem", "ca.key"}
        certificate("dev/server.pem").verify_directly_issued_by(certificate("dev/ca.pem"))

    def test_renew_needs_an_authority(self):
        output = run("certs", "init", "dev", "--renew", code=1)
        assert "no authority in dev: dev/ca.pem is missing; 'jetstream certs init dev'" in output

    def test_usage_errors(self):
        assert "choose one" in run("certs", "init", "--renew", "--force", code=2)
        assert "--days" in run("certs", "init", "--days", "0", code=2)
        assert "No such option" in run("certs", "init", "--nope", code=2)

    def test_bad_name(self):
        output = run("certs", "init", "dev", "--name", "localhost:4433", code=1)
        assert "has a port, which certificates cannot hold: write localhost" in output
        assert not Path("dev").exists()

    def test_folder_is_a_file(self):
        Path("dev").write_text("")
        assert "dev: File exists; check the path" in run("certs", "init", "dev", code=1)

    def test_a_folder_in_the_way(self):
        Path("dev/server.pem").mkdir(parents=True)
        assert "Is a directory" in run("certs", "init", "dev", "--force", code=1)
        assert set(content_names("dev")) == {"server.pem"}


class TestIssue:
    @pytest.fixture(autouse=True)
    def authority(self, folder):
        run("certs", "init")

    def purposes(self, path):
        usage = certificate(path).extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        return set(usage.value)

    def test_server(self):
        output = run("certs", "issue", "api.local", "10.0.0.1", "spiffe://x/y")
        assert "wrote certs/api.local.pem" in output
        assert names_of("certs/api.local.pem") == ["api.local", "10.0.0.1", "spiffe://x/y"]
        assert self.purposes("certs/api.local.pem") == {ExtendedKeyUsageOID.SERVER_AUTH}
        made = {name for name in content_names("certs") if name.startswith("api")}
        assert made == {"api.local.pem", "api.local.key", "api.local.crt", "api.local.spki"}
        assert mode("certs/api.local.key") == 0o600
        certificate("certs/api.local.pem").verify_directly_issued_by(certificate("certs/ca.pem"))

    def test_client(self):
        run("certs", "issue", "--client", "ada@example.org", "--common-name", "Ada Lovelace")
        assert names_of("certs/ada@example.org.pem") == ["ada@example.org"]
        assert self.purposes("certs/ada@example.org.pem") == {ExtendedKeyUsageOID.CLIENT_AUTH}
        assert mode("certs/ada@example.org.p12") == 0o600
        assert not Path("certs/ada@example.org.crt").exists()

    def test_client_with_only_a_common_name(self):
        run("certs", "issue", "--client", "--common-name", "Ada Lovelace")
        assert Path("certs/Ada_Lovelace.pem").exists()

    def test_both(self):
        run("certs", "issue", "--both", "node-1", env={"JETSTREAM_CERTS_ISSUE_OUT": "node"})
        expected = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
        assert self.purposes("certs/node.pem") == expected
        endings = {name for name in content_names("certs") if name.startswith("node")}
        assert endings == {f"node.{end}" for end in ("pem", "key", "p12", "crt", "spki")}

    @pytest.mark.parametrize(
        ("name", "stem"),
        [
            ("*.example.org", "_wildcard.example.org"),
            ("::1", "_1"),
            ("spiffe://example.org/../../etc", "spiffe_example.org_.._.._etc"),
            ("spiffe://" + "x" * 300, "spiffe_" + "x" * 93),
        ],
    )
    def test_file_names(self, name, stem):
        run("certs", "issue", name)
        assert Path("certs", f"{stem}.pem").exists()

    def test_other_folder(self, folder):
        run("certs", "init", "other")
        run("certs", "issue", "x", env={"JETSTREAM_CERTS_ISSUE_DIR": "other"})
        certificate("other/x.pem").verify_directly_issued_by(certificate("other/ca.pem"))

    def test_refuses_to_overwrite(self):
        run("certs", "issue", "x")
        before = content("certs")
        assert "--force replaces them" in run("certs", "issue", "x", code=1)
        assert content("certs") == before
        run("certs", "issue", "x", "--force")
        assert content("certs")["x.pem"] != before["x.pem"]

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            ([], "at least one NAME"),
            (["--client", "--server", "x"], "exclude each other"),
            (["--common-name", "x"], "A server needs a NAME"),
            (["ca"], "would replace the authority's files"),
            (["x", "--out", "CA"], "would replace the authority's files"),
            (["x", "--out", "../x"], "--dir names the folder"),
            (["x", "--out", ".x"], "--dir names the folder"),
        ],
    )
    def test_usage_errors(self, args, message):
        assert message in run("certs", "issue", *args, code=2)

    def test_no_authority(self):
        output = run("certs", "issue", "x", "--dir", "none", code=1)
        assert "no authority in none: none/ca.pem is missing" in output

    def test_encrypted_authority(self):
        key = serialization.load_pem_private_key(Path("certs/ca.key").read_bytes(), None)
        locked = serialization.BestAvailableEncryption(b"pw")
        form = serialization.PrivateFormat.PKCS8
        Path("certs/ca.key").write_bytes(
            key.private_bytes(serialization.Encoding.PEM, form, locked)
        )
        assert "certs/ca.key is encrypted" in run("certs", "issue", "x", code=1)
        assert "wrong password for certs/ca.key" in run("certs", "issue", "x", stdin="no\n", code=1)
        run("certs", "issue", "x", stdin="pw\n")


class TestInspect:
    def test_snapshot(self):
        authority = Authority.make(now=NOW)
        issued = authority.issue(["localhost", "::1"], usage=Usage.BOTH, now=NOW)
        (facts,) = describe(read(issued.chain_pem, wanted=""), None, NOW)
        assert render(facts) == (
            "certificate\n"
            "  common name  localhost\n"
            f"  SHA-256      {issued.fingerprint}\n"
            "  subject      CN=localhost,O=JetStream development certificate\n"
            "  issuer       CN=JetStream Dev CA,O=JetStream development certificate\n"
            f"  serial       {issued.certificate.serial_number:x}\n"
            "  valid from   2026-03-01T11:00:00Z\n"
            "  valid until  2026-03-15T10:59:59Z (expires in 13 days)\n"
            "  names        DNS localhost, IP ::1\n"
            "  use          server, client\n"
            f"  SPKI hash    {issued.spki_sha256}\n"
            "  key          ECDSA P-256"
        )

    @pytest.mark.parametrize(
        ("after", "state"),
        [
            (timedelta(days=-1), "NOT YET VALID, starts in less than a day"),
            (timedelta(), "expires in 13 days"),
            (timedelta(days=12), "expires in 1 day"),
            (timedelta(days=13, hours=22), "expires in less than a day"),
            (timedelta(days=14), "EXPIRED less than a day ago"),
            (timedelta(days=16), "EXPIRED 2 days ago"),
        ],
    )
    def test_states(self, after, state):
        issued = Authority.make(now=NOW).issue(["x"], now=NOW)
        (facts,) = describe(read(issued.chain_pem, wanted=""), None, NOW + after)
        assert facts["state"] == state
        assert facts["expired"] is state.startswith("EXPIRED")
        assert f"({state})" in render(facts)

    def test_authority(self):
        run("certs", "init")
        assert run("certs", "inspect", "certs/ca.pem").startswith("authority certificate\n")

    def test_der(self):
        run("certs", "init")
        output = run("certs", "inspect", "certs/server.crt")
        assert output == run("certs", "inspect", "certs/server.pem")
        assert Path("certs/server.spki").read_text().strip() in output

    def test_chain_and_json(self):
        issued = ThrowawayCA().authority.subordinate().issue(["localhost"])
        Path("chain.pem").write_bytes(issued.chain_pem)
        output = run("certs", "inspect", "chain.pem")
        assert output.count("\n\n") == 1
        found = json.loads(run("certs", "inspect", "--json", "chain.pem"))
        assert found["file"] == "chain.pem"
        first, second = found["items"]
        assert first["sha256"] == issued.fingerprint
        assert first["names"] == ["DNS localhost"]
        assert first["days_left"] == 13
        assert first["expired"] is False
        assert second["kind"] == "authority certificate"
        env = {"JETSTREAM_CERTS_INSPECT_JSON": "1"}
        assert json.loads(run("certs", "inspect", "chain.pem", env=env)) == found

    @pytest.mark.parametrize("name", ["ca.key", "server.key", "client.p12"])
    def test_keys_are_not_printed(self, name):
        run("certs", "init")
        output = run("certs", "inspect", f"certs/{name}")
        assert "private key (not shown)" in output
        body = Path("certs", name.replace("p12", "key")).read_text().splitlines()[1]
        assert body not in output
        assert "BEGIN" not in output

    def test_encrypted_pkcs12(self):
        Path("a.p12").write_bytes(ThrowawayCA().issue_client("ada").pkcs12("pw"))
        assert "Password for a.p12" in run("certs", "inspect", "a.p12", stdin="pw\n")
        assert "common name  ada" in run("certs", "inspect", "a.p12", "--password", "pw")
        run("certs", "inspect", "a.p12", env={"JETSTREAM_P12_PASSWORD": "pw"})
        output = run("certs", "inspect", "a.p12", "--password", "no", code=1)
        assert "wrong password for a.p12" in output
        output = run("certs", "inspect", "a.p12", code=1)
        assert "a.p12 is encrypted: give --password or set JETSTREAM_P12_PASSWORD" in output

    def test_encrypted_key(self):
        key = ThrowawayCA().issue_client().key
        data = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"pw"),
        )
        Path("a.key").write_bytes(data)
        assert run("certs", "inspect", "a.key") == "encrypted private key\n"

    def test_request(self):
        issued = ThrowawayCA().issue_server("x.example")
        names = x509.SubjectAlternativeName([x509.DNSName("x.example")])
        request = (
            x509.CertificateSigningRequestBuilder(issued.certificate.subject)
            .add_extension(names, critical=False)
            .sign(issued.key, hashes.SHA256())
        )
        Path("a.csr").write_bytes(request.public_bytes(serialization.Encoding.PEM))
        output = run("certs", "inspect", "a.csr")
        assert output.startswith("certificate signing request\n  common name  x.example\n")
        assert issued.spki_sha256 in output

    def test_revocation_list(self):
        ca = ThrowawayCA(now=NOW)
        ca.authority.revoke(255, now=NOW)
        (facts,) = describe(read(ca.crl_pem, wanted=""), None, NOW)
        assert "next due     2026-03-08T10:59:59Z (due in 6 days)" in render(facts)
        assert "revoked      ff" in render(facts)
        (facts,) = describe(read(ca.crl_pem, wanted=""), None, NOW + timedelta(days=8))
        assert "(OVERDUE)" in render(facts)

    def test_standard_input(self):
        pem = ThrowawayCA().issue_client("ada").chain_pem
        assert "common name  ada" in run("certs", "inspect", "-", stdin=pem)

    def test_control_characters_are_escaped(self):
        issued = ThrowawayCA().issue_client("a\x1b[31m\nb\u202ec")
        Path("a.pem").write_bytes(issued.chain_pem)
        output = run("certs", "inspect", "a.pem")
        assert "\x1b" not in output
        assert "\u202e" not in output
        assert r"common name  a\x1b[31m\nb\u202ec" in output

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (None, "no such file in "),
            (b"", "a.pem is empty"),
            (b"\x00\x01", "a.pem holds neither PEM nor DER"),
            (b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", "is damaged"),
        ],
    )
    def test_mistakes(self, data, message):
        if data is not None:
            Path("a.pem").write_bytes(data)
        output = run("certs", "inspect", "a.pem", code=1)
        assert output.startswith("Error: ")
        assert message in output

    def test_folder(self, folder):
        assert "is a folder" in run("certs", "inspect", ".", code=1)


class TestConventions:
    def options(self, command=app, path=("JETSTREAM",)):
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                assert below is not None
                yield from self.options(below, (*path, name.upper()))
        else:
            yield from ((path, each) for each in command.params if isinstance(each, click.Option))

    def test_every_option_has_the_variable_of_its_name(self):
        found = list(self.options())
        assert len(found) > 15
        for path, option in found:
            name = option.opts[0].lstrip("-").replace("-", "_").upper()
            automatic = "_".join([*path, (option.name or "").upper()])
            variable = option.envvar or automatic
            assert variable in ("JETSTREAM_P12_PASSWORD", "_".join([*path, name]))
            assert option.show_envvar
            assert option.help

    def test_help(self):
        assert "certs" in run("--help")
        assert all(name in run("certs", "--help") for name in ("init", "issue", "inspect"))
        assert "JETSTREAM_CERTS_INIT_DAYS" in run("certs", "init", "-h")

    def test_unknown_command(self):
        assert "No such command" in run("nope", code=2)

    def test_errors_of_the_system_without_a_file_are_not_hidden(self, monkeypatch):
        def fail(*args, **kwargs):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr("jetstream._files.write_files", fail)
        result = CliRunner().invoke(app, ["certs", "init"])
        assert isinstance(result.exception, OSError)

    def test_help_does_not_import_cryptography(self):
        code = (
            "import sys\n"
            "from jetstream.cli import app\n"
            "try:\n    app(['certs', 'init', '--help'])\n"
            "except SystemExit:\n"
            "    print('loaded' if 'cryptography' in sys.modules else 'light')\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.endswith("light\n"), done.stderr

    def test_module(self, folder):
        def module(*args):
            command = [sys.executable, "-m", "jetstream", *args]
            return subprocess.run(command, capture_output=True, text=True, cwd=folder)

        done = module("certs", "init")
        assert done.returncode == 0, done.stderr
        assert mode("certs/ca.key") == 0o600
        done = module("certs", "init")
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.startswith("Error: certs/ca.key, certs/ca.pem, ")
        assert "Traceback" not in done.stderr
        assert module("certs", "init", "--days", "x").returncode == 2


class TestTools:
    @pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is missing")
    def test_openssl(self):
        run("certs", "init")
        for who in ("server", "client"):
            command = ["openssl", "verify", "-x509_strict", "-purpose", f"ssl{who}"]
            command += ["-CAfile", "certs/ca.pem", f"certs/{who}.pem"]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.stdout == f"certs/{who}.pem: OK\n", done.stderr
        command = ["openssl", "pkcs12", "-in", "certs/client.p12", "-passin", "pass:", "-nodes"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("BEGIN CERTIFICATE") == 1

    def test_mutual_tls_with_the_files(self):
        run("certs", "init")
        server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for context, who in ((server_context, "server"), (client_context, "client")):
            context.load_cert_chain(f"certs/{who}.pem", f"certs/{who}.key")
            context.load_verify_locations("certs/ca.pem")
            context.verify_mode = ssl.CERT_REQUIRED
            context.verify_flags |= ssl.VERIFY_X509_STRICT
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = client_context.wrap_bio(down, up, server_hostname="localhost")
        server = server_context.wrap_bio(up, down, server_side=True)
        for side in (client, server):
            with pytest.raises(ssl.SSLWantReadError):
                side.do_handshake()
        client.do_handshake()
        server.do_handshake()
        shown = server.getpeercert()
        assert shown is not None
        assert (("commonName", "client"),) in shown["subject"]

    def test_an_error_is_one_sentence(self):
        with pytest.raises(TlsConfigError) as caught:
            read("nowhere.pem", wanted="a certificate")
        assert "\n" not in str(caught.value)
