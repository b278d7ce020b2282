//! Requests and responses as they come, and how exchanges end.

use bytes::Bytes;

use super::streams::is_request;
use super::uni::Uni;
use super::{Connection, Exchanges};
use crate::http3::code::{Code, ConnectionError, Fault, StreamError};
use crate::http3::config::Role;
use crate::http3::datagram;
use crate::http3::event::{Action, Event};
use crate::http3::exchange::{Exchange, Heard, Incoming, Outgoing, Rules};
use crate::http3::head::RequestHead;
use crate::http3::message::Content;
use crate::http3::priority::Priority;
use crate::http3::varint::Partial;

impl Connection {
    pub(super) fn open(&mut self, stream: u64) -> Result<(), ConnectionError> {
        match (stream % 4, self.role) {
            (0, Role::Server) => {
                self.next_request = self.next_request.max(stream + 4);
                self.exchanges.entry(stream).or_insert_with(|| Exchange::new(Incoming::Head));
            }
            (1, Role::Client) if self.config.foreign_bidi.is_empty() => {
                // RFC 9114, section 6.1.
                return Err(ConnectionError::new(
                    Code::STREAM_CREATION_ERROR,
                    "a bidirectional stream of the server",
                ));
            }
            (1, Role::Client) => {
                self.exchanges.insert(stream, Exchange::new(Incoming::Foreign));
            }
            (2, Role::Server) | (3, Role::Client) => {
                self.unis.push((stream, Uni::Kind(Partial::default())));
            }
            // Ours.
            _ => {}
        }
        Ok(())
    }

    pub(super) fn read_exchange(
        &mut self,
        stream: u64,
        mut bytes: Bytes,
    ) -> Result<(), ConnectionError> {
        loop {
            let Some(exchange) = self.exchanges.get_mut(&stream) else { return Ok(()) };
            let mut rules =
                Rules { role: self.role, config: &self.config, budget: &mut self.budget };
            match exchange.read(&mut bytes, &mut rules) {
                Ok(None) => return Ok(()),
                Ok(Some(Heard::Data(bytes))) => {
                    self.events.push_back(Event::Data { stream, bytes })
                }
                Ok(Some(Heard::Request(head))) => self.hear_request(stream, head),
                Ok(Some(Heard::Response(head))) if head.is_interim() => {
                    self.budget.spend()?;
                    self.events.push_back(Event::Interim { stream, head });
                }
                Ok(Some(Heard::Response(head))) => {
                    self.budget.earn();
                    self.events.push_back(Event::Response { stream, head, ended: false });
                }
                Ok(Some(Heard::Trailers(fields))) => {
                    self.events.push_back(Event::Trailers { stream, fields });
                }
                Ok(Some(Heard::TooLarge)) => return self.refuse_large(stream),
                Ok(Some(Heard::Foreign { kind, value })) => {
                    self.exchanges.remove(&stream);
                    self.events.push_back(Event::Foreign { stream, kind, value, rest: bytes });
                    return Ok(());
                }
                Err(Fault::Connection(error)) => return Err(error),
                Err(Fault::Stream(error)) => return self.fail(stream, error),
            }
        }
    }

    fn hear_request(&mut self, stream: u64, head: RequestHead) {
        let early = self.priorities.iter().position(|(id, _)| *id == stream);
        let priority = match early {
            Some(at) => self.priorities.swap_remove(at).1,
            None => Priority::of(&head),
        };
        if self.going.is_some_and(|first| stream >= first) {
            return self.break_off(stream, Code::REQUEST_REJECTED);
        }
        if let Some(exchange) = self.exchanges.get_mut(&stream) {
            exchange.is_told = true;
        }
        self.events.push_back(Event::Request { stream, head, priority, ended: false });
    }

    /// RFC 9114, section 4.2.2: 431, and nothing more is read.
    fn refuse_large(&mut self, stream: u64) -> Result<(), ConnectionError> {
        self.budget.spend()?;
        // Nothing was said on the stream.
        if self.respond(stream, 431, super::send::NO_FIELDS, Content::None).is_ok() {
            self.stop_reading(stream, Code::NO_ERROR);
        } else {
            // The peer takes no fields at all, not even these.
            self.break_off(stream, Code::EXCESSIVE_LOAD);
        }
        Ok(())
    }

    /// The peer broke a rule of a stream.
    pub(super) fn fail(&mut self, stream: u64, error: StreamError) -> Result<(), ConnectionError> {
        let is_told = self.is_told(stream);
        self.break_off(stream, error.code);
        if is_told {
            self.events.push_back(Event::Failed { stream, error });
        }
        self.patience.spend()
    }

    /// Whether the owner knows of an exchange.
    fn is_told(&self, stream: u64) -> bool {
        self.exchanges.get(&stream).is_some_and(|exchange| exchange.is_told)
    }

    /// Ends what is open of an exchange, and forgets it.
    pub(super) fn break_off(&mut self, stream: u64, code: Code) {
        let Some(exchange) = self.exchanges.remove(&stream) else { return };
        if exchange.outgoing != Outgoing::Done {
            self.act(Action::Reset(stream, code));
        }
        if exchange.incoming != Incoming::Done {
            self.act(Action::StopSending(stream, code));
        }
    }

