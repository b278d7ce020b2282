//! What is known of every call, at both ends and on the way between them, and what of that must
//! always hold.

use std::collections::VecDeque;

use jetstream_proto::dialect::Dialect;
use jetstream_proto::ext::{FOREVER, Metadata};
use jetstream_proto::frame;
use jetstream_proto::limits::NO_TAG;
use jetstream_proto::mux::{Deadlines, Receiving, Sending, Shape, Ticket};

/// The largest frame, header included, that either end takes.
pub(super) const MSIZE: u32 = 4096;

/// What metadata may take.
pub(super) const MAX_METADATA: usize = 64;

/// Calls of one script; more only take longer.
pub(super) const MOST_CALLS: usize = 192;

pub(super) struct Method {
    pub(super) shape: Shape,
    pub(super) idempotent: bool,
    /// Whether its requests carry a stream from the caller.
    pub(super) feeds: bool,
}

const fn method(shape: Shape, idempotent: bool, feeds: bool) -> Method {
    Method { shape, idempotent, feeds }
}

/// The methods that both ends know, by number.
pub(super) const METHODS: [Method; 5] = [
    method(Shape::Call, false, false),
    method(Shape::Call, true, false),
    method(Shape::Call, false, true),
    method(Shape::Stream, false, false),
    method(Shape::Stream, true, true),
];

/// Both ends number methods the same.
pub(super) const DIALECT: Dialect = Dialect::V16;

/// How a call ended for whoever made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Result,
    Fault,
    Done,
    /// The called end gave it up.
    Cancelled,
    /// Its caller has gone.
    Left,
    Late,
    /// Its connection has gone, and it may have been begun.
    Lost,
    /// The peer does not speak the extension.
    Refused,
    /// It was ahead of its taker by more than is held, where the peer cannot be told.
    Overflow,
}

/// A stream's bytes between whoever sends its items and whoever takes them, wherever they are.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Ahead {
    sent: u64,
    taken: u64,
    pub(super) items: u32,
}

impl Ahead {
    /// An item is sent. One that begins within the window may go over it.
    pub(super) fn sent(&mut self, size: usize, window: Option<u32>) {
        let ahead = self.sent - self.taken;
        if let Some(window) = window {
            assert!(ahead < u64::from(window), "{ahead} bytes ahead before an item of {size}");
        }
        self.sent += size as u64;
        self.items += 1;
    }

    pub(super) fn taken(&mut self, size: usize) {
        self.taken += size as u64;
        assert!(self.taken <= self.sent, "more was taken than sent");
    }
}

/// The stream from the caller that a call carries.
pub(super) struct Feed {
    pub(super) sending: Sending,
    /// Its request has left; before that there is nothing for items to belong to.
    pub(super) begun: bool,
    pub(super) ended: bool,
}

pub(super) struct Call {
    pub(super) method: u8,
    pub(super) ticket: Ticket,
    /// When its time is up.
    pub(super) until: Option<u64>,
    /// The time that it had at first.
    pub(super) time: u64,
    /// The time that it has left as its request said, or would have.
    pub(super) said: u64,
    pub(super) frame: Vec<u8>,
    pub(super) end: Option<End>,
    /// Items that have arrived and have not been taken: their numbers and sizes.
    pub(super) inbox: VecDeque<(u32, usize)>,
    pub(super) held: usize,
    pub(super) receiving: Receiving,
    pub(super) received: u32,
    pub(super) taken: u32,
    pub(super) feed: Option<Feed>,
    /// Items to the caller, and items from the caller.
    pub(super) down: Ahead,
    pub(super) up: Ahead,
    /// Requests that left, and those of which the called end said that they were not begun.
    pub(super) left: u32,
    pub(super) not_begun: u32,
    pub(super) begun: u32,
}

impl Call {
    pub(super) fn method(&self) -> &'static Method {
        &METHODS[usize::from(self.method)]
    }

    pub(super) fn reply(&self) -> u8 {
        DIALECT.reply(self.method)
    }

    /// As calls that outlive their connection are chosen: what has been taken of a stream is gone.
    pub(super) fn may_be_sent(&self) -> bool {
        self.feed.is_none()
    }

    pub(super) fn may_be_repeated(&self) -> bool {
        self.method().shape == Shape::Call && self.method().idempotent && self.may_be_sent()
    }
}

pub(super) struct Book {
    pub(super) calls: Vec<Call>,
    /// Both ends are ours: nobody breaks a rule.
    pub(super) honest: bool,
    /// What a stream may send unasked, and what is held of it ahead of its taker.
    pub(super) at_first: u32,
    pub(super) window: u32,
    /// The time of calls that do not say.
    pub(super) usual_time: u64,
    pub(super) now: u64,
    pub(super) deadlines: Deadlines<u64, Ticket>,
    pub(super) live: usize,
}

impl Book {
    /// The place that the next call will have.
    pub(super) fn draw_up(&self, method: u8, time: u64, padding: usize) -> Call {
        let number = self.calls.len() as u32;
        let mut request = Vec::new();
        let start = frame::begin(&mut request, DIALECT.request(method), NO_TAG);
        request.extend_from_slice(&number.to_le_bytes());
        request.resize(request.len() + padding, 0xaa);
        assert!(frame::finish(&mut request, start, MSIZE).is_ok());
        let feed = METHODS[usize::from(method)].feeds.then(|| Feed {
            sending: Sending::new(self.at_first),
            begun: false,
            ended: false,
        });
        Call {
            method,
            ticket: Ticket { tag: NO_TAG, serial: 0 },
            until: (time != FOREVER).then(|| self.now + time),
            time,
            said: time,
            frame: request,
            end: None,
            inbox: VecDeque::new(),
            held: 0,
            receiving: Receiving::new(self.window),
            received: 0,
            taken: 0,
            feed,
            down: Ahead::default(),
            up: Ahead::default(),
            left: 0,
            not_begun: 0,
            begun: 0,
        }
    }

    pub(super) fn end(&mut self, call: usize, end: End) {
        let ended = self.calls[call].end.replace(end);
        assert_eq!(ended, None, "call {call} ended twice, at last with {end:?}");
        self.live -= 1;
    }

    /// The metadata that call `number` carries, and that its answer does.
    pub(super) fn metadata(number: usize) -> Metadata {
        match number % 4 {
            1 => Metadata(vec![("call".to_owned(), vec![number as u8; number % 7])]),
            _ => Metadata::default(),
        }
    }

    /// A request left, once more or for the first time.
    pub(super) fn leaves(&mut self, call: usize) {
        let call = &mut self.calls[call];
        call.left += 1;
        let once = call.left <= call.not_begun + 1;
        assert!(once || call.method().idempotent, "a request left a second time");
    }

    /// A method was begun.
    pub(super) fn begins(&mut self, call: usize) {
        let call = &mut self.calls[call];
        call.begun += 1;
        assert!(call.begun == 1 || call.may_be_repeated(), "a method was begun a second time");
    }
}

/// What an item holds: whose it is and which, and more or less behind that.
pub(super) fn item(call: usize, number: u32, padding: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(call as u32).to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.resize(out.len() + padding, number as u8);
}

/// Whose an item is, and which.
pub(super) fn read_item(payload: &[u8]) -> (usize, u32) {
    let Some((call, rest)) = payload.split_first_chunk::<4>() else { panic!("a cut item") };
    let Some((number, padding)) = rest.split_first_chunk::<4>() else { panic!("a cut item") };
    let number = u32::from_le_bytes(*number);
    assert!(padding.iter().all(|byte| *byte == number as u8), "an item was mixed up");
    (u32::from_le_bytes(*call) as usize, number)
}
