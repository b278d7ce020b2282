//! The peer's control stream (RFC 9114, section 6.2.1): which frames, in which order, with which
//! identifiers.

use bytes::Bytes;

use super::budget::Budget;
use super::code::{Code, ConnectionError};
use super::config::Role;
use super::frame::{Reader, Step, kind};
use super::limits::Limits;
use super::priority::Priority;
use super::settings::Settings;
use super::varint;

/// What the peer said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Settings(Settings),
    GoAway(u64),
    Priority(u64, Priority),
}

/// Reads the control stream of the peer of one that is `role`.
#[derive(Debug)]
pub(super) struct Control {
    role: Role,
    reader: Reader,
    has_begun: bool,
    going_away: Option<u64>,
    most_pushes: Option<u64>,
}

type Checked<T> = Result<T, ConnectionError>;

const fn error<T>(code: Code, reason: &'static str) -> Checked<T> {
    Err(ConnectionError::new(code, reason))
}

impl Control {
    pub(super) fn new(role: Role) -> Self {
        let reader = Reader::default();
        Self { role, reader, has_begun: false, going_away: None, most_pushes: None }
    }

    /// Bytes of a frame that are kept.
    pub(super) fn held(&self) -> usize {
        self.reader.held()
    }

    /// The next thing that was said; `None` when `input` is used up.
    pub(super) fn read(
        &mut self,
        input: &mut Bytes,
        limits: &Limits,
        budget: &mut Budget,
    ) -> Checked<Option<Said>> {
        while let Some(step) = self.reader.next(input) {
            match step {
                Step::Begin { kind, length } => self.begin(kind, length, limits, budget)?,
                Step::Whole { kind, payload } => {
                    if let Some(said) = self.hear(kind, &payload, limits)? {
                        return Ok(Some(said));
                    }
                }
                Step::Piece(_) => {}
            }
        }
        Ok(None)
    }

    /// Judges a frame by its type and length, before any of it is kept.
    fn begin(
        &mut self,
        kind: u64,
        length: u64,
        limits: &Limits,
        budget: &mut Budget,
    ) -> Checked<()> {
        if !std::mem::replace(&mut self.has_begun, true) {
            if kind != kind::SETTINGS {
                return error(
                    Code::MISSING_SETTINGS,
                    "a control stream that begins without SETTINGS",
                );
            }
            // Two integers for each setting.
            if length > 16 * u64::from(limits.max_settings) {
                return error(Code::EXCESSIVE_LOAD, "too many settings");
            }
            self.reader.keep();
            return Ok(());
        }
        budget.spend()?;
        match (kind, self.role) {
            (kind::SETTINGS, _) => {
                return error(Code::FRAME_UNEXPECTED, "SETTINGS for a second time");
            }
            (kind::DATA | kind::HEADERS | kind::PUSH_PROMISE, _) => {
                return error(Code::FRAME_UNEXPECTED, "a message on the control stream");
            }
            (
                kind::MAX_PUSH_ID | kind::PRIORITY_UPDATE_REQUEST | kind::PRIORITY_UPDATE_PUSH,
                Role::Client,
            ) => return error(Code::FRAME_UNEXPECTED, "a frame that servers do not send"),
            (kind::CANCEL_PUSH | kind::GOAWAY | kind::MAX_PUSH_ID, _) => {
                if !(1..=8).contains(&length) {
                    return error(Code::FRAME_ERROR, "a frame that is not one integer");
                }
            }
            (kind::PRIORITY_UPDATE_REQUEST | kind::PRIORITY_UPDATE_PUSH, Role::Server) => {
                if length > 8 + u64::from(limits.max_priority) {
                    return error(Code::EXCESSIVE_LOAD, "a priority over the limit");
                }
            }
            (kind, _) if kind::is_of_http2(kind) => {
                return error(Code::FRAME_UNEXPECTED, "a frame of HTTP/2");
            }
            // Unknown ones are skipped (RFC 9114, section 9).
            _ => return Ok(()),
        }
        self.reader.keep();
        Ok(())
    }

