//! Version frames and version strings from anybody: what is read is written back the same, and who
//! serves whom follows the rule and nothing else.

use jetstream_proto::frame::{frames, kind};
use jetstream_proto::limits::MAX_VERSION_STRING;
use jetstream_proto::version::{Offer, Version};

/// One input: the payload of a version frame; its string is split in two at a line's end, if it
/// has one, to compare two versions.
pub fn run(input: &[u8]) {
    if let Ok(offer) = Offer::decode(input) {
        let mut out = Vec::new();
        offer.encode(kind::TVERSION, 65_535, &mut out);
        let frame = frames(&out).next();
        assert!(frame.is_some_and(|frame| frame.payload == input), "an offer has one spelling");
    }
    let text = String::from_utf8_lossy(input);
    let (one, other) = text.split_once('\n').unwrap_or((&text, &text));
    let (Ok(one), Ok(other)) = (read(one), read(other)) else { return };
    let rule = one.name == other.name
        && one.number.0 == other.number.0
        && (one.number.1, one.number.2) >= (other.number.1, other.number.2);
    assert_eq!(one.serves(&other), rule);
    assert!(one.serves(&one));
    let rebuilt = Version { build: other.build.clone(), ..one.clone() };
    assert!(one.serves(&rebuilt) && rebuilt.serves(&one), "the build part never decides");
}

fn read(text: &str) -> Result<Version, ()> {
    let version = Version::parse(text).map_err(drop)?;
    assert!(text.len() <= MAX_VERSION_STRING);
    assert!(!version.name.is_empty());
    let written = version.to_string();
    // An empty pre-release or build part is not written.
    assert!(written.len() <= text.len());
    assert_eq!(Version::parse(&written).as_ref(), Ok(&version));
    let offer = Offer { msize: 0, version: written };
    let mut out = Vec::new();
    offer.encode(kind::RVERSION, 0, &mut out);
    let payload = frames(&out).next().map(|frame| frame.payload);
    assert_eq!(payload.map(Offer::decode), Some(Ok(offer)));
    Ok(version)
}
