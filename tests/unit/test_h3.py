"""HTTP/3 as an entry of a router: what its streams are, and what is served on it."""

# A service class only declares.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

from typing import Any

import pytest
from jetstream import Context, LocalProtocolError, Router, service
from jetstream._h3 import http3_kind, streams_of
from jetstream.http import H3Service
from jetstream.webtransport import WebTransport

from tests.helpers import run


@service
class Chat:
    """What is served."""

    async def say(self, text: str) -> None:
        """Nothing."""
        ...


class ChatImpl(Chat):
    """Who serves it."""

    async def say(self, text: str) -> None:
        return None


async def app(scope: Any, receive: Any, send: Any) -> None:
    """An application."""


async def handle(ctx: Context, session: Any) -> None:
    """What takes a session."""


@pytest.mark.parametrize(
    ("options", "entries", "kind"),
    [
        (None, (), "http"),
        (None, (ChatImpl(),), "http"),
        (WebTransport(), (), "http"),
        (WebTransport(), (ChatImpl(),), "webtransport"),
        (WebTransport(services=False), (ChatImpl(),), "http"),
        (WebTransport(handlers={"/": handle}), (), "webtransport"),
        (WebTransport(handlers={"/": handle}, services=False), (ChatImpl(),), "webtransport"),
    ],
)
def test_there_are_sessions_where_something_is_to_be_had_on_them(options, entries, kind):
    assert http3_kind(options, Router(*entries)) == kind


def test_services_beside_an_application():
    h3 = H3Service(app)
    assert streams_of(Router(h3)) == {"h3": "http"}
    assert h3.with_handler(ChatImpl()) is h3
    assert streams_of(Router(h3)) == {"h3": "webtransport"}
    assert [each.definition.name for each in h3.router.services] == ["chat"]
    # Services of the same router are not those of its application.
    both = streams_of(Router(ChatImpl(), H3Service(app)))
    assert both["h3"] == "http"
    assert both["jetstream"] is True
    assert streams_of(Router(H3Service(app, webtransport=None).with_handler(ChatImpl()))) == {
        "h3": "http"
    }


def test_a_service_class_is_said_where_it_is_not_seen():
    class Duck:
        async def say(self, text: str) -> None:
            return None

    h3 = H3Service(app).with_handler(Duck(), Chat)
    assert [each.definition.name for each in h3.router.services] == ["chat"]


def test_the_core_speaks_it():
    nothing: Any = None
    with pytest.raises(LocalProtocolError, match="register H3Service with the router"):
        run(lambda: H3Service(app).accept(nothing, nothing))
    assert H3Service(app).alpns() == ("h3",)
    assert repr(H3Service("app")) == "<H3Service of 'app'>"  # type: ignore[arg-type]
