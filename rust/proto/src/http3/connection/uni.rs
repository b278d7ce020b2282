//! Unidirectional streams of the peer (RFC 9114, section 6.2): of what type each is, and who reads
//! it.

use bytes::Bytes;

use super::Connection;
use crate::http3::code::{Code, ConnectionError};
use crate::http3::config::Role;
use crate::http3::control::{Control, Said};
use crate::http3::event::{Action, Event};
use crate::http3::qpack::{DecoderStream, encoder_stream};
use crate::http3::varint::Partial;

/// Types (RFC 9114, section 11.2.4; RFC 9204, section 4.2).
mod kind {
    pub(super) const CONTROL: u64 = 0x00;
    pub(super) const PUSH: u64 = 0x01;
    pub(super) const ENCODER: u64 = 0x02;
    pub(super) const DECODER: u64 = 0x03;
}

/// The end of a stream that the connection needs.
pub(super) const CRITICAL: ConnectionError =
    ConnectionError::new(Code::CLOSED_CRITICAL_STREAM, "the end of a stream that has none");

/// How far a stream is.
#[derive(Debug)]
pub(super) enum Uni {
    /// Its type has not come.
    Kind(Partial),
    /// It is the owner's, and the integer behind the type has not come.
    Foreign(u64, Partial),
    Control(Box<Control>),
    Encoder,
    Decoder(DecoderStream),
}

impl Uni {
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Control(control) => control.held(),
            _ => 0,
        }
    }
}

/// Which streams have come that a peer has one of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    control: bool,
    encoder: bool,
    decoder: bool,
}

fn once(seen: &mut bool) -> Result<(), ConnectionError> {
    if std::mem::replace(seen, true) {
        const SECOND: ConnectionError =
            ConnectionError::new(Code::STREAM_CREATION_ERROR, "a second stream of a type of one");
        return Err(SECOND);
    }
    Ok(())
}

impl Connection {
    pub(super) fn read_uni(&mut self, at: usize, mut bytes: Bytes) -> Result<(), ConnectionError> {
        while !bytes.is_empty() {
            let Some((stream, uni)) = self.unis.get_mut(at) else { return Ok(()) };
            let stream = *stream;
            match uni {
                Uni::Kind(partial) => {
                    let Some(kind) = partial.read(&mut bytes) else { return Ok(()) };
                    match self.classify(kind)? {
                        Some(known) => {
                            if let Some((_, uni)) = self.unis.get_mut(at) {
                                *uni = known;
                            }
                        }
                        None => {
                            self.unis.swap_remove(at);
                            self.act(Action::StopSending(stream, Code::STREAM_CREATION_ERROR));
                            return Ok(());
                        }
                    }
                }
                Uni::Foreign(kind, partial) => {
                    let kind = *kind;
                    let Some(value) = partial.read(&mut bytes) else { return Ok(()) };
                    self.unis.swap_remove(at);
                    self.events.push_back(Event::Foreign { stream, kind, value, rest: bytes });
                    return Ok(());
                }
                Uni::Control(control) => {
                    let said = control.read(&mut bytes, &self.config.limits, &mut self.budget)?;
                    if let Some(said) = said {
                        self.hear(said)?;
                    }
                }
                Uni::Encoder => return encoder_stream(&bytes, &mut self.budget),
                Uni::Decoder(decoder) => return decoder.read(&bytes, &mut self.budget),
            }
        }
        Ok(())
    }

    /// What reads a stream of this type; `None` if nobody does.
    fn classify(&mut self, kind: u64) -> Result<Option<Uni>, ConnectionError> {
        match kind {
            kind::CONTROL => {
                once(&mut self.seen.control)?;
                Ok(Some(Uni::Control(Box::new(Control::new(self.role)))))
            }
            kind::PUSH => Err(match self.role {
                // Section 6.2.2.
                Role::Server => {
                    ConnectionError::new(Code::STREAM_CREATION_ERROR, "a push stream of a client")
                }
                // Section 4.6: we allow none.
                Role::Client => {
                    ConnectionError::new(Code::ID_ERROR, "a push, of which none is allowed")
                }
            }),
            kind::ENCODER => once(&mut self.seen.encoder).map(|()| Some(Uni::Encoder)),
            kind::DECODER => {
                once(&mut self.seen.decoder).map(|()| Some(Uni::Decoder(DecoderStream::default())))
            }
            _ if self.config.foreign_uni.contains(&kind) => {
                Ok(Some(Uni::Foreign(kind, Partial::default())))
            }
            // Section 6.2: no error, but no work for us either.
            _ => self.budget.spend().map(|()| None),
        }
    }

    /// A stream ended, in one way or the other.
    pub(super) fn end_uni(&mut self, at: usize) -> Result<(), ConnectionError> {
        match self.unis.get(at) {
            // Section 6.2: tolerated before its type has come.
            Some((_, Uni::Kind(_) | Uni::Foreign(..))) => {
                self.unis.swap_remove(at);
                self.budget.spend()
            }
            Some(_) => Err(CRITICAL),
            None => Ok(()),
        }
    }

    fn hear(&mut self, said: Said) -> Result<(), ConnectionError> {
        match said {
            Said::Settings(settings) => {
                self.peer = Some(super::Peer {
                    max_field_section: settings.max_field_section,
                    extended_connect: settings.extended_connect,
                    datagrams: settings.datagrams,
                });
                self.events.push_back(Event::Settings(settings));
            }
            Said::GoAway(id) => self.peer_goes_away(id),
            Said::Priority(stream, priority) => self.prioritised(stream, priority),
        }
        Ok(())
    }
}
