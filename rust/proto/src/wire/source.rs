//! What the encoder reads values through, and why a value may not fit.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

use super::{Failure, MAX_COUNT, MAX_DATA, MAX_DEPTH, MAX_EMPTY, Shape};

/// Why a value does not fit its plan.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum EncodeReason {
    #[error("expected {expected}")]
    Mismatch { expected: &'static str },
    #[error("{value} does not fit {kind}, which holds {low} to {high}")]
    Range { value: Integer, kind: &'static str, low: i128, high: u128 },
    #[error("{value} is too large for f32")]
    Float { value: Box<str> },
    #[error("a string of {length} bytes in UTF-8; at most {MAX_COUNT} fit (use bytes for more)")]
    TextTooLong { length: usize },
    #[error("{length} bytes; at most {MAX_DATA} fit")]
    DataTooLong { length: usize },
    #[error("more than {MAX_COUNT} {what}; no more fit")]
    TooMany { what: &'static str },
    #[error("more than {MAX_EMPTY} elements of no size")]
    Empty,
    #[error("a tuple of {wanted} has {found} items")]
    Arity { wanted: usize, found: usize },
    #[error("not a URL: it does not start with a scheme such as https:")]
    NotUrl,
    #[error("two keys that are the same on the wire")]
    Duplicate,
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("{found} arguments given, {wanted} wanted")]
    Arguments { wanted: usize, found: usize },
}

/// An integer as a source has it, before anybody knows whether it fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integer {
    /// Fits 64 bits, as nearly all do.
    Small(i64),
    /// Fits 128 bits with a sign.
    Signed(i128),
    /// Needs all of 128 bits.
    Unsigned(u128),
    /// Fits nothing on the wire.
    Huge,
}

impl std::fmt::Display for Integer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Small(value) => value.fmt(f),
            Self::Signed(value) => value.fmt(f),
            Self::Unsigned(value) => value.fmt(f),
            Self::Huge => f.write_str("an integer of more than 128 bits"),
        }
    }
}

type Outcome<T, S> = Result<T, Failure<<S as Source>::Cause>>;

/// Reads values. Each method answers for one kind of value, or says why this is none.
///
/// References live as long as the call they are passed to: a source whose values can change while
/// they are read keeps them alive itself.
#[allow(missing_docs, reason = "one method per kind of value, named after it")]
pub trait Source {
    /// A value, or a part of one.
    type Ref<'a>: Copy;
    /// Why a value could not be read: a reason of the wire or one of the source's own.
    type Cause: From<EncodeReason>;

    fn boolean(&mut self, value: Self::Ref<'_>) -> Outcome<bool, Self>;
    fn integer(&mut self, value: Self::Ref<'_>) -> Outcome<Integer, Self>;
    fn float(&mut self, value: Self::Ref<'_>) -> Outcome<f64, Self>;
    fn unit(&mut self, value: Self::Ref<'_>) -> Outcome<(), Self>;
    fn text<'a>(&mut self, value: Self::Ref<'a>) -> Outcome<&'a str, Self>;
    /// Calls `take` once with the bytes.
    fn data<F>(&mut self, value: Self::Ref<'_>, take: F) -> Outcome<(), Self>
    where
        F: FnOnce(&[u8]) -> Result<(), EncodeReason>;
    /// Milliseconds since the Unix epoch.
    fn time(&mut self, value: Self::Ref<'_>) -> Outcome<u64, Self>;
    fn ipv4(&mut self, value: Self::Ref<'_>) -> Outcome<Ipv4Addr, Self>;
    fn ipv6(&mut self, value: Self::Ref<'_>) -> Outcome<Ipv6Addr, Self>;
    fn ip(&mut self, value: Self::Ref<'_>) -> Outcome<IpAddr, Self>;
    fn socket_address(&mut self, value: Self::Ref<'_>) -> Outcome<SocketAddr, Self>;
    /// The index of an enum's member.
    fn member(&mut self, value: Self::Ref<'_>, shape: Shape) -> Outcome<u8, Self>;

    /// Calls `each` for every item of a list, in order.
    fn list<F>(&mut self, value: Self::Ref<'_>, shape: Shape, each: F) -> Outcome<(), Self>
    where
        F: FnMut(&mut Self, Self::Ref<'_>) -> Outcome<(), Self>;
    /// Calls `each` for every item of a tuple, in order.
    fn tuple<F>(&mut self, value: Self::Ref<'_>, each: F) -> Outcome<(), Self>
    where
        F: FnMut(&mut Self, Self::Ref<'_>) -> Outcome<(), Self>;
    /// Calls `each` for every member of a set, in any order.
    fn set<F>(&mut self, value: Self::Ref<'_>, shape: Shape, each: F) -> Outcome<(), Self>
    where
        F: FnMut(&mut Self, Self::Ref<'_>) -> Outcome<(), Self>;
    /// Calls `each` for every key and value of a map, in any order.
    fn map<F>(&mut self, value: Self::Ref<'_>, each: F) -> Outcome<(), Self>
    where
        F: FnMut(&mut Self, Self::Ref<'_>, Self::Ref<'_>) -> Outcome<(), Self>;
    /// Calls `some` with what an option holds, or does nothing and answers false.
    fn option<F>(&mut self, value: Self::Ref<'_>, shape: Shape, some: F) -> Outcome<bool, Self>
    where
        F: FnOnce(&mut Self, Self::Ref<'_>) -> Outcome<(), Self>;
    /// Calls `each` with the index and the value of each of `count` fields, in order.
    fn record<F>(
        &mut self,
        value: Self::Ref<'_>,
        shape: Shape,
        count: usize,
        each: F,
    ) -> Outcome<(), Self>
    where
        F: FnMut(&mut Self, usize, Self::Ref<'_>) -> Outcome<(), Self>;
    /// Calls `with` once with the index of the variant and the struct in it.
    fn variant<F>(&mut self, value: Self::Ref<'_>, shape: Shape, with: F) -> Outcome<(), Self>
    where
        F: FnOnce(&mut Self, u8, Self::Ref<'_>) -> Outcome<(), Self>;

    /// A key as text, for the path in a message.
    fn describe(&mut self, key: Self::Ref<'_>) -> String;
}
