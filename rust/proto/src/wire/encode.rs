//! Values become bytes: every check that a value has to pass before a byte of it leaves.
use std::net::IpAddr;

use super::{
    EncodeReason, Failure, Field, Integer, MAX_DATA, MAX_DEPTH, MAX_EMPTY, Node, NodeId, Plan,
    Segment, Shape, Source, has_scheme, order,
};

type Outcome<T, S> = Result<T, Failure<<S as Source>::Cause>>;

/// Appends one value to `out`, or leaves `out` as it was.
pub fn encode<S: Source>(
    plan: &Plan,
    source: &mut S,
    value: S::Ref<'_>,
    out: &mut Vec<u8>,
) -> Outcome<(), S> {
    let before = out.len();
    let mut encoder = Encoder { plan, out, entries: Vec::new(), empty: MAX_EMPTY };
    let outcome = encoder.value(source, plan.root(), value, MAX_DEPTH);
    if outcome.is_err() {
        out.truncate(before);
    }
    outcome
}

/// Appends a method's arguments to `out`, or leaves `out` as it was.
pub fn encode_fields<'a, S, I>(
    plan: &Plan,
    source: &mut S,
    values: I,
    out: &mut Vec<u8>,
) -> Outcome<(), S>
where
    S: Source,
    S::Ref<'a>: 'a,
    I: ExactSizeIterator<Item = S::Ref<'a>>,
{
    let Node::Arguments { fields } = plan.node(plan.root()) else {
        return Err(Failure::new(EncodeReason::Mismatch { expected: "arguments" }.into()));
    };
    if values.len() != fields.len() {
        let (wanted, found) = (fields.len(), values.len());
        return Err(Failure::new(EncodeReason::Arguments { wanted, found }.into()));
    }
    let before = out.len();
    let mut encoder = Encoder { plan, out, entries: Vec::new(), empty: MAX_EMPTY };
    for (field, value) in fields.iter().zip(values) {
        if let Err(failure) = encoder.value(source, field.node, value, MAX_DEPTH) {
            out.truncate(before);
            return Err(failure.within(Segment::Argument(field.name.clone())));
        }
    }
    Ok(())
}

/// Where an entry of a map or set is in the output; for a set, the key is all of it.
#[derive(Clone, Copy)]
struct Entry {
    start: usize,
    key_end: usize,
    end: usize,
}

struct Encoder<'p, 'o> {
    plan: &'p Plan,
    out: &'o mut Vec<u8>,
    /// The entries of the maps and sets under way, innermost last.
    entries: Vec<Entry>,
    /// How many more elements of no size there may be.
    empty: usize,
}

macro_rules! put_integer {
    ($self:ident, $source:ident, $value:ident, $type:ty) => {{
        let integer = $source.integer($value)?;
        let fitted: Option<$type> = match integer {
            Integer::Small(value) => value.try_into().ok(),
            Integer::Signed(value) => value.try_into().ok(),
            Integer::Unsigned(value) => value.try_into().ok(),
            Integer::Huge => None,
        };
        match fitted {
            Some(value) => $self.out.extend_from_slice(&value.to_le_bytes()),
            None => {
                return Err(out_of_range(
                    integer,
                    stringify!($type),
                    <$type>::MIN as i128,
                    <$type>::MAX as u128,
                ));
            }
        }
        Ok(())
    }};
}

#[cold]
fn out_of_range<C: From<EncodeReason>>(
    value: Integer,
    kind: &'static str,
    low: i128,
    high: u128,
) -> Failure<C> {
    Failure::new(EncodeReason::Range { value, kind, low, high }.into())
}

