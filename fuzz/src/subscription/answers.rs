//! What comes back to the calling end: answers, items, grants.

use jetstream_proto::ext::{self, ACCEPT, Metadata};
use jetstream_proto::frame::Frame;
use jetstream_proto::frame::kind::{RCANCEL, RDONE, RVERSION};
use jetstream_proto::limits::{FRAME_HEADER, NO_TAG};
use jetstream_proto::mux::{Kept, Reply, Shape};
use jetstream_proto::version::{Offer, Version};

use super::book::{Book, End, MAX_METADATA, MSIZE, read_item};
use super::calling::{CROWD, Calling, Phase, Use};

/// What a frame means for more than its lane.
pub(super) enum Heard {
    GoingAway,
    /// All that was begun has been answered.
    Gone,
    NotBegun(Kept<usize>),
}

impl Calling {
    pub(super) fn on_frame(
        &mut self,
        frame: Frame<'_>,
        book: &mut Book,
        ours: &Version,
    ) -> Result<Option<Heard>, String> {
        let Frame { kind, tag, payload } = frame;
        match self.phase {
            Phase::Detached => return Ok(None),
            Phase::Negotiating => return self.on_version(frame, book, ours).map(|()| None),
            Phase::Open | Phase::Draining => {}
        }
        if self.extension {
            match kind {
                ext::GOAWAY if tag == NO_TAG => {
                    let before = std::mem::replace(&mut self.phase, Phase::Draining);
                    let gone = before == Phase::Draining;
                    return Ok(Some(if gone { Heard::Gone } else { Heard::GoingAway }));
                }
                ext::GOAWAY => {
                    let kept = self.caller.not_begun(tag);
                    if matches!(self.used.get(&tag), Some(Use::Call(_))) {
                        self.used.remove(&tag);
                    }
                    return Ok(kept.map(Heard::NotBegun));
                }
                ext::RMETA => {
                    let metadata = Metadata::decode(payload, MAX_METADATA);
                    self.metadata = Some((tag, metadata.map_err(|error| error.to_string())?));
                    return Ok(None);
                }
                ext::CREDIT => {
                    let bytes = ext::decode_credit(payload).map_err(|error| error.to_string())?;
                    if let Some(call) =
                        self.caller.value(tag).and_then(|call| book.calls.get_mut(*call))
                    {
                        if let Some(feed) = &mut call.feed {
                            feed.sending.granted(bytes);
                        }
                    }
                    return Ok(None);
                }
                _ => {}
            }
        }
        let reply = self.caller.reply(kind, tag, payload).map_err(|error| error.to_string())?;
        if reply == Reply::Item {
            return self.on_item(frame, book).map(|()| None);
        }
        self.gives_back(frame, &reply, book);
        // What was said of an answer that nobody waits for is not the next one's.
        let metadata = self.metadata.take_if(|(of, _)| *of == tag);
        let (number, end) = match reply {
            Reply::Result(number) => (number, End::Result),
            Reply::Fault(number) => (number, End::Fault),
            Reply::Done(number) => (number, End::Done),
            Reply::Cancelled(number) => (number, End::Cancelled),
            Reply::Item | Reply::Abandoned => return Ok(None),
        };
        if number == CROWD {
            // Only a stranger answers them.
            assert!(!book.honest);
            return Ok(None);
        }
        if book.honest {
            self.check_answer(number, end, frame, metadata, book);
        }
        book.end(number, end);
        Ok(None)
    }

    fn on_version(&mut self, frame: Frame<'_>, book: &Book, ours: &Version) -> Result<(), String> {
        if frame.kind != RVERSION {
            return Err(format!("a frame of type {} where a version was due", frame.kind));
        }
        let offer = Offer::decode(frame.payload).map_err(|error| error.to_string())?;
        let theirs = Version::parse(&offer.version).map_err(|error| error.to_string())?;
        if !theirs.serves(ours) || offer.msize < MSIZE {
            return Err("a version that does not fit".to_owned());
        }
        self.agreed(ext::is_marked(&theirs, ACCEPT), book);
        Ok(())
    }

    /// A frame gave a tag back, or two.
    fn gives_back(&mut self, frame: Frame<'_>, reply: &Reply<usize>, book: &Book) {
        let Frame { kind, tag, .. } = frame;
        if kind == RCANCEL {
            let by = self.used.remove(&tag);
            let Some(Use::Cancel(target, number)) = by else {
                panic!("{by:?} was acknowledged under tag {tag}")
            };
            assert_eq!(
                frame.payload,
                target.to_le_bytes(),
                "another cancellation's acknowledgement"
            );
            // Nothing more comes under the target's tag, unless that went to another meanwhile.
            if self.used.get(&target) == Some(&Use::Call(number)) {
                self.used.remove(&target);
            }
            return;
        }
        if usize::from(tag) < usize::from(self.crowd.0 + self.crowd.1) {
            return;
        }
        let Some(Use::Call(number)) = self.used.get(&tag).copied() else {
            panic!("an answer of type {kind} under tag {tag}, which nobody has")
        };
        let call = &book.calls[number];
        let item = call.method().shape == Shape::Stream && matches!(kind, ext::LOSSY)
            || call.method().shape == Shape::Stream && kind == call.reply();
        if !item {
            self.used.remove(&tag);
        }
        assert!(*reply == Reply::Abandoned || !item);
    }

    fn on_item(&mut self, frame: Frame<'_>, book: &mut Book) -> Result<(), String> {
        let Some(&mut number) = self.caller.value(frame.tag) else { panic!("an item of nobody") };
        if number == CROWD {
            assert!(!book.honest);
            return Ok(());
        }
        if frame.kind == ext::LOSSY {
            return Err("a numbered item of a stream that is not lossy".to_owned());
        }
        let (honest, window) = (book.honest, book.window as usize);
        let call = &mut book.calls[number];
        assert_eq!(call.end, None, "an item after the end");
        let size = FRAME_HEADER + frame.payload.len();
        if self.extension && !call.receiving.arrived(size) {
            return Err("an item that was not granted".to_owned());
        }
        if honest {
            let (of, which) = read_item(frame.payload);
            assert_eq!((of, which), (number, call.received), "items come in order, each once");
        }
        assert!(!self.extension || call.held < window, "{} bytes held", call.held);
        call.inbox.push_back((call.received, size));
        call.received += 1;
        call.held += size;
        if !self.extension && call.held > window {
            // It shares the lane with calls, and the peer cannot be told to wait.
            call.inbox.clear();
            call.held = 0;
            self.withdraw(number, End::Overflow, book);
        }
        Ok(())
    }

    fn check_answer(
        &self,
        number: usize,
        end: End,
        frame: Frame<'_>,
        metadata: Option<(u16, Metadata)>,
        book: &Book,
    ) {
        let call = &book.calls[number];
        if matches!(end, End::Result | End::Done) {
            let payload = &frame.payload[usize::from(frame.kind == RDONE)..];
            let (of, items) = read_item(payload);
            assert_eq!((of, items), (number, call.received), "the answer is another's");
            let expected = Book::metadata(number);
            let said = metadata.map(|(_, metadata)| metadata).unwrap_or_default();
            assert_eq!(said, if self.extension { expected } else { Metadata::default() });
        }
        assert_ne!(end, End::Cancelled, "it was given up, and nobody asked for that");
    }
}
