//! Bytes become values: every check that received bytes have to pass, in the order they come.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

use super::{
    Failure, Field, MAX_DATA, MAX_DEPTH, MAX_EMPTY, Node, NodeId, Plan, Reader, Segment, Shape,
    has_scheme, order,
};

/// Why bytes are not a value of their plan.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum DecodeReason {
    #[error("{needed} bytes needed, {left} left")]
    Short { needed: usize, left: usize },
    #[error("{left} bytes left over after the value")]
    Trailing { left: usize },
    #[error("a bool is 0 or 1, not {found}")]
    Bool { found: u8 },
    #[error("an option starts with 0 or 1, not {found}")]
    Option { found: u8 },
    #[error("variant {found}, but there are only {variants}")]
    Variant { found: u8, variants: usize },
    #[error("an address starts with 4 or 6, not {found}")]
    Address { found: u8 },
    #[error("a string that is not UTF-8")]
    NotUtf8,
    #[error("a URL that does not start with a scheme")]
    NotUrl,
    #[error("{count} items of at least {least} bytes announced, {left} bytes left")]
    Count { count: usize, least: usize, left: usize },
    #[error("more than {MAX_EMPTY} elements of no size")]
    Empty,
    #[error("{length} bytes of data announced, at most {MAX_DATA} are allowed")]
    DataTooLong { length: usize },
    #[error("the same key twice")]
    Duplicate,
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("a time that cannot be represented here: {milliseconds} ms after 1970")]
    Time { milliseconds: u64 },
}

type Outcome<T, B> = Result<T, Failure<<B as Build>::Cause>>;

/// Makes values. It is told what arrived, in order, and only what has passed every rule.
#[allow(missing_docs, reason = "one method per kind of value, named after it")]
pub trait Build {
    /// A finished value.
    type Out;
    /// A list, tuple, map, set or struct that is being filled.
    type Part;
    /// Why a value could not be made: a reason of the wire or one of the maker's own.
    type Cause: From<DecodeReason>;

    fn boolean(&mut self, value: bool) -> Outcome<Self::Out, Self>;
    fn unsigned(&mut self, value: u64) -> Outcome<Self::Out, Self>;
    fn signed(&mut self, value: i64) -> Outcome<Self::Out, Self>;
    fn unsigned_wide(&mut self, value: u128) -> Outcome<Self::Out, Self>;
    fn signed_wide(&mut self, value: i128) -> Outcome<Self::Out, Self>;
    fn float(&mut self, value: f64) -> Outcome<Self::Out, Self>;
    fn unit(&mut self) -> Outcome<Self::Out, Self>;
    /// A string that is all ASCII: most are, and those are cheaper to make.
    fn ascii(&mut self, value: &[u8]) -> Outcome<Self::Out, Self>;
    fn text(&mut self, value: &str) -> Outcome<Self::Out, Self>;
    fn data(&mut self, value: &[u8]) -> Outcome<Self::Out, Self>;
    fn time(&mut self, milliseconds: u64) -> Outcome<Self::Out, Self>;
    fn ip(&mut self, value: IpAddr) -> Outcome<Self::Out, Self>;
    fn socket_address(&mut self, value: SocketAddr) -> Outcome<Self::Out, Self>;
    fn none(&mut self) -> Outcome<Self::Out, Self>;
    fn some(&mut self, shape: Shape, value: Self::Out) -> Outcome<Self::Out, Self>;
    fn variant(&mut self, shape: Shape, index: u8, value: Self::Out) -> Outcome<Self::Out, Self>;
    fn member(&mut self, shape: Shape, index: u8) -> Outcome<Self::Out, Self>;

    /// Starts a list. `count` is bounded by the bytes that arrived.
    fn list(&mut self, shape: Shape, count: usize) -> Outcome<Self::Part, Self>;
    fn finish_list(&mut self, shape: Shape, part: Self::Part) -> Outcome<Self::Out, Self>;
    fn tuple(&mut self, count: usize) -> Outcome<Self::Part, Self>;
    fn finish_tuple(&mut self, part: Self::Part) -> Outcome<Self::Out, Self>;
    /// Adds the next item of a list or tuple.
    fn item(&mut self, part: &mut Self::Part, index: usize, item: Self::Out) -> Outcome<(), Self>;

    fn set(&mut self, shape: Shape, count: usize) -> Outcome<Self::Part, Self>;
    fn insert(&mut self, part: &mut Self::Part, item: Self::Out) -> Outcome<(), Self>;
    fn finish_set(&mut self, count: usize, part: Self::Part) -> Outcome<Self::Out, Self>;

    fn map(&mut self, count: usize) -> Outcome<Self::Part, Self>;
    fn entry(
        &mut self,
        part: &mut Self::Part,
        key: Self::Out,
        value: Self::Out,
    ) -> Outcome<(), Self>;
    fn finish_map(&mut self, count: usize, part: Self::Part) -> Outcome<Self::Out, Self>;

