//! The frames by which a call is given up: `Tcancel`, `Rcancel` and an `Rdone` without a result.

use crate::ext::whole;
use crate::frame::kind::{RCANCEL, RDONE, TCANCEL};

/// What `Tcancel` carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancel {
    /// The tag of the request to give up.
    pub target: u16,
    /// The lane that the request is on; 0 is the one that this came on.
    pub binding: u64,
}

impl Cancel {
    /// Reads the payload of `Tcancel`; `None` if it is not two and eight bytes.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (target, binding) = payload.split_first_chunk::<2>()?;
        let binding = binding.try_into().ok()?;
        Some(Self { target: u16::from_le_bytes(*target), binding: u64::from_le_bytes(binding) })
    }
}

/// Appends a `Tcancel` under `tag`, for a request on the same lane.
pub fn cancel(tag: u16, target: u16, out: &mut Vec<u8>) {
    whole(TCANCEL, tag, out, |out| {
        out.extend_from_slice(&target.to_le_bytes());
        out.extend_from_slice(&0_u64.to_le_bytes());
    });
}

/// Appends the `Rcancel` that answers it.
pub fn cancelled(tag: u16, target: u16, out: &mut Vec<u8>) {
    whole(RCANCEL, tag, out, |out| out.extend_from_slice(&target.to_le_bytes()));
}

/// Appends the end, without a result, of the request under `tag`.
pub fn ended(tag: u16, out: &mut Vec<u8>) {
    whole(RDONE, tag, out, |out| out.push(0));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::frame::frames;

    #[test]
    fn frames_are_as_the_protocol_says() {
        let mut out = Vec::new();
        cancel(2, 1, &mut out);
        assert_eq!(out, [17, 0, 0, 0, 9, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let payload = frames(&out).next().unwrap().payload;
        assert_eq!(Cancel::decode(payload), Some(Cancel { target: 1, binding: 0 }));
        assert_eq!(Cancel::decode(&payload[..9]), None);
        out.clear();
        cancelled(2, 1, &mut out);
        assert_eq!(out, [9, 0, 0, 0, 10, 2, 0, 1, 0]);
        out.clear();
        ended(1, &mut out);
        assert_eq!(out, [8, 0, 0, 0, 8, 1, 0, 0]);
    }
}
