//! Agreeing on `permessage-deflate` (RFC 7692, section 7.1).
//!
//! Compressors here have windows of 15 bits and no others. So an offer is declined that limits this
//! end's window to less; a limit for the other end's is heard and not needed, as every smaller window
//! is read with a larger one. Clients do not offer to limit their own.

use super::extensions::{Extension, parse};
use super::handshake::HandshakeError;

const NAME: &str = "permessage-deflate";
const SERVER_CONTEXT: &str = "server_no_context_takeover";
const CLIENT_CONTEXT: &str = "client_no_context_takeover";
const SERVER_WINDOW: &str = "server_max_window_bits";
const CLIENT_WINDOW: &str = "client_max_window_bits";

/// The window of our compressors, in bits.
const WINDOW: u8 = 15;

/// Compression of messages: what one end would like, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deflate {
    /// How hard to try, from 0 to 9. 1: messages are small, and others wait while one is compressed.
    pub level: u32,
    /// Messages of fewer bytes are sent as they are. 64: below that there is little to gain.
    pub threshold: usize,
    /// This end's messages may refer to earlier ones. They are smaller for it, but each connection
    /// that has sent one then holds some 300 KiB, where otherwise all have one such context; so the
    /// default is no.
    pub own_context: bool,
    /// The peer's messages may; each connection that has received one then holds some 43 KiB.
    pub peer_context: bool,
}

impl Default for Deflate {
    fn default() -> Self {
        Self { level: 1, threshold: 64, own_context: false, peer_context: true }
    }
}

impl Deflate {
    /// The server's answer to a client's offers, from the values of `Sec-WebSocket-Extensions`: the
    /// first offer that can be accepted, with the value of the header that says so. None if there is
    /// none; other extensions are declined.
    ///
    /// # Errors
    /// The header is malformed: the request is to be refused.
    pub fn accept<'a>(
        &self,
        values: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Option<(Self, String)>, HandshakeError> {
        let offers = parse(values)?;
        let Some(asked) = offers.iter().find_map(|offer| {
            Parameters::read(offer)
                .filter(|asked| asked.server_window.is_none_or(|bits| bits == WINDOW))
        }) else {
            return Ok(None);
        };
        let agreed = Self {
            own_context: self.own_context && !asked.server_restarts,
            peer_context: self.peer_context && !asked.client_restarts,
            ..*self
        };
        let mut answer = NAME.to_owned();
        let mut add = |wanted: bool, parameter: &str| {
            if wanted {
                answer.push_str("; ");
                answer.push_str(parameter);
            }
        };
        add(!agreed.own_context, SERVER_CONTEXT);
        add(!agreed.peer_context, CLIENT_CONTEXT);
        add(asked.server_window.is_some(), "server_max_window_bits=15");
        Ok(Some((agreed, answer)))
    }

    /// The value of a client's `Sec-WebSocket-Extensions`.
    pub fn offer(&self) -> String {
        let mut offer = NAME.to_owned();
        for (wanted, parameter) in
            [(!self.peer_context, SERVER_CONTEXT), (!self.own_context, CLIENT_CONTEXT)]
        {
            if wanted {
                offer.push_str("; ");
                offer.push_str(parameter);
            }
        }
        offer
    }

    /// What came of a client's [`offer`](Self::offer), from the values of the server's
    /// `Sec-WebSocket-Extensions`. None if it was declined.
    ///
    /// # Errors
    /// The server agreed to what was not offered: the connection is to be given up.
    pub fn confirm<'a>(
        &self,
        values: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Option<Self>, HandshakeError> {
        match parse(values)?.as_slice() {
            [] => Ok(None),
            [answer] => {
                let said = Parameters::read(answer).ok_or(HandshakeError::Extensions)?;
                if said.client_window || !self.peer_context && !said.server_restarts {
                    return Err(HandshakeError::Extensions);
                }
                let own_context = self.own_context && !said.client_restarts;
                Ok(Some(Self { own_context, peer_context: !said.server_restarts, ..*self }))
            }
            _ => Err(HandshakeError::Extensions),
        }
    }
}

/// The parameters of an offer or an answer.
#[derive(Debug, Default)]
struct Parameters {
    server_restarts: bool,
    client_restarts: bool,
    server_window: Option<u8>,
    client_window: bool,
}

