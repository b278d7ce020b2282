//! What goes before requests and answers, credits, times, numbered items and cancellations from
//! anybody: no panic, nothing over its bound, and what is read is written back the same.

use jetstream_proto::ext::{
    self, ExtError, FOREVER, Head, LOSSY, MAX_ENTRIES, MAX_KEY, Metadata, RMETA, TMETA,
};
use jetstream_proto::frame::{self, frames};
use jetstream_proto::mux::{self, Cancel};

/// One input: a byte that says what metadata may take, and a payload, read as each of them.
pub fn run(input: &[u8]) {
    let Some((limit, payload)) = input.split_first() else { return };
    let limit = usize::from(*limit) * 32;
    read_metadata(payload, limit);
    read_head(payload, limit);
    read_numbers(payload);
    read_item(payload);
    if let Some(cancel) = Cancel::decode(payload) {
        let mut out = Vec::new();
        mux::cancel(7, cancel.target, &mut out);
        // We only cancel on the same lane.
        assert_eq!(only(&out) == payload, cancel.binding == 0);
        assert_eq!(payload.len(), 10);
    }
    write_metadata(payload, limit);
}

fn only(frame: &[u8]) -> &[u8] {
    let mut found = frames(frame);
    let payload = found.next().map(|frame| frame.payload);
    assert_eq!(found.position(), frame.len(), "one frame, and nothing behind it");
    payload.unwrap_or_default()
}

fn check(metadata: &Metadata, limit: usize) {
    assert!(metadata.size() <= limit);
    assert!(metadata.0.len() <= MAX_ENTRIES);
    assert!(metadata.0.capacity() <= MAX_ENTRIES, "room for what a count alone promised");
    let mut keys: Vec<&str> = metadata.0.iter().map(|(key, _)| key.as_str()).collect();
    assert!(keys.iter().all(|key| (1..=MAX_KEY).contains(&key.len())));
    keys.sort_unstable();
    assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "a key comes once");
    assert_eq!(metadata.check(limit), Ok(()));
}

fn read_metadata(payload: &[u8], limit: usize) {
    let Ok(metadata) = Metadata::decode(payload, limit) else { return };
    check(&metadata, limit);
    let mut out = Vec::new();
    ext::reply_head(3, &metadata, &mut out);
    assert!(frames(&out).next().is_some_and(|frame| (frame.kind, frame.tag) == (RMETA, 3)));
    assert_eq!(only(&out), payload, "metadata has one spelling");
    // No part of it is metadata, nor it with more behind it.
    for end in 0..payload.len() {
        assert!(Metadata::decode(&payload[..end], limit).is_err());
    }
    let longer = [payload, &[0]].concat();
    assert!(Metadata::decode(&longer, limit + 1).is_err());
    // A byte less than it has is too little.
    let size = metadata.size();
    assert_eq!(size, payload.len());
    let limit = size - 1;
    assert_eq!(metadata.check(limit), Err(ExtError::TooLarge { size, limit }));
}

fn read_head(payload: &[u8], limit: usize) {
    let Ok(head) = Head::decode(payload, limit) else { return };
    check(&head.metadata, limit);
    let mut out = Vec::new();
    ext::head(9, head.time_left, &head.metadata, &mut out);
    assert!(frames(&out).next().is_some_and(|frame| (frame.kind, frame.tag) == (TMETA, 9)));
    assert_eq!(only(&out), payload);
}

fn read_numbers(payload: &[u8]) {
    let credit = ext::decode_credit(payload);
    assert_eq!(credit.is_ok(), payload.len() == 4);
    if let Ok(bytes) = credit {
        let mut out = Vec::new();
        ext::credit(1, bytes, &mut out);
        assert_eq!(only(&out), payload);
    }
    let time = ext::decode_time(payload);
    assert_eq!(time.is_ok(), payload.len() == 8);
    if let Ok(time) = time {
        let mut out = Vec::new();
        ext::time(time, &mut out);
        assert_eq!(only(&out), payload);
        assert!(time <= FOREVER);
    }
}

fn read_item(payload: &[u8]) {
    let item = ext::decode_lossy(payload);
    assert_eq!(item.is_ok(), payload.len() >= 4);
    let Ok((number, value)) = item else { return };
    let mut out = Vec::new();
    let start = frame::begin(&mut out, LOSSY, 5);
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(value);
    assert!(frame::finish(&mut out, start, u32::MAX).is_ok());
    assert_eq!(only(&out), payload);
    // Of two numbers one is later, unless they are the same or half of all apart.
    let other = value.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let (one, two) = (ext::is_later(number, other), ext::is_later(other, number));
    let apart = number.wrapping_sub(other);
    assert_eq!(one != two, apart != 0 && apart != 1 << 31);
    assert!(!(one && two));
    // Whatever numbers come, those that are taken count up, and the last that is taken was the
    // latest of all that followed it within half the circle.
    let mut last = number;
    for chunk in value.chunks_exact(2) {
        let next = number.wrapping_add(u32::from(u16::from_le_bytes([chunk[0], chunk[1]])));
        if ext::is_later(next, last) {
            assert!(next.wrapping_sub(number) > last.wrapping_sub(number));
            last = next;
        } else {
            assert!(next.wrapping_sub(number) <= last.wrapping_sub(number));
        }
    }
}

/// Metadata of our own making: what passes the check reads back the same, whatever it holds.
fn write_metadata(payload: &[u8], limit: usize) {
    let entries = payload.chunks(9).map(|chunk| {
        let (length, rest) = chunk.split_first().map_or((0, chunk), |(n, rest)| (*n, rest));
        let (key, value) = rest.split_at(usize::from(length % 6).min(rest.len()));
        let mut key = String::from_utf8_lossy(key).into_owned();
        if length > 250 {
            key = key.repeat(60);
        }
        (key, value.to_vec())
    });
    let metadata = Metadata(entries.collect());
    let mut out = Vec::new();
    metadata.encode(&mut out);
    match metadata.check(limit) {
        Ok(()) => {
            assert_eq!(out.len(), metadata.size());
            assert_eq!(Metadata::decode(&out, limit).as_ref(), Ok(&metadata));
        }
        Err(error) => {
            // The peer would say the same, unless the size is over what the wire can say.
            assert!(metadata.0.len() <= usize::from(u16::MAX));
            assert_eq!(Metadata::decode(&out, limit), Err(error));
        }
    }
}
