//! Where in a value something went wrong. Nothing here runs until something did.
use std::fmt;

/// One step from a value to a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A field of a struct, by name.
    Field(Box<str>),
    /// An argument of a method, by name.
    Argument(Box<str>),
    /// An item of a list, tuple or set, by position.
    Index(usize),
    /// The value under this key of a map; the key as text.
    Key(String),
    /// The key of the entry at this position of a map.
    KeyAt(usize),
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Argument(name) => write!(f, ".{name}"),
            Self::Index(index) => write!(f, "[{index}]"),
            Self::Key(key) => write!(f, "[{key}]"),
            Self::KeyAt(index) => write!(f, "{{key {index}}}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Inner<C> {
    offset: Option<usize>,
    /// Innermost first: segments are pushed while the recursion unwinds.
    path: Vec<Segment>,
    cause: C,
}

/// Why a value could not be encoded or decoded, and where. One pointer wide, so that the results
/// of the hot path stay in registers.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure<C>(Box<Inner<C>>);

impl<C> Failure<C> {
    /// A failure with nothing known but its cause.
    #[cold]
    pub fn new(cause: C) -> Self {
        Self(Box::new(Inner { offset: None, path: Vec::new(), cause }))
    }

    /// The same failure, at this byte unless a more exact one is known.
    #[cold]
    #[must_use]
    pub fn at(mut self, offset: usize) -> Self {
        self.0.offset.get_or_insert(offset);
        self
    }

    /// The same failure, seen from one level further out.
    #[cold]
    #[must_use]
    pub fn within(mut self, segment: Segment) -> Self {
        self.0.path.push(segment);
        self
    }

    /// The first byte that could not be read, where bytes were read.
    pub fn offset(&self) -> Option<usize> {
        self.0.offset
    }

    /// From the outermost value to the part at fault, such as `.items[3].name`.
    pub fn path(&self) -> String {
        self.0.path.iter().rev().map(Segment::to_string).collect()
    }

    /// What went wrong.
    pub fn cause(&self) -> &C {
        &self.0.cause
    }

    /// What went wrong, by value.
    pub fn into_cause(self) -> C {
        self.0.cause
    }
}

impl<C: fmt::Display> fmt::Display for Failure<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path();
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        write!(f, "{}", self.0.cause)?;
        match self.0.offset {
            Some(offset) => write!(f, " (byte {offset})"),
            None => Ok(()),
        }
    }
}

impl<C: fmt::Debug + fmt::Display> std::error::Error for Failure<C> {}
