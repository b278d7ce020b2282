//! Field sections from anybody: what is read is within the limits and goes there and back; so do
//! fields of any bytes; and the two streams of instructions never take more than they may.

use jetstream_proto::http3::qpack::{self, DecodeError, DecoderStream};
use jetstream_proto::http3::{Budget, Fields, RequestHead, ResponseHead, head};

use crate::script::Script;

/// One input: limits, then a field section, which is also a script of fields and instructions.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let most = usize::from(script.byte() % 32);
    let size = usize::from(script.byte()) * 8;
    let section = script.bytes(usize::MAX);
    match qpack::decode(section, most, size) {
        Ok(fields) => {
            assert!(fields.len() <= most && fields.size() <= size);
            there_and_back(&fields);
            messages(&fields);
        }
        // A limit is the only thing that a larger limit changes.
        Err(DecodeError::TooLarge) => {
            let larger = qpack::decode(section, usize::MAX, 1 << 20);
            assert!(!larger.is_ok_and(|all| all.len() <= most && all.size() <= size));
        }
        Err(DecodeError::Failed(_)) => {
            assert!(matches!(
                qpack::decode(section, usize::MAX, 1 << 20),
                Err(DecodeError::Failed(_))
            ));
        }
    }
    let mut fields = Fields::default();
    let mut script = Script::new(section);
    while let Some(length) = script.step() {
        let name = script.bytes(usize::from(length % 16));
        let length = script.number() as usize % 512;
        fields.push(name, script.bytes(length));
    }
    there_and_back(&fields);
    instructions(section);
}

fn there_and_back(fields: &Fields) {
    let mut out = qpack::PREFIX.to_vec();
    for (name, value) in fields {
        qpack::field(name, value, &mut out);
    }
    assert!(out.len() <= qpack::PREFIX.len() + fields.size(), "coding never makes it larger");
    let back = qpack::decode(&out, fields.len(), fields.size());
    assert_eq!(back.as_ref(), Ok(fields));
}

/// What is taken for a message has only what messages may have.
fn messages(fields: &Fields) {
    let clean = |name: &[u8], value: &[u8]| {
        !name.is_empty()
            && !name.iter().any(|byte| byte.is_ascii_uppercase() || *byte <= b' ' || *byte == b':')
            && !value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n' | 0x7f))
    };
    if let Ok(head) = RequestHead::new(fields.clone(), true) {
        assert!(head.fields().all(|(name, value)| clean(name, value)));
        assert!(clean(b"x", head.method()) && clean(b"x", head.path().unwrap_or_default()));
        assert_eq!(head.path().is_none(), head.is_connect() && head.protocol().is_none());
        assert!(RequestHead::new(fields.clone(), false).is_ok() == head.protocol().is_none());
    }
    if let Ok(head) = ResponseHead::new(fields.clone()) {
        assert!(head.fields().all(|(name, value)| clean(name, value)));
        assert!((100..1000).contains(&head.status()) && head.status() != 101);
    }
    if let Ok(trailers) = head::trailers(fields.clone()) {
        assert!(trailers.iter().all(|(name, value)| clean(name, value)));
    }
}

fn instructions(bytes: &[u8]) {
    let mut budget = Budget::new(64);
    let encoder = qpack::encoder_stream(bytes, &mut budget);
    assert_eq!(encoder.is_ok(), bytes.len() <= 64 && bytes.iter().all(|byte| *byte == 0x20));
    let whole = DecoderStream::default().read(bytes, &mut Budget::new(64));
    let (mut pieces, mut budget) = (DecoderStream::default(), Budget::new(64));
    let cut = bytes.iter().try_for_each(|byte| pieces.read(&[*byte], &mut budget));
    assert_eq!(whole, cut);
}
