//! The called end of a lane: which tags are being answered.

use super::MuxError;

/// The tags of the requests that have not been answered yet.
///
/// A bitmap that grows to the highest tag in use: callers give out low tags first, so an idle lane
/// costs nothing and a busy one a few words.
#[derive(Debug, Default)]
pub struct Callee {
    words: Vec<u64>,
    running: usize,
}

impl Callee {
    /// A request came under `tag`.
    ///
    /// # Errors
    /// An earlier request under the same tag has not been answered.
    pub fn begin(&mut self, tag: u16) -> Result<(), MuxError> {
        let (word, bit) = position(tag);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        if self.words[word] & bit != 0 {
            return Err(MuxError::DuplicateTag { tag });
        }
        self.words[word] |= bit;
        self.running += 1;
        Ok(())
    }

    /// The request under `tag` has been answered. Whether it was being answered at all.
    pub fn finish(&mut self, tag: u16) -> bool {
        let (word, bit) = position(tag);
        let Some(word) = self.words.get_mut(word) else { return false };
        let running = *word & bit != 0;
        *word &= !bit;
        self.running -= usize::from(running);
        running
    }

    /// How many requests are being answered.
    pub fn running(&self) -> usize {
        self.running
    }
}

fn position(tag: u16) -> (usize, u64) {
    (usize::from(tag) / 64, 1 << (tag % 64))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_taken_until_it_is_answered() {
        let mut callee = Callee::default();
        for tag in [0, 63, 64, 65535] {
            callee.begin(tag).unwrap();
            assert_eq!(callee.begin(tag), Err(MuxError::DuplicateTag { tag }));
        }
        assert_eq!(callee.running(), 4);
        assert!(callee.finish(64));
        assert!(!callee.finish(64));
        assert!(!callee.finish(1000));
        assert_eq!(callee.running(), 3);
        callee.begin(64).unwrap();
    }
}
