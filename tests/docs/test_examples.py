"""The programs in `examples/` run, and do what they are there to show."""

from __future__ import annotations

import re
import shlex
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from jetstream import I32, ClientTls, connect, service

from tests.docs.pages import PORT, REPOSITORY, is_like
from tests.docs.programs import PATIENCE, run_program, server_program
from tests.helpers import run

EXAMPLES = REPOSITORY / "examples"
HTTP = EXAMPLES / "http"


def test_echo(folder: Path, port: str) -> None:
    for name in ("echo_server.py", "echo_client.py"):
        (folder / name).write_text((EXAMPLES / name).read_text().replace(PORT, port))
    with server_program("echo_server.py", cwd=folder):
        peer, answer = run_program(folder / "echo_client.py", cwd=folder).splitlines()
    assert peer.startswith("CN=localhost SHA-256 ")
    assert answer == "hello"


def test_own_protocol(tmp_path: Path) -> None:
    lines = run_program(EXAMPLES / "own_protocol.py", cwd=tmp_path).splitlines()
    assert lines[:4] == [
        "server: ada is here, speaking tally/1",
        "client: the sum is 42",
        "client: a hundred sums, each on a stream of its own: True",
        "client: numbers seen: 206",
    ]


def test_authorization(tmp_path: Path) -> None:
    lines = run_program(EXAMPLES / "authorization.py", cwd=tmp_path).splitlines()
    refused = [line for line in lines if "jetstream::permission_denied" in line]
    assert [line.split(": ")[:2] for line in refused] == [
        ["importer", "erase"],
        ["nobody", "write"],
        ["nobody", "erase"],
    ]
    assert "ada: erase: None" in lines


def test_values(tmp_path: Path) -> None:
    lines = run_program(EXAMPLES / "values.py", cwd=tmp_path).splitlines()
    assert lines == [
        "True 10 2026-11-22 09:30:00+00:00",
        "a fragile parcel, 30 by 40",
        "a letter of 2 pages",
        "nothing was sent: Depot.describe.content.size.height: 70000 does not fit u16, "
        "which holds 0 to 65535",
    ]


