//! One lane spoken frame by frame, for what the generated client cannot say or survive.
//!
//! The programs on 15.2.0 and 15.1.0 use this file too.

use quinn::{Connection, RecvStream, SendStream};

use crate::{endpoint::BoxError, report::same};

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

    /// Nothing more may come but the end of the lane.
    pub async fn read_end(&mut self) -> Result<(), BoxError> {
        match self.recv.read_to_end(LONGEST).await {
            Ok(rest) => Ok(same("what follows", &rest, &Vec::new())?),
            Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(_))) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
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