    fn record(&mut self, shape: Shape) -> Outcome<Self::Part, Self>;
    fn field(
        &mut self,
        shape: Shape,
        part: &mut Self::Part,
        index: usize,
        value: Self::Out,
    ) -> Outcome<(), Self>;
    fn finish_record(&mut self, shape: Shape, part: Self::Part) -> Outcome<Self::Out, Self>;

    /// A key as text, for the path in a message.
    fn describe(&mut self, key: &Self::Out) -> String;
}

/// Decodes one value that fills `data` exactly.
pub fn decode<B: Build>(plan: &Plan, data: &[u8], build: &mut B) -> Outcome<B::Out, B> {
    let mut decoder = Decoder::new(plan, data);
    let value = decoder.value(build, plan.root(), MAX_DEPTH)?;
    decoder.finish::<B>()?;
    Ok(value)
}

/// Decodes a method's arguments, which fill `data` exactly, and hands over each as it comes.
///
/// Arguments already handed over are to be dropped when this fails.
pub fn decode_fields<B, F>(plan: &Plan, data: &[u8], build: &mut B, mut each: F) -> Outcome<(), B>
where
    B: Build,
    F: FnMut(usize, B::Out),
{
    let mut decoder = Decoder::new(plan, data);
    if let Node::Arguments { fields } = plan.node(plan.root()) {
        for (index, field) in fields.iter().enumerate() {
            match decoder.value(build, field.node, MAX_DEPTH) {
                Ok(value) => each(index, value),
                Err(failure) => {
                    return Err(failure.within(Segment::Argument(field.name.clone())));
                }
            }
        }
    } else {
        each(0, decoder.value(build, plan.root(), MAX_DEPTH)?);
    }
    decoder.finish::<B>()
}

struct Decoder<'p, 'd> {
    plan: &'p Plan,
    data: &'d [u8],
    reader: Reader<'d>,
    empty: usize,
    /// Where the keys of the maps and sets under way start and end, innermost last.
    keys: Vec<(usize, usize)>,
}

/// Takes a piece off the reader, or fails at the piece's first byte.
macro_rules! take {
    ($self:ident.$piece:ident($($argument:expr),*)) => {
        match $self.reader.$piece($($argument),*) {
            Ok(piece) => piece,
            Err(reason) => return Err($self.fail(reason)),
        }
    };
}

macro_rules! number {
    ($self:ident, $type:ty) => {
        <$type>::from_le_bytes(take!($self.array()))
    };
}

impl<'p, 'd> Decoder<'p, 'd> {
    fn new(plan: &'p Plan, data: &'d [u8]) -> Self {
        Self { plan, data, reader: Reader::new(data), empty: MAX_EMPTY, keys: Vec::new() }
    }

    fn finish<B: Build>(&self) -> Outcome<(), B> {
        match self.reader.left() {
            0 => Ok(()),
            left => Err(self.fail(DecodeReason::Trailing { left })),
        }
    }

    #[cold]
    fn fail<C: From<DecodeReason>>(&self, reason: DecodeReason) -> Failure<C> {
        Failure::new(reason.into()).at(self.reader.offset())
    }

    fn value<B: Build>(&mut self, build: &mut B, id: NodeId, depth: u32) -> Outcome<B::Out, B> {
        let start = self.reader.offset();
        // What fails below without an offset of its own fails where its value starts.
        self.any(build, id, depth).map_err(|failure| failure.at(start))
    }