class TestDemo:
    @pytest.mark.slow
    def test_it_shows_everything_and_keeps_its_certificates(self, tmp_path: Path) -> None:
        first = run_program(EXAMPLES / "demo.py", cwd=tmp_path)
        assert "made now" in first
        assert re.search(r"ping\(\) +None", first)
        assert re.search(r"echo\(\"hello\"\) +'hello'", first)
        assert re.search(r"add\(2, 40\) +42", first)
        assert re.search(r"the client sees +CN=localhost\n +SHA-256 [0-9A-F:]{95}\n +DNS", first)
        assert re.search(r"the server sees +CN=client\n +SHA-256 [0-9A-F:]{95}\n +DNS", first)
        assert 'TlsError: rejected by the peer: client certificate rejected: issuer "Some' in first
        assert re.search(r"[0-9,]+ calls per second", first)
        trips = re.findall(r"(first visit|again|with 0-RTT) +(\d+) round trip", first)
        first_visit, again, early = (int(count) for _, count in trips)
        assert first_visit > again > early >= 1
        certificate = (tmp_path / ".demo" / "certs" / "client.pem").read_bytes()

        second = run_program(EXAMPLES / "demo.py", cwd=tmp_path)
        assert "from before" in second
        assert (tmp_path / ".demo" / "certs" / "client.pem").read_bytes() == certificate

    def test_what_is_wrong_is_said(self, tmp_path: Path, certificates: Path) -> None:
        folder = tmp_path / "certs"
        shutil.copytree(certificates, folder)
        (folder / "server.key").unlink()
        done = subprocess.run(
            [sys.executable, EXAMPLES / "demo.py", "--certificates", folder],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 1
        assert "the demonstration failed: " in done.stderr
        assert "server.key" in done.stderr
        assert "Traceback" not in done.stderr


@service
class Echo:
    """As the example has it."""

    async def echo(self, message: str) -> str: ...
    async def add(self, a: I32, b: I32) -> I32: ...
    async def who_am_i(self) -> str: ...


@pytest.mark.slow
class TestHttp:
    """`examples/http/server.py`, with a folder of certificates that is there already."""

    @staticmethod
    def options(*, mtls: bool) -> list[str]:
        return ["--port", "0", "--certificates", "certs", *(["--mtls"] if mtls else [])]

    @staticmethod
    def port_of(line: str) -> str:
        """The port in what the server says of itself; TCP's and UDP's are the same."""
        return re.findall(r":(\d+)\b", line)[0]

    @pytest.mark.parametrize("mtls", [False, True], ids=["plain", "mtls"])
    def test_everything_on_one_port(self, folder: Path, mtls: bool) -> None:
        context = ssl.create_default_context(cafile="certs/ca.pem")
        tls = ClientTls("certs/ca.pem")
        if mtls:
            context.load_cert_chain("certs/client.pem", "certs/client.key")
            tls = ClientTls("certs/ca.pem", "certs/client.pem", "certs/client.key")
        who = "client" if mtls else "nobody"
        program = server_program(HTTP / "server.py", *self.options(mtls=mtls), cwd=folder)
        with program as line:
            port = self.port_of(line)
            assert "HTTP/1.1, HTTP/2" in line
            assert f"UDP 127.0.0.1:{port}" in line
            url = f"https://localhost:{port}"
            for http2 in (True, False):
                with httpx.Client(
                    base_url=url, verify=context, http2=http2, trust_env=False
                ) as client:
                    said = client.get("/api/whoami")
                    assert said.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
                    assert said.json()["name"] == who
                    assert said.json()["http"] == ("2" if http2 else "1.1")
                    assert client.post("/echo/add", json={"a": 2, "b": 40}).json() == 42
                    assert client.post("/echo/who_am_i", json={}).json() == who
                    page = client.get("/").text
                    for asset in re.findall(r'(?:src|href)="([^"]+)"', page):
                        assert client.get(f"/{asset}").status_code == 200, asset
                    assert client.get("/nowhere").status_code == 404

            async def by_its_own_protocol() -> str:
                async with connect(f"localhost:{port}", tls=tls) as session:
                    return await session.channel(Echo).who_am_i()

            assert run(by_its_own_protocol) == who

    def test_nobody_without_a_certificate(self, folder: Path) -> None:
        context = ssl.create_default_context(cafile="certs/ca.pem")
        program = server_program(HTTP / "server.py", *self.options(mtls=True), cwd=folder)
        with (
            program as line,
            httpx.Client(verify=context, http2=True, trust_env=False) as client,
            pytest.raises(httpx.TransportError),
        ):
            client.get(f"https://localhost:{self.port_of(line)}/api/whoami")

    def test_it_makes_its_certificates(self, tmp_path: Path) -> None:
        for _ in range(2):
            with server_program(HTTP / "server.py", "--port", "0", cwd=tmp_path) as line:
                context = ssl.create_default_context(cafile=tmp_path / ".demo/certs/ca.pem")
                with httpx.Client(verify=context, http2=True, trust_env=False) as client:
                    url = f"https://localhost:{self.port_of(line)}/api/whoami"
                    assert client.get(url).status_code == 200

    @pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
    @pytest.mark.parametrize("mtls", [False, True], ids=["plain", "mtls"])
    def test_curl_as_its_page_shows(self, folder: Path, mtls: bool) -> None:
        kind = "console mtls" if mtls else "console"
        text = (HTTP / "README.md").read_text()
        shown = re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        calls = re.findall(r"^\$ (curl .*)\n([^$]*)", "".join(shown), re.MULTILINE)
        assert len(calls) == (2 if mtls else 4)
        program = server_program(HTTP / "server.py", *self.options(mtls=mtls), cwd=folder)
        with program as line:
            for command, answer in calls:
                here = command.replace(".demo/certs", "certs")
                here = here.replace("8443", self.port_of(line))
                done = subprocess.run(
                    [*shlex.split(here), "--silent", "--show-error"],
                    cwd=folder,
                    capture_output=True,
                    text=True,
                    timeout=PATIENCE,
                    check=False,
                )
                assert done.returncode == 0, done.stderr
                assert is_like(done.stdout, answer), f"{command} says {done.stdout}"
