//! One lane spoken frame by frame, for what the generated client cannot say or survive.

use std::io::Cursor;

use jetstream_rpc::{Frame, Rversion, Tversion, VersionFrame};
use jetstream_wireformat::WireFormat;
use quinn::{Connection, RecvStream, SendStream};

use crate::{endpoint::BoxError, report::same};

/// A refusal answers with this version and an msize of zero.
const UNKNOWN: &str = "unknown";
/// Longer answers are not expected here.
const LONGEST: usize = 64 * 1024;

pub struct Lane {
    send: SendStream,
    recv: RecvStream,
}

/// A frame as it came: type, tag, payload.
#[derive(Debug, PartialEq)]
pub struct RawFrame {
    pub kind: u8,
    pub tag: u16,
    pub payload: Vec<u8>,
}

impl Lane {
    pub async fn open(connection: &Connection) -> Result<Self, BoxError> {
        let (send, recv) = connection.open_bi().await?;
        Ok(Self { send, recv })
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        Ok(self.send.write_all(bytes).await?)
    }

    /// Says that no more requests follow.
    pub fn finish(&mut self) -> Result<(), BoxError> {
        Ok(self.send.finish()?)
    }

    pub async fn read(&mut self) -> Result<RawFrame, BoxError> {
        let mut header = [0; 7];
        self.recv.read_exact(&mut header).await?;
        let [a, b, c, d, kind, low, high] = header;
        let size = usize::try_from(u32::from_le_bytes([a, b, c, d]))?;
        let length = size.checked_sub(header.len()).filter(|length| *length <= LONGEST);
        let mut payload = vec![0; length.ok_or_else(|| format!("a frame of {size} bytes"))?];
        self.recv.read_exact(&mut payload).await?;
        Ok(RawFrame { kind, tag: u16::from_le_bytes([low, high]), payload })
    }

    pub async fn read_version(&mut self) -> Result<Rversion, BoxError> {
        let frame = self.read().await?;
        same("type of the answer", &frame.kind, &jetstream_rpc::RVERSION)?;
        same("tag of the answer", &frame.tag, &VERSION_TAG)?;
        Ok(Rversion::decode(&mut Cursor::new(frame.payload))?)
    }

    /// Nothing more may come but the end of the lane.
    pub async fn read_end(&mut self) -> Result<(), BoxError> {
        match self.recv.read_to_end(LONGEST).await {
            Ok(rest) => Ok(same("what follows", &rest, &Vec::new())?),
            Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(_))) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The tag that 9P uses for the version; the peers accept any.
const VERSION_TAG: u16 = u16::MAX;

/// The bytes that open a lane.
pub fn version_request(msize: u32, version: &str) -> Result<Vec<u8>, BoxError> {
    let msg = VersionFrame::Tversion(Tversion { msize, version: version.into() });
    let mut bytes = Vec::new();
    Frame { tag: VERSION_TAG, msg }.encode(&mut bytes)?;
    Ok(bytes)
}

/// A frame with any type and payload.
pub fn request(kind: u8, tag: u16, payload: &[u8]) -> Result<Vec<u8>, BoxError> {
    let size = u32::try_from(7 + payload.len())?;
    let mut bytes = size.to_le_bytes().to_vec();
    bytes.push(kind);
    bytes.extend_from_slice(&tag.to_le_bytes());
    bytes.extend_from_slice(payload);
    Ok(bytes)
}

/// The server must not serve this version: either it says so or it closes the lane.
pub async fn refused(connection: &Connection, version: &str) -> Result<(), BoxError> {
    let mut lane = Lane::open(connection).await?;
    lane.write(&version_request(65_536, version)?).await?;
    match lane.read_version().await {
        Ok(answer) => {
            same("version", &answer.version.as_str(), &UNKNOWN)?;
            Ok(same("msize", &answer.msize, &0)?)
        }
        Err(_) => lane.read_end().await,
    }
}
