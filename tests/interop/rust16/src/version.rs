//! Version frames on a lane that is spoken by hand.
//!
//! The program on 15.2.0 uses this file too.

use std::io::Cursor;

use jetstream_rpc::{Frame, Rversion, Tversion, VersionFrame};
use jetstream_wireformat::WireFormat;
use quinn::Connection;

use crate::{endpoint::BoxError, lane::Lane, report::same};

/// A refusal answers with this version and an msize of zero.
const UNKNOWN: &str = "unknown";
/// The tag that 9P uses for the version; the peers accept any.
const VERSION_TAG: u16 = u16::MAX;

/// The bytes that ask for a version.
pub fn version_request(msize: u32, version: &str) -> Result<Vec<u8>, BoxError> {
    let msg = VersionFrame::Tversion(Tversion { msize, version: version.into() });
    let mut bytes = Vec::new();
    Frame { tag: VERSION_TAG, msg }.encode(&mut bytes)?;
    Ok(bytes)
}

pub async fn read_version(lane: &mut Lane) -> Result<Rversion, BoxError> {
    let frame = lane.read().await?;
    same("type of the answer", &frame.kind, &jetstream_rpc::RVERSION)?;
    same("tag of the answer", &frame.tag, &VERSION_TAG)?;
    Ok(Rversion::decode(&mut Cursor::new(frame.payload))?)
}

/// The server must not serve this version: either it says so or it closes the lane.
pub async fn refused(connection: &Connection, version: &str) -> Result<(), BoxError> {
    let mut lane = Lane::open(connection).await?;
    lane.write(&version_request(65_536, version)?).await?;
    match read_version(&mut lane).await {
        Ok(answer) => {
            same("version", &answer.version.as_str(), &UNKNOWN)?;
            Ok(same("msize", &answer.msize, &0)?)
        }
        Err(_) => lane.read_end().await,
    }
}
