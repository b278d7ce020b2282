//! The payload of an `Rerror` frame from anybody: it is refused with a place inside it, or read;
//! what is read is written and read back the same, and a small payload makes no large fault.

use jetstream_proto::fault::Fault;
use jetstream_proto::limits::MAX_BACKTRACE_FRAMES;

/// One input: a payload.
pub fn run(input: &[u8]) {
    let fault = match Fault::decode(input) {
        Ok(fault) => fault,
        Err(error) => {
            assert!(error.offset <= input.len(), "{error}");
            assert!(!error.what.is_empty());
            return;
        }
    };
    let longer = [input, &[0]].concat();
    assert!(Fault::decode(&longer).is_err(), "bytes after the end");

    let texts =
        [Some(&fault.message), fault.code.as_ref(), fault.help.as_ref(), fault.url.as_ref()];
    let length: usize = texts.into_iter().flatten().map(String::len).sum();
    assert!(length <= input.len());
    // 15 bytes are a frame's least, 4 those of a field.
    assert!(fault.backtrace.len() <= MAX_BACKTRACE_FRAMES.min(input.len() / 15));
    let fields: usize = fault.backtrace.iter().map(|frame| frame.fields.len()).sum();
    assert!(fields <= input.len() / 4);

    let mut once = Vec::new();
    fault.encode(&mut once);
    assert!(once.len() <= input.len(), "a fault grows only by its backtrace");
    let again = Fault::decode(&once);
    assert_eq!(again, Ok(Fault { backtrace: Vec::new(), ..fault }));
}