impl Parameters {
    /// None for another extension, an unknown parameter, one that is there twice, or a value that
    /// cannot be: such an offer has to be declined (section 7.1).
    fn read(extension: &Extension<'_>) -> Option<Self> {
        if extension.name != NAME {
            return None;
        }
        let mut found = Self::default();
        for (name, value) in &extension.parameters {
            let twice = match (*name, value) {
                (SERVER_CONTEXT, None) => std::mem::replace(&mut found.server_restarts, true),
                (CLIENT_CONTEXT, None) => std::mem::replace(&mut found.client_restarts, true),
                (SERVER_WINDOW, Some(value)) => found.server_window.replace(bits(value)?).is_some(),
                (CLIENT_WINDOW, value) => {
                    if let Some(value) = value {
                        bits(value)?;
                    }
                    std::mem::replace(&mut found.client_window, true)
                }
                _ => return None,
            };
            if twice {
                return None;
            }
        }
        Some(found)
    }
}

/// 8 to 15, without a leading zero.
fn bits(value: &str) -> Option<u8> {
    match value.as_bytes() {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GENEROUS: Deflate =
        Deflate { level: 6, threshold: 0, own_context: true, peer_context: true };

    fn accept(wish: Deflate, value: &str) -> Option<(bool, bool, String)> {
        let (agreed, answer) = wish.accept([value.as_bytes()]).unwrap()?;
        Some((agreed.own_context, agreed.peer_context, answer))
    }

    #[test]
    fn offers_are_accepted() {
        for (offer, own, peer, answer) in [
            ("permessage-deflate", true, true, ""),
            ("permessage-deflate; client_max_window_bits", true, true, ""),
            ("permessage-deflate; client_max_window_bits=8", true, true, ""),
            ("permessage-deflate; client_max_window_bits=\"10\"", true, true, ""),
            (
                "permessage-deflate; server_no_context_takeover",
                false,
                true,
                "; server_no_context_takeover",
            ),
            (
                "permessage-deflate; client_no_context_takeover",
                true,
                false,
                "; client_no_context_takeover",
            ),
            (
                "permessage-deflate; server_max_window_bits=15",
                true,
                true,
                "; server_max_window_bits=15",
            ),
            (
                "x, permessage-deflate; server_max_window_bits=10, permessage-deflate",
                true,
                true,
                "",
            ),
            (
                "permessage-deflate; unknown, permessage-deflate; client_no_context_takeover",
                true,
                false,
                "; client_no_context_takeover",
            ),
        ] {
            let expected = (own, peer, format!("permessage-deflate{answer}"));
            assert_eq!(accept(GENEROUS, offer), Some(expected), "{offer}");
        }
        let answer = "permessage-deflate; server_no_context_takeover".to_owned();
        assert_eq!(accept(Deflate::default(), NAME), Some((false, true, answer)));
    }

    #[test]
    fn offers_are_declined() {
        for offer in [
            "",
            "permessage-bzip2",
            "x-webkit-deflate-frame",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=14",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=015",
            "permessage-deflate; server_max_window_bits=15; server_max_window_bits=15",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=08",
            "permessage-deflate; client_max_window_bits=x",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=9",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=true",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; level=9",
        ] {
            assert_eq!(accept(GENEROUS, offer), None, "{offer}");
        }
        let malformed = GENEROUS.accept([&b"permessage-deflate; a="[..]]);
        assert_eq!(malformed, Err(HandshakeError::Extensions));
    }

    #[test]
    fn both_ends_come_to_the_same() {
        for number in 0..16_u8 {
            let wish = |own, peer| Deflate { own_context: own, peer_context: peer, ..GENEROUS };
            let client = wish(number & 1 != 0, number & 2 != 0);
            let server = wish(number & 4 != 0, number & 8 != 0);
            let offer = client.offer();
            let (at_server, answer) = server.accept([offer.as_bytes()]).unwrap().unwrap();
            let at_client = client.confirm([answer.as_bytes()]).unwrap().unwrap();
            assert_eq!(at_client.own_context, at_server.peer_context, "{offer} {answer}");
            assert_eq!(at_client.peer_context, at_server.own_context, "{offer} {answer}");
        }
    }

    #[test]
    fn a_server_agrees_to_what_was_offered_only() {
        let careful = Deflate { peer_context: false, ..GENEROUS };
        for (wish, answer) in [
            (GENEROUS, "permessage-bzip2"),
            (GENEROUS, "permessage-deflate, permessage-deflate"),
            (GENEROUS, "permessage-deflate; client_max_window_bits=15"),
            (GENEROUS, "permessage-deflate; server_max_window_bits=7"),
            (GENEROUS, "permessage-deflate; unknown"),
            (careful, "permessage-deflate"),
        ] {
            let outcome = wish.confirm([answer.as_bytes()]);
            assert_eq!(outcome, Err(HandshakeError::Extensions), "{answer}");
        }
        assert_eq!(GENEROUS.confirm([]), Ok(None));
        let small = GENEROUS.confirm([&b"permessage-deflate; server_max_window_bits=9"[..]]);
        assert_eq!(small, Ok(Some(GENEROUS)));
    }
}