    #[inline]
    fn any<B: Build>(&mut self, build: &mut B, id: NodeId, depth: u32) -> Outcome<B::Out, B> {
        match self.plan.node(id) {
            Node::Bool => match take!(self.u8()) {
                flag @ (0 | 1) => build.boolean(flag == 1),
                found => Err(Failure::new(DecodeReason::Bool { found }.into())),
            },
            Node::U8 => build.unsigned(take!(self.u8()).into()),
            Node::U16 => build.unsigned(number!(self, u16).into()),
            Node::U32 => build.unsigned(number!(self, u32).into()),
            Node::U64 => build.unsigned(number!(self, u64)),
            Node::U128 => build.unsigned_wide(number!(self, u128)),
            Node::I8 => build.signed(number!(self, i8).into()),
            Node::I16 => build.signed(number!(self, i16).into()),
            Node::I32 => build.signed(number!(self, i32).into()),
            Node::I64 => build.signed(number!(self, i64)),
            Node::I128 => build.signed_wide(number!(self, i128)),
            Node::F32 => build.float(number!(self, f32).into()),
            Node::F64 => build.float(number!(self, f64)),
            Node::Unit => build.unit(),
            Node::Str => {
                let bytes = take!(self.text());
                self.text(build, bytes)
            }
            Node::Url => {
                let bytes = take!(self.text());
                if !has_scheme(bytes) {
                    return Err(Failure::new(DecodeReason::NotUrl.into()));
                }
                self.text(build, bytes)
            }
            Node::Data => build.data(take!(self.data())),
            Node::Time => build.time(number!(self, u64)),
            Node::Ipv4 => build.ip(Ipv4Addr::from(take!(self.array())).into()),
            Node::Ipv6 => build.ip(Ipv6Addr::from(take!(self.array())).into()),
            Node::Ip => build.ip(self.address::<B>()?),
            Node::SocketAddress => {
                let ip = self.address::<B>()?;
                build.socket_address(SocketAddr::new(ip, number!(self, u16)))
            }
            Node::Option { item, shape } => match take!(self.u8()) {
                0 => build.none(),
                1 => {
                    let value = self.value(build, *item, self.deeper::<B>(depth)?)?;
                    build.some(*shape, value)
                }
                found => Err(Failure::new(DecodeReason::Option { found }.into())),
            },
            Node::List { item, shape } => self.list(build, *item, *shape, depth),
            Node::Tuple { items } => self.tuple(build, items, depth),
            Node::Set { item, shape } => self.set(build, *item, *shape, depth),
            Node::Map { key, value } => self.map(build, *key, *value, depth),
            Node::Struct { fields, shape } => self.record(build, fields, *shape, depth),
            Node::Union { variants, shape } => {
                let index = take!(self.u8());
                let Some(variant) = variants.get(usize::from(index)) else {
                    let variants = variants.len();
                    return Err(Failure::new(
                        DecodeReason::Variant { found: index, variants }.into(),
                    ));
                };
                let value = self.value(build, *variant, self.deeper::<B>(depth)?)?;
                build.variant(*shape, index, value)
            }
            Node::Enum { members, shape } => {
                let index = take!(self.u8());
                if u16::from(index) >= *members {
                    let variants = (*members).into();
                    return Err(Failure::new(
                        DecodeReason::Variant { found: index, variants }.into(),
                    ));
                }
                build.member(*shape, index)
            }
            // Only ever the root, and only of `decode_fields`.
            Node::Arguments { .. } => build.unit(),
        }
    }

    #[inline]
    fn deeper<B: Build>(&self, depth: u32) -> Outcome<u32, B> {
        match depth.checked_sub(1) {
            Some(depth) => Ok(depth),
            None => Err(self.fail(DecodeReason::TooDeep)),
        }
    }

    #[inline]
    fn text<B: Build>(&mut self, build: &mut B, bytes: &[u8]) -> Outcome<B::Out, B> {
        if bytes.is_ascii() {
            return build.ascii(bytes);
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => build.text(text),
            Err(error) => {
                let start = self.reader.offset() - bytes.len();
                let failure = Failure::new(DecodeReason::NotUtf8.into());
                Err(failure.at(start + error.valid_up_to()))
            }
        }
    }

    fn address<B: Build>(&mut self) -> Outcome<IpAddr, B> {
        match take!(self.u8()) {
            4 => Ok(Ipv4Addr::from(take!(self.array())).into()),
            6 => Ok(Ipv6Addr::from(take!(self.array())).into()),
            found => Err(Failure::new(DecodeReason::Address { found }.into())),
        }
    }

    /// The count of elements that take at least `least` bytes each: no more than can have arrived.
    #[inline]
    fn count<B: Build>(&mut self, least: usize) -> Outcome<usize, B> {
        let count = usize::from(take!(self.u16()));
        let left = self.reader.left();
        if count.saturating_mul(least) > left {
            return Err(Failure::new(DecodeReason::Count { count, least, left }.into()));
        }
        if least == 0 {
            let Some(empty) = self.empty.checked_sub(count) else {
                return Err(Failure::new(DecodeReason::Empty.into()));
            };
            self.empty = empty;
        }
        Ok(count)
    }

    fn list<B: Build>(
        &mut self,
        build: &mut B,
        item: NodeId,
        shape: Shape,
        depth: u32,
    ) -> Outcome<B::Out, B> {
        let depth = self.deeper::<B>(depth)?;
        let count = self.count::<B>(self.plan.least(item))?;
        let mut part = build.list(shape, count)?;
        for index in 0..count {
            match self.value(build, item, depth) {
                Ok(value) => build.item(&mut part, index, value)?,
                Err(failure) => return Err(failure.within(Segment::Index(index))),
            }
        }
        build.finish_list(shape, part)
    }