impl Encoder<'_, '_> {
    fn value<S: Source>(
        &mut self,
        source: &mut S,
        id: NodeId,
        value: S::Ref<'_>,
        depth: u32,
    ) -> Outcome<(), S> {
        let plan = self.plan;
        match plan.node(id) {
            Node::Bool => {
                let flag = source.boolean(value)?;
                self.out.push(flag.into());
                Ok(())
            }
            Node::U8 => put_integer!(self, source, value, u8),
            Node::U16 => put_integer!(self, source, value, u16),
            Node::U32 => put_integer!(self, source, value, u32),
            Node::U64 => put_integer!(self, source, value, u64),
            Node::U128 => put_integer!(self, source, value, u128),
            Node::I8 => put_integer!(self, source, value, i8),
            Node::I16 => put_integer!(self, source, value, i16),
            Node::I32 => put_integer!(self, source, value, i32),
            Node::I64 => put_integer!(self, source, value, i64),
            Node::I128 => put_integer!(self, source, value, i128),
            Node::F32 => {
                let wide = source.float(value)?;
                #[allow(clippy::cast_possible_truncation, reason = "precision is the caller's")]
                let narrow = wide as f32;
                if narrow.is_infinite() && wide.is_finite() {
                    let value = wide.to_string().into_boxed_str();
                    return Err(Failure::new(EncodeReason::Float { value }.into()));
                }
                self.put(&narrow.to_le_bytes())
            }
            Node::F64 => {
                let number = source.float(value)?;
                self.put(&number.to_le_bytes())
            }
            Node::Unit => source.unit(value),
            Node::Str => {
                let text = source.text(value)?;
                self.text::<S>(text)
            }
            Node::Url => {
                let text = source.text(value)?;
                if !has_scheme(text.as_bytes()) {
                    return Err(Failure::new(EncodeReason::NotUrl.into()));
                }
                self.text::<S>(text)
            }
            Node::Data => source.data(value, |bytes| self.data(bytes)),
            Node::Time => {
                let milliseconds = source.time(value)?;
                self.put(&milliseconds.to_le_bytes())
            }
            Node::Ipv4 => {
                let ip = source.ipv4(value)?;
                self.put(&ip.octets())
            }
            Node::Ipv6 => {
                let ip = source.ipv6(value)?;
                self.put(&ip.octets())
            }
            Node::Ip => {
                let ip = source.ip(value)?;
                self.address(ip);
                Ok(())
            }
            Node::SocketAddress => {
                let address = source.socket_address(value)?;
                self.address(address.ip());
                self.put(&address.port().to_le_bytes())
            }
            Node::Enum { shape, .. } => {
                let index = source.member(value, *shape)?;
                self.out.push(index);
                Ok(())
            }
            Node::Option { item, shape } => {
                let some = source.option(value, *shape, |source, value| {
                    self.out.push(1);
                    self.value(source, *item, value, deeper::<S>(depth)?)
                })?;
                if !some {
                    self.out.push(0);
                }
                Ok(())
            }
            Node::List { item, shape } => self.list(source, value, *item, *shape, depth),
            Node::Tuple { items } => self.tuple(source, value, items, depth),
            Node::Set { item, shape } => self.set(source, value, *item, *shape, depth),
            Node::Map { key, value: node } => self.map(source, value, *key, *node, depth),
            Node::Struct { fields, shape } => self.record(source, value, fields, *shape, depth),
            Node::Union { variants, shape } => {
                let depth = deeper::<S>(depth)?;
                source.variant(value, *shape, |source, index, value| {
                    let Some(variant) = variants.get(usize::from(index)) else {
                        let expected = "a variant of the union";
                        return Err(Failure::new(EncodeReason::Mismatch { expected }.into()));
                    };
                    self.out.push(index);
                    self.value(source, *variant, value, depth)
                })
            }
            // Only ever the root, and only of `encode_fields`.
            Node::Arguments { .. } => source.unit(value),
        }
    }

