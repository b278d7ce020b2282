//! Values in plain Rust: what the tests and the fuzz targets encode and decode.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{DecodeReason, EncodeReason, Failure, Integer, Plan, Shape, Source, decode, encode};

/// One value of any plan.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "named after the nodes of a plan")]
pub enum Value {
    Bool(bool),
    Signed(i128),
    Unsigned(u128),
    Float(f64),
    Unit,
    Text(String),
    Data(Vec<u8>),
    Time(u64),
    Ip(IpAddr),
    SocketAddress(SocketAddr),
    /// A list, tuple, set or struct: the parts in order.
    Many(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Option(Option<Box<Value>>),
    Variant(u8, Box<Value>),
    Member(u8),
}

/// Decodes a [`Value`] that fills `data` exactly.
pub fn decode_value(plan: &Plan, data: &[u8]) -> Result<Value, Failure<DecodeReason>> {
    decode(plan, data, &mut Build)
}

/// Appends a [`Value`] to `out`, or leaves `out` as it was.
pub fn encode_value(
    plan: &Plan,
    value: &Value,
    out: &mut Vec<u8>,
) -> Result<(), Failure<EncodeReason>> {
    encode(plan, &mut Read, value, out)
}

/// Builds [`Value`]s.
#[derive(Clone, Copy, Debug, Default)]
pub struct Build;

type Built<T = Value> = Result<T, Failure<DecodeReason>>;

impl super::Build for Build {
    type Out = Value;
    type Part = Vec<Value>;
    type Cause = DecodeReason;

    fn boolean(&mut self, value: bool) -> Built {
        Ok(Value::Bool(value))
    }
    fn unsigned(&mut self, value: u64) -> Built {
        Ok(Value::Unsigned(value.into()))
    }
    fn signed(&mut self, value: i64) -> Built {
        Ok(Value::Signed(value.into()))
    }
    fn unsigned_wide(&mut self, value: u128) -> Built {
        Ok(Value::Unsigned(value))
    }
    fn signed_wide(&mut self, value: i128) -> Built {
        Ok(Value::Signed(value))
    }
    fn float(&mut self, value: f64) -> Built {
        Ok(Value::Float(value))
    }
    fn unit(&mut self) -> Built {
        Ok(Value::Unit)
    }
    fn ascii(&mut self, value: &[u8]) -> Built {
        Ok(Value::Text(value.iter().copied().map(char::from).collect()))
    }
    fn text(&mut self, value: &str) -> Built {
        Ok(Value::Text(value.to_owned()))
    }
    fn data(&mut self, value: &[u8]) -> Built {
        Ok(Value::Data(value.to_vec()))
    }
    fn time(&mut self, milliseconds: u64) -> Built {
        Ok(Value::Time(milliseconds))
    }
    fn ip(&mut self, value: IpAddr) -> Built {
        Ok(Value::Ip(value))
    }
    fn socket_address(&mut self, value: SocketAddr) -> Built {
        Ok(Value::SocketAddress(value))
    }
    fn none(&mut self) -> Built {
        Ok(Value::Option(None))
    }
    fn some(&mut self, _: Shape, value: Value) -> Built {
        Ok(Value::Option(Some(Box::new(value))))
    }
    fn variant(&mut self, _: Shape, index: u8, value: Value) -> Built {
        Ok(Value::Variant(index, Box::new(value)))
    }
    fn member(&mut self, _: Shape, index: u8) -> Built {
        Ok(Value::Member(index))
    }

    fn list(&mut self, _: Shape, count: usize) -> Built<Vec<Value>> {
        Ok(Vec::with_capacity(count))
    }
    fn finish_list(&mut self, _: Shape, part: Vec<Value>) -> Built {
        Ok(Value::Many(part))
    }
    fn tuple(&mut self, count: usize) -> Built<Vec<Value>> {
        Ok(Vec::with_capacity(count))
    }
    fn finish_tuple(&mut self, part: Vec<Value>) -> Built {
        Ok(Value::Many(part))
    }
    fn item(&mut self, part: &mut Vec<Value>, _: usize, item: Value) -> Built<()> {
        part.push(item);
        Ok(())
    }

    fn set(&mut self, _: Shape, count: usize) -> Built<Vec<Value>> {
        Ok(Vec::with_capacity(count))
    }
    fn insert(&mut self, part: &mut Vec<Value>, item: Value) -> Built<()> {
        part.push(item);
        Ok(())
    }
    fn finish_set(&mut self, _: usize, part: Vec<Value>) -> Built {
        Ok(Value::Many(part))
    }

    fn map(&mut self, count: usize) -> Built<Vec<Value>> {
        Ok(Vec::with_capacity(2 * count))
    }
    fn entry(&mut self, part: &mut Vec<Value>, key: Value, value: Value) -> Built<()> {
        part.extend([key, value]);
        Ok(())
    }
    fn finish_map(&mut self, _: usize, part: Vec<Value>) -> Built {
        let mut flat = part.into_iter();
        let mut entries = Vec::with_capacity(flat.len() / 2);
        while let (Some(key), Some(value)) = (flat.next(), flat.next()) {
            entries.push((key, value));
        }
        Ok(Value::Map(entries))
    }

    fn record(&mut self, _: Shape) -> Built<Vec<Value>> {
        Ok(Vec::new())
    }
    fn field(&mut self, _: Shape, part: &mut Vec<Value>, _: usize, value: Value) -> Built<()> {
        part.push(value);
        Ok(())
    }
    fn finish_record(&mut self, _: Shape, part: Vec<Value>) -> Built {
        Ok(Value::Many(part))
    }

