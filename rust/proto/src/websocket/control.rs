//! The payload of a control frame, kept in place: there is never more than a fixed size of it.

/// The longest payload of a control frame, in bytes (RFC 6455, section 5.5).
pub const MAX_CONTROL: usize = 125;

/// Up to [`MAX_CONTROL`] bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Control {
    bytes: [u8; MAX_CONTROL],
    length: usize,
}

impl Control {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; MAX_CONTROL], length: 0 }
    }

    pub(super) fn of(payload: &[u8]) -> Self {
        let mut control = Self::new();
        control.push(payload);
        control
    }

    /// Appends what fits; the reader of frames saw to it that all does.
    pub(super) fn push(&mut self, payload: &[u8]) {
        let free = self.bytes.get_mut(self.length..).unwrap_or_default();
        let size = payload.len().min(free.len());
        for (to, from) in free.iter_mut().zip(payload) {
            *to = *from;
        }
        self.length += size;
    }

    pub(super) fn payload(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}
