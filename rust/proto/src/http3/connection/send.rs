//! What the owner says: requests, responses, content, and the end of either.
//!
//! Each command either does all of it or returns a [`Misuse`] and does nothing.

use bytes::Bytes;

use super::Connection;
use super::streams::is_request;
use crate::http3::code::{Code, Misuse};
use crate::http3::config::Role;
use crate::http3::datagram;
use crate::http3::event::Action;
use crate::http3::exchange::{Exchange, Incoming, Outgoing};
use crate::http3::frame::kind;
use crate::http3::head::RequestHead;
use crate::http3::message::{Content, Section, begin_data};
use crate::http3::priority::Priority;
use crate::http3::varint;

/// No fields, where some could be.
pub(super) const NO_FIELDS: [(&[u8], &[u8]); 0] = [];

impl Connection {
    /// Answers a request, with fields in order. Names become lower case; fields of the connection
    /// (`connection`, `transfer-encoding` and their like), which HTTP/3 has not, are left out, and so
    /// is content where the request or the status allows none (RFC 9110, section 6.4.1).
    ///
    /// # Errors
    /// There is no such request, it was answered, the fields are malformed or more than the peer
    /// takes, or the content is not as long as `content-length` says.
    pub fn respond<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        stream: u64,
        status: u16,
        fields: impl IntoIterator<Item = (N, V)>,
        content: Content,
    ) -> Result<(), Misuse> {
        if !(200..=999).contains(&status) {
            return Err(Misuse::State("a final status is one from 200 to 999"));
        }
        let exchange = self.answering(stream)?;
        let is_silent = exchange.has_no_content(status);
        let is_tunnel = exchange.is_tunnel && (200..300).contains(&status);
        let mut section = Section::new();
        section.is_without_length = status == 204 || is_tunnel;
        section.status(status);
        section.fields(fields)?;
        let promised = section.content_length.filter(|_| !is_silent);
        if let Some((promised, given)) = promised.zip(content.len()) {
            if promised != given {
                return Err(Misuse::ContentLength);
            }
        }
        self.send_head(stream, section, content, promised, is_silent)?;
        if let Some(exchange) = self.exchanges.get_mut(&stream) {
            exchange.is_tunnel &= is_tunnel;
        }
        self.settle(stream);
        Ok(())
    }

    /// Sends an interim response (RFC 9110, section 15.2), before the response.
    ///
    /// # Errors
    /// There is no such request, it was answered, or the fields are malformed.
    pub fn inform<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        stream: u64,
        status: u16,
        fields: impl IntoIterator<Item = (N, V)>,
    ) -> Result<(), Misuse> {
        if !(100..200).contains(&status) || status == 101 {
            return Err(Misuse::State("an interim status is one from 100 to 199, and not 101"));
        }
        self.answering(stream)?;
        let mut section = Section::new();
        section.is_without_length = true;
        section.status(status);
        section.fields(fields)?;
        let (frames, _) = section.seal(self.max_field_section(), None)?;
        self.act(Action::Write(stream, frames));
        Ok(())
    }

    /// Makes a request on a bidirectional stream that the owner has opened for it.
    ///
    /// # Errors
    /// We are no client, the stream is no new request's, the server goes away or takes no extended
    /// CONNECT, the fields are more than it takes, or the content is not as long as
    /// `content-length` says.
    pub fn request(
        &mut self,
        stream: u64,
        head: &RequestHead,
        content: Content,
    ) -> Result<(), Misuse> {
        if self.closed.is_some() {
            return Err(Misuse::Gone(stream));
        }
        if self.role != Role::Client || !is_request(stream) || stream < self.next_request {
            return Err(Misuse::State("requests are a client's, each on a new stream of its own"));
        }
        if self.peer_going.is_some() {
            return Err(Misuse::GoingAway);
        }
        if head.protocol().is_some() && !self.peer.is_some_and(|peer| peer.extended_connect) {
            return Err(Misuse::NotNegotiated("extended CONNECT"));
        }
        let promised = head.content_length().filter(|_| !head.is_connect());
        if let Some((promised, given)) = promised.zip(content.len()) {
            if promised != given {
                return Err(Misuse::ContentLength);
            }
        }
        let mut section = Section::new();
        for (name, value) in head.section() {
            section.valid(name, value);
        }
        let mut exchange = Exchange::new(Incoming::Head);
        exchange.note(head);
        exchange.is_told = true;
        self.exchanges.insert(stream, exchange);
        let sent = self.send_head(stream, section, content, promised, false);
        match sent {
            Ok(()) => self.next_request = stream + 4,
            Err(_) => drop(self.exchanges.remove(&stream)),
        }
        sent
    }

    /// Sends content, and with `end` completes the message. The payload is not copied, unless it is
    /// small. Nothing is sent of content that the response cannot have.
    ///
    /// # Errors
    /// There is no such exchange, it is too early or too late, or `content-length` says otherwise;
    /// then [`abort`](Self::abort) it.
    pub fn data(&mut self, stream: u64, bytes: Bytes, end: bool) -> Result<(), Misuse> {
        let exchange = self.sending(stream)?;
        if let Some(promised) = exchange.promised {
            let left = promised.checked_sub(bytes.len() as u64).ok_or(Misuse::ContentLength)?;
            if end && left > 0 {
                return Err(Misuse::ContentLength);
            }
            exchange.promised = Some(left);
        }
        if !exchange.is_silent_out && !bytes.is_empty() {
            self.write_data(stream, bytes);
        }
        if end {
            self.finish(stream);
        }
        Ok(())
    }

    /// Sends trailers, which complete the message.
    ///
    /// # Errors
    /// As [`data`](Self::data), and a tunnel has none; or the fields are malformed or more than the
    /// peer takes.
    pub fn trailers<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        stream: u64,
        fields: impl IntoIterator<Item = (N, V)>,
    ) -> Result<(), Misuse> {
        let exchange = self.sending(stream)?;
        if exchange.is_tunnel {
            return Err(Misuse::State("a tunnel has no trailers"));
        }
        if exchange.promised.is_some_and(|left| left > 0) {
            return Err(Misuse::ContentLength);
        }
        let is_silent = exchange.is_silent_out;
        let mut section = Section::new();
        section.fields(fields)?;
        let (frames, _) = section.seal(self.max_field_section(), None)?;
        if !is_silent {
            self.act(Action::Write(stream, frames));
        }
        self.finish(stream);
        Ok(())
    }

    /// Gives an exchange up, both sides of it (RFC 9114, section 4.1.1). One that is over already is
    /// left alone.
    pub fn abort(&mut self, stream: u64, code: Code) {
        self.break_off(stream, code);
    }

    /// Reads nothing more of an exchange: with [`Code::NO_ERROR`] for a request whose content does
    /// not matter for the response (RFC 9114, section 4.1).
    pub fn stop_reading(&mut self, stream: u64, code: Code) {
        let Some(exchange) = self.exchanges.get_mut(&stream) else { return };
        if std::mem::replace(&mut exchange.incoming, Incoming::Done) != Incoming::Done {
            self.act(Action::StopSending(stream, code));
            self.settle(stream);
        }
    }

    /// Sends a datagram of an extended CONNECT (RFC 9297, section 2.1).
    ///
    /// # Errors
    /// The two ends did not both announce datagrams, or the stream is no such exchange's, or is over
    /// on our side.
    pub fn send_datagram(&mut self, stream: u64, payload: &[u8]) -> Result<(), Misuse> {
        if !(self.config.settings.datagrams && self.peer.is_some_and(|peer| peer.datagrams)) {
            return Err(Misuse::NotNegotiated("datagrams"));
        }
        let exchange = self.exchanges.get(&stream).ok_or(Misuse::Gone(stream))?;
        if !exchange.is_extended || exchange.outgoing == Outgoing::Done {
            return Err(Misuse::State("datagrams are of an open extended CONNECT"));
        }
        self.act(Action::Datagram(datagram::encode(stream, payload)));
        Ok(())
    }

    /// Changes how soon the response to a request is wanted (RFC 9218, section 7.2).
    ///
    /// # Errors
    /// We are no client, or there is no such request.
    pub fn prioritise(&mut self, stream: u64, priority: Priority) -> Result<(), Misuse> {
        if self.role != Role::Client || !self.exchanges.contains_key(&stream) {
            return Err(Misuse::Gone(stream));
        }
        let mut payload = Vec::with_capacity(16);
        varint::encode(stream, &mut payload);
        payload.extend_from_slice(priority.to_string().as_bytes());
        self.say(kind::PRIORITY_UPDATE_REQUEST, &payload);
        Ok(())
    }

    /// An exchange that has to be answered.
    fn answering(&self, stream: u64) -> Result<&Exchange, Misuse> {
        let exchange = self.exchanges.get(&stream).ok_or(Misuse::Gone(stream))?;
        if self.role == Role::Client || exchange.outgoing != Outgoing::Head {
            return Err(Misuse::State("a request is answered once, by a server"));
        }
        Ok(exchange)
    }

    /// An exchange that has begun and not ended on our side.
    fn sending(&mut self, stream: u64) -> Result<&mut Exchange, Misuse> {
        let exchange = self.exchanges.get_mut(&stream).ok_or(Misuse::Gone(stream))?;
        match exchange.outgoing {
            Outgoing::Head => Err(Misuse::State("content comes behind a head")),
            Outgoing::Content => Ok(exchange),
            Outgoing::Done => Err(Misuse::State("the message is complete")),
        }
    }

    fn max_field_section(&self) -> Option<u64> {
        self.peer.and_then(|peer| peer.max_field_section)
    }

    fn send_head(
        &mut self,
        stream: u64,
        section: Section,
        content: Content,
        promised: Option<u64>,
        is_silent: bool,
    ) -> Result<(), Misuse> {
        let (whole, is_complete) = match content {
            Content::None => (None, true),
            Content::Follows => (None, false),
            Content::Whole(bytes) => (Some(bytes), true),
        };
        let whole = whole.filter(|bytes| !is_silent && !bytes.is_empty());
        let (frames, rest) = section.seal(self.max_field_section(), whole)?;
        self.act(Action::Write(stream, frames));
        if let Some(rest) = rest {
            self.act(Action::Write(stream, rest));
        }
        if let Some(exchange) = self.exchanges.get_mut(&stream) {
            exchange.outgoing = if is_complete { Outgoing::Done } else { Outgoing::Content };
            exchange.promised = promised;
            exchange.is_silent_out = is_silent;
        }
        if is_complete {
            self.act(Action::Finish(stream));
        }
        Ok(())
    }

    fn write_data(&mut self, stream: u64, bytes: Bytes) {
        let mut out = Vec::with_capacity(9 + if bytes.len() > 1024 { 0 } else { bytes.len() });
        let rest = begin_data(bytes, &mut out);
        self.act(Action::Write(stream, out.into()));
        if let Some(rest) = rest {
            self.act(Action::Write(stream, rest));
        }
    }

    fn finish(&mut self, stream: u64) {
        if let Some(exchange) = self.exchanges.get_mut(&stream) {
            exchange.outgoing = Outgoing::Done;
        }
        self.act(Action::Finish(stream));
        self.settle(stream);
    }
}