    fn hear(&mut self, kind: u64, payload: &[u8], limits: &Limits) -> Checked<Option<Said>> {
        const NOT_ONE: ConnectionError =
            ConnectionError::new(Code::FRAME_ERROR, "a frame that is not one integer");
        match kind {
            kind::SETTINGS => {
                Settings::decode(payload, limits.max_settings).map(Said::Settings).map(Some)
            }
            kind::GOAWAY => {
                let id = varint::whole(payload).ok_or(NOT_ONE)?;
                if self.role == Role::Client && id % 4 != 0 {
                    return error(Code::ID_ERROR, "GOAWAY with the id of no request");
                }
                if self.going_away.is_some_and(|last| id > last) {
                    return error(Code::ID_ERROR, "GOAWAY with a larger id than before");
                }
                self.going_away = Some(id);
                Ok(Some(Said::GoAway(id)))
            }
            kind::MAX_PUSH_ID => {
                let id = varint::whole(payload).ok_or(NOT_ONE)?;
                if self.most_pushes.is_some_and(|last| id < last) {
                    return error(Code::ID_ERROR, "MAX_PUSH_ID with a smaller id than before");
                }
                self.most_pushes = Some(id);
                Ok(None)
            }
            kind::PRIORITY_UPDATE_REQUEST => {
                const CUT: ConnectionError =
                    ConnectionError::new(Code::FRAME_ERROR, "PRIORITY_UPDATE without an id");
                let (id, size) = varint::decode(payload).ok_or(CUT)?;
                if id % 4 != 0 {
                    return error(Code::ID_ERROR, "a priority for what is no request");
                }
                let value = payload.get(size..).ok_or(CUT)?;
                Ok(Some(Said::Priority(id, Priority::parse(value))))
            }
            // No push was ever promised by us, or allowed by us.
            kind::CANCEL_PUSH => {
                varint::whole(payload).ok_or(NOT_ONE)?;
                error(Code::ID_ERROR, "CANCEL_PUSH without a push")
            }
            _ => error(Code::ID_ERROR, "a priority for a push, of which there is none"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::http3::frame::whole;

    /// What is heard of frames behind empty SETTINGS, and why it ends.
    fn heard(role: Role, frames: &[(u64, &[u8])]) -> (Vec<Said>, Option<Code>) {
        let mut bytes = Vec::new();
        whole(kind::SETTINGS, &[], &mut bytes);
        for (kind, payload) in frames {
            whole(*kind, payload, &mut bytes);
        }
        let (said, code) = read(role, &bytes, bytes.len());
        for size in 1..bytes.len() {
            assert_eq!(
                read(role, &bytes, size),
                (said.iter().map(again).collect(), code),
                "in pieces"
            );
        }
        let mut said = said.into_iter();
        assert_eq!(said.next(), Some(Said::Settings(Settings::default())));
        (said.collect(), code)
    }

    fn again(said: &Said) -> Said {
        match said {
            Said::Settings(settings) => Said::Settings(settings.clone()),
            Said::GoAway(id) => Said::GoAway(*id),
            Said::Priority(id, priority) => Said::Priority(*id, *priority),
        }
    }

    fn read(role: Role, bytes: &[u8], size: usize) -> (Vec<Said>, Option<Code>) {
        let limits =
            Limits { max_settings: 2, max_priority: 10, idle_work: 5, ..Limits::default() };
        let (mut control, mut budget) = (Control::new(role), Budget::new(limits.idle_work));
        let mut said = Vec::new();
        for piece in bytes.chunks(size) {
            let mut input = Bytes::copy_from_slice(piece);
            loop {
                match control.read(&mut input, &limits, &mut budget) {
                    Ok(Some(one)) => said.push(one),
                    Ok(None) => break,
                    Err(error) => return (said, Some(error.code)),
                }
            }
        }
        (said, None)
    }

    use Role::{Client, Server};

    #[test]
    fn settings_come_first_and_once() {
        for kind in [kind::GOAWAY, kind::DATA, 0x21, kind::MAX_PUSH_ID] {
            let mut bytes = Vec::new();
            whole(kind, &[0], &mut bytes);
            // RFC 9114, section 6.2.1; section 9: unknown ones do not count.
            assert_eq!(read(Server, &bytes, 99).1, Some(Code::MISSING_SETTINGS), "{kind:#x}");
        }
        // Section 7.2.4.
        assert_eq!(heard(Server, &[(kind::SETTINGS, &[])]).1, Some(Code::FRAME_UNEXPECTED));
        // Too long to be read: refused by its length alone.
        assert_eq!(read(Server, &[4, 33], 99).1, Some(Code::EXCESSIVE_LOAD));
        assert_eq!(read(Server, &[4, 32], 99).1, None);
        assert_eq!(read(Server, &[4, 1, 6], 99).1, Some(Code::FRAME_ERROR), "section 7.1: cut off");
    }

    #[test]
    fn frames_that_have_no_place_here() {
        for role in [Server, Client] {
            for (kind, what) in [
                (kind::DATA, "section 7.2.1"),
                (kind::HEADERS, "section 7.2.2"),
                (kind::PUSH_PROMISE, "section 7.2.5"),
                (0x02, "section 7.2.8"),
                (0x06, "section 7.2.8"),
                (0x08, "section 7.2.8"),
                (0x09, "section 7.2.8"),
            ] {
                assert_eq!(heard(role, &[(kind, &[0])]).1, Some(Code::FRAME_UNEXPECTED), "{what}");
            }
            // Section 9: unknown ones are ignored, whatever their length.
            assert_eq!(heard(role, &[(0x21, &[7; 100]), (0xf0702, &[])]), (vec![], None));
        }
        for kind in [kind::MAX_PUSH_ID, kind::PRIORITY_UPDATE_REQUEST, kind::PRIORITY_UPDATE_PUSH] {
            // Section 7.2.7; RFC 9218, section 7.2.
            assert_eq!(heard(Client, &[(kind, &[0])]).1, Some(Code::FRAME_UNEXPECTED));
        }
    }

    #[test]
    fn payloads_are_exactly_what_they_say() {
        // Section 7.1.
        for kind in [kind::GOAWAY, kind::MAX_PUSH_ID, kind::CANCEL_PUSH] {
            for payload in [&[][..], &[0, 0], &[0x40], &[0xc0; 9]] {
                assert_eq!(
                    heard(Server, &[(kind, payload)]).1,
                    Some(Code::FRAME_ERROR),
                    "{kind:#x}"
                );
            }
        }
        // And no more of one is kept than an integer: refused by its length alone.
        let endless = [&[4, 0, kind::GOAWAY as u8][..], &[0xff; 8]].concat();
        assert_eq!(read(Server, &endless, 99).1, Some(Code::FRAME_ERROR));
        for payload in [&[][..], &[0x40]] {
            let update = (kind::PRIORITY_UPDATE_REQUEST, payload);
            assert_eq!(heard(Server, &[update]).1, Some(Code::FRAME_ERROR));
        }
    }

    #[test]
    fn identifiers_go_one_way_only() {
        let go = |ids: &[u8]| ids.iter().map(|id| Said::GoAway((*id).into())).collect::<Vec<_>>();
        fn away(id: &[u8]) -> (u64, &[u8]) {
            (kind::GOAWAY, id)
        }
        fn most(id: &[u8]) -> (u64, &[u8]) {
            (kind::MAX_PUSH_ID, id)
        }
        // Section 5.2: never larger; the same is fine.
        assert_eq!(heard(Client, &[away(&[8]), away(&[8]), away(&[4])]), (go(&[8, 8, 4]), None));
        assert_eq!(heard(Client, &[away(&[8]), away(&[12])]), (go(&[8]), Some(Code::ID_ERROR)));
        assert_eq!(heard(Server, &[away(&[8]), away(&[9])]), (go(&[8]), Some(Code::ID_ERROR)));
        // Section 7.2.6: a request's id, of a server; a push's of a client is any.
        for id in [1, 2, 3] {
            assert_eq!(heard(Client, &[away(&[id])]).1, Some(Code::ID_ERROR));
            assert_eq!(heard(Server, &[away(&[id])]).1, None);
        }
        // Section 7.2.7: never smaller.
        assert_eq!(heard(Server, &[most(&[1]), most(&[1]), most(&[2])]), (vec![], None));
        assert_eq!(heard(Server, &[most(&[2]), most(&[1])]).1, Some(Code::ID_ERROR));
        // Section 7.2.3: nothing was pushed, nor may be.
        for role in [Server, Client] {
            assert_eq!(heard(role, &[(kind::CANCEL_PUSH, &[0])]).1, Some(Code::ID_ERROR));
        }
        assert_eq!(
            heard(Server, &[most(&[9]), (kind::CANCEL_PUSH, &[0])]).1,
            Some(Code::ID_ERROR),
            "allowed, but never promised"
        );
    }

    #[test]
    fn priorities_are_of_requests() {
        fn update(payload: &[u8]) -> (u64, &[u8]) {
            (kind::PRIORITY_UPDATE_REQUEST, payload)
        }
        let expected = Said::Priority(4, Priority { urgency: 1, incremental: true });
        assert_eq!(heard(Server, &[update(b"\x04u=1, i")]), (vec![expected], None));
        let none = Said::Priority(0, Priority::default());
        assert_eq!(heard(Server, &[update(b"\0")]), (vec![none], None));
        // RFC 9218, section 7.2: of a request, and of a push that was promised.
        for id in [1, 2, 3] {
            assert_eq!(heard(Server, &[update(&[id])]).1, Some(Code::ID_ERROR));
        }
        assert_eq!(heard(Server, &[(kind::PRIORITY_UPDATE_PUSH, &[0])]).1, Some(Code::ID_ERROR));
        // Longer than it may be.
        assert_eq!(heard(Server, &[update(&[0; 19])]).1, Some(Code::EXCESSIVE_LOAD));
    }

    #[test]
    fn frames_that_bring_nothing_are_counted() {
        // Section 10.5.
        for frame in [(0x21, &[][..]), (kind::PRIORITY_UPDATE_REQUEST, &[0]), (kind::GOAWAY, &[0])]
        {
            assert_eq!(heard(Server, &[frame; 5]).1, None);
            assert_eq!(heard(Server, &[frame; 6]).1, Some(Code::EXCESSIVE_LOAD));
        }
    }
}