    fn describe(&mut self, key: &Value) -> String {
        Read.describe(key)
    }
}

/// Reads [`Value`]s.
struct Read;

type Taken<T = ()> = Result<T, Failure<EncodeReason>>;

fn wrong<T>(expected: &'static str) -> Taken<T> {
    Err(Failure::new(EncodeReason::Mismatch { expected }))
}

macro_rules! read {
    ($value:ident, $pattern:pat => $result:expr, $expected:literal) => {
        match $value {
            $pattern => Ok($result),
            _ => wrong($expected),
        }
    };
}

impl Read {
    fn many<F>(&mut self, value: &Value, expected: &'static str, mut each: F) -> Taken
    where
        F: FnMut(&mut Self, &Value) -> Taken,
    {
        let Value::Many(items) = value else {
            return wrong(expected);
        };
        items.iter().try_for_each(|item| each(self, item))
    }
}

impl Source for Read {
    type Ref<'a> = &'a Value;
    type Cause = EncodeReason;

    fn boolean(&mut self, value: &Value) -> Taken<bool> {
        read!(value, Value::Bool(flag) => *flag, "bool")
    }
    fn integer(&mut self, value: &Value) -> Taken<Integer> {
        match value {
            Value::Signed(value) => Ok(Integer::Signed(*value)),
            Value::Unsigned(value) => Ok(Integer::Unsigned(*value)),
            _ => wrong("an integer"),
        }
    }
    fn float(&mut self, value: &Value) -> Taken<f64> {
        read!(value, Value::Float(number) => *number, "a float")
    }
    fn unit(&mut self, value: &Value) -> Taken {
        read!(value, Value::Unit => (), "unit")
    }
    fn text<'a>(&mut self, value: Self::Ref<'a>) -> Taken<&'a str> {
        read!(value, Value::Text(text) => text.as_str(), "text")
    }
    fn data<F>(&mut self, value: &Value, take: F) -> Taken
    where
        F: FnOnce(&[u8]) -> Result<(), EncodeReason>,
    {
        let Value::Data(bytes) = value else {
            return wrong("data");
        };
        take(bytes).map_err(Failure::new)
    }
    fn time(&mut self, value: &Value) -> Taken<u64> {
        read!(value, Value::Time(milliseconds) => *milliseconds, "a time")
    }
    fn ipv4(&mut self, value: &Value) -> Taken<Ipv4Addr> {
        read!(value, Value::Ip(IpAddr::V4(ip)) => *ip, "an IPv4 address")
    }
    fn ipv6(&mut self, value: &Value) -> Taken<Ipv6Addr> {
        read!(value, Value::Ip(IpAddr::V6(ip)) => *ip, "an IPv6 address")
    }
    fn ip(&mut self, value: &Value) -> Taken<IpAddr> {
        read!(value, Value::Ip(ip) => *ip, "an IP address")
    }
    fn socket_address(&mut self, value: &Value) -> Taken<SocketAddr> {
        read!(value, Value::SocketAddress(address) => *address, "a socket address")
    }
    fn member(&mut self, value: &Value, _: Shape) -> Taken<u8> {
        read!(value, Value::Member(index) => *index, "a member of the enum")
    }

    fn list<F>(&mut self, value: &Value, _: Shape, each: F) -> Taken
    where
        F: FnMut(&mut Self, &Value) -> Taken,
    {
        self.many(value, "a list", each)
    }
    fn tuple<F>(&mut self, value: &Value, each: F) -> Taken
    where
        F: FnMut(&mut Self, &Value) -> Taken,
    {
        self.many(value, "a tuple", each)
    }
    fn set<F>(&mut self, value: &Value, _: Shape, each: F) -> Taken
    where
        F: FnMut(&mut Self, &Value) -> Taken,
    {
        self.many(value, "a set", each)
    }
    fn map<F>(&mut self, value: &Value, mut each: F) -> Taken
    where
        F: FnMut(&mut Self, &Value, &Value) -> Taken,
    {
        let Value::Map(entries) = value else {
            return wrong("a map");
        };
        entries.iter().try_for_each(|(key, value)| each(self, key, value))
    }
    fn option<F>(&mut self, value: &Value, _: Shape, some: F) -> Taken<bool>
    where
        F: FnOnce(&mut Self, &Value) -> Taken,
    {
        match value {
            Value::Option(None) => Ok(false),
            Value::Option(Some(value)) => some(self, value).map(|()| true),
            _ => wrong("an option"),
        }
    }
    fn record<F>(&mut self, value: &Value, _: Shape, count: usize, mut each: F) -> Taken
    where
        F: FnMut(&mut Self, usize, &Value) -> Taken,
    {
        let Value::Many(fields) = value else {
            return wrong("a struct");
        };
        if fields.len() != count {
            return wrong("a struct with as many fields");
        }
        fields.iter().enumerate().try_for_each(|(index, field)| each(self, index, field))
    }
    fn variant<F>(&mut self, value: &Value, _: Shape, with: F) -> Taken
    where
        F: FnOnce(&mut Self, u8, &Value) -> Taken,
    {
        let Value::Variant(index, value) = value else {
            return wrong("a variant");
        };
        with(self, *index, value)
    }

    fn describe(&mut self, key: &Value) -> String {
        match key {
            Value::Text(text) => format!("{text:?}"),
            Value::Signed(value) => value.to_string(),
            Value::Unsigned(value) => value.to_string(),
            other => format!("{other:?}"),
        }
    }
}
