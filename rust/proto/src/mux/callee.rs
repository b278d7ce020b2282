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
    announced: Option<u16>,
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

    /// What goes before the request under `tag` came; that request must be the next frame.
    ///
    /// # Errors
    /// Another request was announced and has not come, or the tag is taken.
    pub fn announce(&mut self, tag: u16) -> Result<(), MuxError> {
        self.go_on(None)?;
        if self.is_running(tag) {
            return Err(MuxError::DuplicateTag { tag });
        }
        self.announced = Some(tag);
        Ok(())
    }

    /// A frame came: a request under `request`, or something else. Whether it is the request that
    /// was announced.
    ///
    /// # Errors
    /// A request was announced, and this is not it.
    #[inline]
    pub fn go_on(&mut self, request: Option<u16>) -> Result<bool, MuxError> {
        match self.announced {
            None => Ok(false),
            Some(tag) if request == Some(tag) => {
                self.announced = None;
                Ok(true)
            }
            Some(tag) => Err(MuxError::Interrupted { tag }),
        }
    }

    /// Whether the request under `tag` has not been answered.
    pub fn is_running(&self, tag: u16) -> bool {
        let (word, bit) = position(tag);
        self.words.get(word).is_some_and(|word| word & bit != 0)
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
        assert!(callee.is_running(64) && !callee.is_running(65));
    }

    #[test]
    fn an_announced_request_is_the_next_frame() {
        let mut callee = Callee::default();
        assert_eq!(callee.go_on(Some(7)), Ok(false));
        callee.announce(7).unwrap();
        assert_eq!(callee.go_on(Some(7)), Ok(true));
        callee.begin(7).unwrap();
        assert_eq!(callee.announce(7), Err(MuxError::DuplicateTag { tag: 7 }));
        callee.announce(8).unwrap();
        let interrupted = MuxError::Interrupted { tag: 8 };
        assert_eq!(callee.announce(9), Err(interrupted));
        assert_eq!(callee.go_on(Some(9)), Err(interrupted));
        assert_eq!(callee.go_on(None), Err(interrupted));
    }
}
