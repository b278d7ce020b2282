//! Bytes as a script of steps: one says which, those behind it say how.

/// What is left of a script. At its end there are zeros, and no more steps.
pub struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    /// A script of these bytes.
    pub fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    /// The next step, if there is one.
    pub fn step(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.step().unwrap_or(0)
    }

    /// A number of one to three bytes, small ones most of all.
    pub fn number(&mut self) -> u32 {
        match self.byte() {
            small @ 0..=0xef => small.into(),
            0xf0..=0xf7 => u32::from(self.byte()) << 8 | u32::from(self.byte()),
            _ => u32::from(self.byte()) << 16 | u32::from(self.byte()) << 8,
        }
    }

    /// So many bytes, or as many as there are.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