    pub(super) fn end_exchange(&mut self, stream: u64) -> Result<(), ConnectionError> {
        let Some(exchange) = self.exchanges.get_mut(&stream) else { return Ok(()) };
        if exchange.incoming == Incoming::Foreign {
            self.exchanges.remove(&stream);
            return self.budget.spend();
        }
        if exchange.incoming == Incoming::Done {
            return Ok(());
        }
        match exchange.finish(self.role) {
            Ok(()) => {
                // One event where it would be two: most requests have no content.
                match self.events.back_mut() {
                    Some(
                        Event::Request { stream: last, ended, .. }
                        | Event::Response { stream: last, ended, .. },
                    ) if *last == stream => *ended = true,
                    _ => self.events.push_back(Event::Ended { stream }),
                }
                self.settle(stream);
                Ok(())
            }
            Err(Fault::Stream(error)) => self.fail(stream, error),
            Err(Fault::Connection(error)) => Err(error),
        }
    }

    pub(super) fn reset_exchange(
        &mut self,
        stream: u64,
        code: Code,
    ) -> Result<(), ConnectionError> {
        let is_told = self.is_told(stream);
        let Some(exchange) = self.exchanges.get_mut(&stream) else { return Ok(()) };
        if std::mem::replace(&mut exchange.incoming, Incoming::Done) == Incoming::Done {
            return Ok(());
        }
        let is_unanswered = exchange.outgoing == Outgoing::Head;
        if is_told {
            self.events.push_back(Event::Reset { stream, code });
        }
        match self.role {
            // RFC 9114, section 4.1.1: nothing was processed.
            Role::Server if !is_told => self.break_off(stream, Code::REQUEST_REJECTED),
            Role::Server => self.settle(stream),
            Role::Client => self.break_off(stream, Code::REQUEST_CANCELLED),
        }
        // A request that is taken back costs more than it brings (CVE-2023-44487).
        if is_unanswered { self.patience.spend() } else { Ok(()) }
    }

    pub(super) fn stop_exchange(&mut self, stream: u64, code: Code) -> Result<(), ConnectionError> {
        let is_told = self.is_told(stream);
        let Some(exchange) = self.exchanges.get_mut(&stream) else { return Ok(()) };
        let before = std::mem::replace(&mut exchange.outgoing, Outgoing::Done);
        if before == Outgoing::Done {
            return Ok(());
        }
        // RFC 9000, section 3.5: with the peer's own code.
        self.act(Action::Reset(stream, code));
        if is_told {
            self.events.push_back(Event::Stopped { stream, code });
        }
        match self.role {
            // Nobody waits for an answer.
            Role::Server => self.break_off(stream, Code::REQUEST_CANCELLED),
            Role::Client => self.settle(stream),
        }
        if before == Outgoing::Head { self.patience.spend() } else { Ok(()) }
    }

    /// Forgets an exchange whose sides are both done.
    pub(super) fn settle(&mut self, stream: u64) {
        if self.exchanges.get(&stream).is_some_and(Exchange::is_over) {
            self.exchanges.remove(&stream);
            self.budget.earn();
            self.patience.earn();
            if self.exchanges.is_empty() && self.exchanges.capacity() > 32 {
                // As with the queues: nothing of a crowd is kept.
                self.exchanges = Exchanges::default();
            }
        }
    }

    /// RFC 9218, section 7: of a request that is being answered, or that has not come yet.
    pub(super) fn prioritised(&mut self, stream: u64, priority: Priority) {
        let is_open = self.exchanges.contains_key(&stream);
        if is_open && self.is_told(stream) {
            self.events.push_back(Event::Priority { stream, priority });
            return;
        }
        if !is_open && stream < self.next_request {
            return;
        }
        self.priorities.retain(|(id, _)| *id != stream);
        let most = usize::from(self.config.limits.max_early_priorities);
        if self.priorities.len() >= most && !self.priorities.is_empty() {
            self.priorities.remove(0);
        }
        if most > 0 {
            self.priorities.push((stream, priority));
        }
    }

    pub(super) fn read_datagram(&mut self, datagram: Bytes) -> Result<(), ConnectionError> {
        if !self.config.settings.datagrams {
            return Ok(());
        }
        let (stream, payload) = datagram::decode(datagram)?;
        debug_assert!(is_request(stream));
        // RFC 9297, section 2.1: those of streams that have not come, or are over, are dropped.
        let has_come = self.exchanges.get(&stream).filter(|exchange| exchange.is_told);
        let Some(exchange) = has_come else {
            let is_early = self.exchanges.contains_key(&stream) || !self.has_begun(stream);
            if self.config.early_datagrams && self.role == Role::Server && is_early {
                self.events.push_back(Event::Datagram { stream, payload });
            }
            return Ok(());
        };
        if exchange.incoming == Incoming::Done {
            return Ok(());
        }
        if !exchange.is_extended {
            // Section 2: no other request has any.
            const UNASKED: StreamError =
                StreamError::new(Code::DATAGRAM_ERROR, "a datagram of a request that has none");
            return self.fail(stream, UNASKED);
        }
        self.events.push_back(Event::Datagram { stream, payload });
        Ok(())
    }
}
