"""TLS settings: checked when they are written, loaded once; never a key or a password shown."""

import dataclasses

import pytest
from jetstream import ClientTls, ClientVerifier, ServerTls, TlsConfigError, _core
from jetstream._tls import _as_check
from jetstream.testing import ThrowawayCA

CA = ThrowawayCA()
SERVER = CA.issue_server()
CLIENT = CA.issue_client()
ALPNS = ("jetstream",)


@pytest.fixture
def recorded(monkeypatch):
    """What the core is given."""
    calls: dict[str, object] = {}

    def record(*args: object, **kwargs: object) -> str:
        calls.update(kwargs, args=args)
        return "loaded"

    monkeypatch.setattr(_core, "ServerTls", record)
    monkeypatch.setattr(_core, "ClientTls", record)
    return calls


def server(**options) -> ServerTls:
    return ServerTls(SERVER.chain_pem, SERVER.key_pem, **options)


def refuse(peer):
    raise PermissionError(peer.leaf.common_name)


# ---- servers ----


@pytest.mark.parametrize(
    ("options", "asks"),
    [
        ({}, "none"),
        ({"client_ca": CA.ca_pem}, "required"),
        ({"client_check": refuse}, "required"),
        ({"client_ca": CA.ca_pem, "client_auth": "optional"}, "optional"),
        ({"client_ca": CA.ca_pem, "client_auth": "none"}, "none"),
    ],
)
def test_whether_clients_are_asked(recorded, options, asks):
    server(**options).load(ALPNS)
    assert recorded["client_auth"] == asks


def test_what_a_server_loads(recorded):
    CA.revoke(CA.issue_client())
    server(client_ca=[CA.ca_pem, CA.ca_der], client_crls=CA.crl_pem).load(ALPNS)
    chain, key = recorded["args"]
    assert chain[0] == SERVER.certificate_der
    assert isinstance(key, bytes)
    assert recorded["client_roots"] == [CA.ca_der, CA.ca_der]
    assert len(recorded["crls"]) == 1
    assert recorded["alpns"] == ["jetstream"]
    assert recorded["check"] is None


@pytest.mark.parametrize("required", [True, False])
def test_a_verifier_made_before(recorded, required):
    verifier = ClientVerifier(ca=CA.ca_pem, check=refuse)
    assert verifier.required
    if not required:
        verifier = verifier.allow_unauthenticated()
    ServerTls.with_verifier(SERVER.chain_pem, SERVER.key_pem, verifier).load(ALPNS)
    assert recorded["client_auth"] == ("required" if required else "optional")
    assert recorded["client_roots"] == [CA.ca_der]
    assert recorded["check"] is not None


def test_the_real_core_takes_it():
    assert isinstance(server(client_ca=CA.ca_pem).load(ALPNS), _core.ServerTls)


def test_a_wrong_word():
    with pytest.raises(TlsConfigError, match="client_auth='always': write 'none', 'optional' or"):
        server(client_auth="always")


def test_a_key_of_somebody_else():
    with pytest.raises(TlsConfigError):
        ServerTls(SERVER.chain_pem, CLIENT.key_pem).load(ALPNS)


def test_a_file_that_is_not_there(tmp_path):
    missing = tmp_path / "server.pem"
    settings = ServerTls(missing, SERVER.key_pem)  # not read yet
    with pytest.raises(TlsConfigError, match=r"server\.pem"):
        settings.load(ALPNS)


# ---- clients ----


@pytest.mark.parametrize(
    ("options", "trust"),
    [
        ({}, "system"),
        ({"ca": CA.ca_pem}, "roots"),
        ({"danger_accept_any_server": True}, "danger_anything"),
    ],
)
def test_whom_a_client_trusts(recorded, options, trust):
    ClientTls(**options).load(ALPNS)
    assert recorded["trust"] == trust
    assert recorded["roots"] == ([CA.ca_der] if "ca" in options else [])
    assert recorded["chain"] is recorded["key"] is None


def test_what_a_client_shows(recorded):
    ClientTls(ca=CA.ca_pem, certificate=CLIENT.chain_pem, key=CLIENT.key_pem).load(ALPNS)
    assert recorded["chain"][0] == CLIENT.certificate_der
    assert isinstance(recorded["key"], bytes)


def test_trust_in_somebody_and_in_anybody():
    with pytest.raises(TlsConfigError, match="contradict each other"):
        ClientTls(ca=CA.ca_pem, danger_accept_any_server=True)


def test_a_key_for_nothing():
    with pytest.raises(TlsConfigError, match="key= without certificate="):
        ClientTls(key=CLIENT.key_pem)


def test_the_real_core_takes_a_client_too():
    assert isinstance(ClientTls(ca=CA.ca_pem).load(ALPNS), _core.ClientTls)


# ---- both ----


def test_a_check_gets_the_peer_and_refuses_by_raising():
    check = _as_check(refuse)
    with pytest.raises(PermissionError, match="client"):
        check((CLIENT.certificate_der,))
    assert check(()) is None
    assert _as_check(None) is None


@pytest.mark.parametrize(
    "settings",
    [server(password="secret"), ClientTls(certificate="a.p12", password=b"secret")],
    ids=["server", "client"],
)
def test_passwords_are_not_shown(settings):
    assert "secret" not in repr(settings)


@pytest.mark.parametrize("settings", [server(), ClientTls(), ClientVerifier()])
def test_settings_do_not_change(settings):
    name = dataclasses.fields(settings)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(settings, name, None)