    fn tuple<B: Build>(
        &mut self,
        build: &mut B,
        items: &[NodeId],
        depth: u32,
    ) -> Outcome<B::Out, B> {
        let depth = self.deeper::<B>(depth)?;
        let mut part = build.tuple(items.len())?;
        for (index, item) in items.iter().enumerate() {
            match self.value(build, *item, depth) {
                Ok(value) => build.item(&mut part, index, value)?,
                Err(failure) => return Err(failure.within(Segment::Index(index))),
            }
        }
        build.finish_tuple(part)
    }

    fn record<B: Build>(
        &mut self,
        build: &mut B,
        fields: &[Field],
        shape: Shape,
        depth: u32,
    ) -> Outcome<B::Out, B> {
        let depth = self.deeper::<B>(depth)?;
        let mut part = build.record(shape)?;
        for (index, field) in fields.iter().enumerate() {
            match self.value(build, field.node, depth) {
                Ok(value) => build.field(shape, &mut part, index, value)?,
                Err(failure) => return Err(failure.within(Segment::Field(field.name.clone()))),
            }
        }
        build.finish_record(shape, part)
    }

    fn set<B: Build>(
        &mut self,
        build: &mut B,
        item: NodeId,
        shape: Shape,
        depth: u32,
    ) -> Outcome<B::Out, B> {
        let depth = self.deeper::<B>(depth)?;
        let count = self.count::<B>(self.plan.least(item))?;
        let mut part = build.set(shape, count)?;
        let mut keys = Keys::new(self, item);
        for index in 0..count {
            let start = self.reader.offset();
            let value = self.value(build, item, depth);
            let value = value.map_err(|failure| failure.within(Segment::Index(index)))?;
            keys.note::<B>(self, start)?;
            build.insert(&mut part, value)?;
        }
        keys.finish::<B>(self)?;
        build.finish_set(count, part)
    }

    fn map<B: Build>(
        &mut self,
        build: &mut B,
        key: NodeId,
        value: NodeId,
        depth: u32,
    ) -> Outcome<B::Out, B> {
        let depth = self.deeper::<B>(depth)?;
        let least = self.plan.least(key).saturating_add(self.plan.least(value));
        let count = self.count::<B>(least)?;
        let mut part = build.map(count)?;
        let mut keys = Keys::new(self, key);
        for index in 0..count {
            let start = self.reader.offset();
            let name = self.value(build, key, depth);
            let name = name.map_err(|failure| failure.within(Segment::KeyAt(index)))?;
            keys.note::<B>(self, start)?;
            match self.value(build, value, depth) {
                Ok(value) => build.entry(&mut part, name, value)?,
                Err(failure) => return Err(failure.within(Segment::Key(build.describe(&name)))),
            }
        }
        keys.finish::<B>(self)?;
        build.finish_map(count, part)
    }
}

/// The keys of one map or set so far. Any order is accepted, as the Rust crates do; the same key
/// twice is not, since what becomes of it would depend on who reads it.
struct Keys {
    node: NodeId,
    /// Where ours start in the decoder's stack of keys.
    base: usize,
    ascending: bool,
}

impl Keys {
    fn new(decoder: &Decoder<'_, '_>, node: NodeId) -> Self {
        Self { node, base: decoder.keys.len(), ascending: true }
    }

    /// Takes note of the key that was just read and began at `start`.
    #[inline]
    fn note<B: Build>(&mut self, decoder: &mut Decoder<'_, '_>, start: usize) -> Outcome<(), B> {
        let end = decoder.reader.offset();
        if self.ascending && decoder.keys.len() > self.base {
            if let Some((first, last)) = decoder.keys.last().copied() {
                let (before, now) = (&decoder.data[first..last], &decoder.data[start..end]);
                match order::compare(decoder.plan, self.node, before, now) {
                    std::cmp::Ordering::Less => {}
                    std::cmp::Ordering::Greater => self.ascending = false,
                    std::cmp::Ordering::Equal => {
                        return Err(Failure::new(DecodeReason::Duplicate.into()).at(start));
                    }
                }
            }
        }
        decoder.keys.push((start, end));
        Ok(())
    }

    fn finish<B: Build>(self, decoder: &mut Decoder<'_, '_>) -> Outcome<(), B> {
        if !self.ascending {
            let data = decoder.data;
            let keys = &mut decoder.keys[self.base..];
            // Equal keys are equal bytes, so any total order of the bytes brings them together.
            keys.sort_unstable_by_key(|(start, end)| (&data[*start..*end], *start));
            let twice = keys.windows(2).find_map(|pair| match pair {
                [a, b] if data[a.0..a.1] == data[b.0..b.1] => Some(b.0),
                _ => None,
            });
            if let Some(offset) = twice {
                return Err(Failure::new(DecodeReason::Duplicate.into()).at(offset));
            }
        }
        decoder.keys.truncate(self.base);
        Ok(())
    }
}