    #[inline]
    fn put<C>(&mut self, bytes: &[u8]) -> Result<(), Failure<C>> {
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn text<S: Source>(&mut self, text: &str) -> Outcome<(), S> {
        let Ok(length) = u16::try_from(text.len()) else {
            let length = text.len();
            return Err(Failure::new(EncodeReason::TextTooLong { length }.into()));
        };
        self.out.reserve(2 + text.len());
        self.out.extend_from_slice(&length.to_le_bytes());
        self.out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), EncodeReason> {
        let length = match u32::try_from(bytes.len()) {
            Ok(length) if bytes.len() <= MAX_DATA => length,
            _ => {
                return Err(EncodeReason::DataTooLong { length: bytes.len() });
            }
        };
        self.out.extend_from_slice(&length.to_le_bytes());
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn address(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => {
                self.out.push(4);
                self.out.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.out.push(6);
                self.out.extend_from_slice(&ip.octets());
            }
        }
    }

    /// Leaves room for a count that is known once everything has been visited: what is counted is
    /// then what was written, even where a list changed meanwhile.
    fn open(&mut self) -> usize {
        self.out.extend_from_slice(&[0; 2]);
        self.out.len()
    }

    /// Writes the count of elements that take at least `least` bytes each.
    fn close<S: Source>(&mut self, opened: usize, count: u16, least: usize) -> Outcome<(), S> {
        if let Some(room) = self.out.get_mut(opened - 2..opened) {
            room.copy_from_slice(&count.to_le_bytes());
        }
        if least == 0 {
            // The receiver counts these, so that more could not be read.
            match self.empty.checked_sub(count.into()) {
                Some(empty) => self.empty = empty,
                None => return Err(Failure::new(EncodeReason::Empty.into())),
            }
        }
        Ok(())
    }

    fn list<S: Source>(
        &mut self,
        source: &mut S,
        value: S::Ref<'_>,
        item: NodeId,
        shape: Shape,
        depth: u32,
    ) -> Outcome<(), S> {
        let depth = deeper::<S>(depth)?;
        let opened = self.open();
        let mut count = 0_u16;
        source.list(value, shape, |source, value| {
            let index = count;
            count = next::<S>(count, "items")?;
            self.value(source, item, value, depth)
                .map_err(|failure| failure.within(Segment::Index(index.into())))
        })?;
        self.close::<S>(opened, count, self.plan.least(item))
    }

    fn tuple<S: Source>(
        &mut self,
        source: &mut S,
        value: S::Ref<'_>,
        items: &[NodeId],
        depth: u32,
    ) -> Outcome<(), S> {
        let depth = deeper::<S>(depth)?;
        let mut found = 0;
        source.tuple(value, |source, value| {
            let index = found;
            found += 1;
            match items.get(index) {
                Some(item) => self
                    .value(source, *item, value, depth)
                    .map_err(|failure| failure.within(Segment::Index(index))),
                None => Ok(()),
            }
        })?;
        if found != items.len() {
            let wanted = items.len();
            return Err(Failure::new(EncodeReason::Arity { wanted, found }.into()));
        }
        Ok(())
    }

    fn record<S: Source>(
        &mut self,
        source: &mut S,
        value: S::Ref<'_>,
        fields: &[Field],
        shape: Shape,
        depth: u32,
    ) -> Outcome<(), S> {
        let depth = deeper::<S>(depth)?;
        source.record(value, shape, fields.len(), |source, index, value| {
            let Some(field) = fields.get(index) else {
                return Ok(());
            };
            self.value(source, field.node, value, depth)
                .map_err(|failure| failure.within(Segment::Field(field.name.clone())))
        })
    }

    fn set<S: Source>(
        &mut self,
        source: &mut S,
        value: S::Ref<'_>,
        item: NodeId,
        shape: Shape,
        depth: u32,
    ) -> Outcome<(), S> {
        let depth = deeper::<S>(depth)?;
        let opened = self.open();
        let base = self.entries.len();
        let mut count = 0_u16;
        source.set(value, shape, |source, value| {
            count = next::<S>(count, "members")?;
            let start = self.out.len();
            self.value(source, item, value, depth)
                .map_err(|failure| failure.within(Segment::Key(source.describe(value))))?;
            let end = self.out.len();
            self.entries.push(Entry { start, key_end: end, end });
            Ok(())
        })?;
        self.close::<S>(opened, count, self.plan.least(item))?;
        self.settle::<S>(item, opened, base)
    }

    fn map<S: Source>(
        &mut self,
        source: &mut S,
        value: S::Ref<'_>,
        key: NodeId,
        node: NodeId,
        depth: u32,
    ) -> Outcome<(), S> {
        let depth = deeper::<S>(depth)?;
        let opened = self.open();
        let base = self.entries.len();
        let mut count = 0_u16;
        source.map(value, |source, name, value| {
            let index = count;
            count = next::<S>(count, "entries")?;
            let start = self.out.len();
            self.value(source, key, name, depth)
                .map_err(|failure| failure.within(Segment::KeyAt(index.into())))?;
            let key_end = self.out.len();
            self.value(source, node, value, depth)
                .map_err(|failure| failure.within(Segment::Key(source.describe(name))))?;
            self.entries.push(Entry { start, key_end, end: self.out.len() });
            Ok(())
        })?;
        let least = self.plan.least(key).saturating_add(self.plan.least(node));
        self.close::<S>(opened, count, least)?;
        self.settle::<S>(key, opened, base)
    }

    /// Puts the entries since `base`, whose bytes start at `opened`, in ascending order.
    fn settle<S: Source>(&mut self, key: NodeId, opened: usize, base: usize) -> Outcome<(), S> {
        let (plan, out) = (self.plan, &mut *self.out);
        let entries = &mut self.entries[base..];
        let compare = |out: &[u8], a: &Entry, b: &Entry| {
            order::compare(plan, key, &out[a.start..a.key_end], &out[b.start..b.key_end])
        };
        if !entries.is_sorted_by(|a, b| compare(out, a, b).is_lt()) {
            entries.sort_unstable_by(|a, b| compare(out, a, b));
            if !entries.is_sorted_by(|a, b| compare(out, a, b).is_lt()) {
                return Err(Failure::new(EncodeReason::Duplicate.into()));
            }
            let mut sorted = Vec::with_capacity(out.len() - opened);
            for entry in entries.iter() {
                sorted.extend_from_slice(&out[entry.start..entry.end]);
            }
            out.truncate(opened);
            out.append(&mut sorted);
        }
        self.entries.truncate(base);
        Ok(())
    }
}

#[inline]
fn deeper<S: Source>(depth: u32) -> Outcome<u32, S> {
    match depth.checked_sub(1) {
        Some(depth) => Ok(depth),
        None => Err(Failure::new(EncodeReason::TooDeep.into())),
    }
}

#[inline]
fn next<S: Source>(count: u16, what: &'static str) -> Outcome<u16, S> {
    match count.checked_add(1) {
        Some(count) => Ok(count),
        None => Err(Failure::new(EncodeReason::TooMany { what }.into())),
    }
}
