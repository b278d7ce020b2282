#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should say where")]
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::*;

/// Bytes that the Rust crates produced.
const VECTORS: &str = include_str!("../../../../vectors/wire.json");

fn plan(nodes: Vec<Node>) -> Plan {
    Plan::new(nodes, 0).unwrap()
}

fn field(name: &str, node: NodeId) -> Field {
    Field { name: name.into(), node }
}

fn record(fields: Vec<Field>) -> Node {
    Node::Struct { fields, shape: 0 }
}

fn list(item: NodeId) -> Node {
    Node::List { item, shape: 0 }
}

fn set(item: NodeId) -> Node {
    Node::Set { item, shape: 0 }
}

fn option(item: NodeId) -> Node {
    Node::Option { item, shape: 0 }
}

fn unsigned(value: u128) -> Value {
    Value::Unsigned(value)
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn some(value: Value) -> Value {
    Value::Option(Some(Box::new(value)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn encoded(plan: &Plan, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    encode_value(plan, value, &mut out).unwrap();
    out
}

fn refused(plan: &Plan, value: &Value) -> Failure<EncodeReason> {
    let mut out = b"before".to_vec();
    let failure = encode_value(plan, value, &mut out).unwrap_err();
    assert_eq!(out, b"before", "a value that was refused left bytes behind");
    failure
}

fn rejected(plan: &Plan, bytes: &[u8]) -> (DecodeReason, usize, String) {
    let failure = decode_value(plan, bytes).unwrap_err();
    (failure.cause().clone(), failure.offset().unwrap(), failure.path())
}

#[test]
fn bytes_are_those_of_the_rust_crates() {
    let point = || record(vec![field("x", 1), field("y", 2)]);
    let shape = || {
        plan(vec![
            Node::Union { variants: vec![1, 2, 3, 4], shape: 0 },
            Node::Unit,
            Node::Tuple { items: vec![5] },
            record(vec![field("w", 6), field("h", 6)]),
            Node::Tuple { items: vec![7, 8] },
            Node::F64,
            Node::U32,
            Node::Str,
            record(vec![field("x", 6), field("y", 9)]),
            Node::I64,
        ])
    };
    let number = |x: u128, y: i128| Value::Many(vec![unsigned(x), Value::Signed(y)]);
    let ip = |text: &str| Value::Ip(text.parse().unwrap());
    let cases = vec![
        (plan(vec![Node::Bool]), Value::Bool(true), "01"),
        (plan(vec![Node::U16]), unsigned(4660), "3412"),
        (plan(vec![Node::U128]), unsigned(u128::MAX), "ffffffffffffffffffffffffffffffff"),
        (plan(vec![Node::I16]), Value::Signed(-2), "feff"),
        (plan(vec![Node::I128]), Value::Signed(i128::MIN), "00000000000000000000000000000080"),
        (plan(vec![Node::F32]), Value::Float(1.5), "0000c03f"),
        (plan(vec![Node::F64]), Value::Float(-0.1), "9a9999999999b9bf"),
        (plan(vec![Node::Unit]), Value::Unit, ""),
        (plan(vec![Node::Str]), text("héllo wörld"), "0d0068c3a96c6c6f2077c3b6726c64"),
        (
            plan(vec![list(1), Node::Str]),
            Value::Many(vec![text("a"), text("bc")]),
            "020001006102006263",
        ),
        (plan(vec![Node::Data]), Value::Data(vec![0, 255, 16]), "0300000000ff10"),
        (plan(vec![option(1), option(2), Node::U8]), some(Value::Option(None)), "0100"),
        (
            plan(vec![Node::Map { key: 1, value: 2 }, Node::U16, Node::Bool]),
            Value::Map(vec![(unsigned(300), Value::Bool(true)), (unsigned(2), Value::Bool(false))]),
            "02000200002c0101",
        ),
        (
            plan(vec![set(1), Node::U16]),
            Value::Many(vec![unsigned(256), unsigned(1), unsigned(5)]),
            "0300010005000001",
        ),
        (plan(vec![Node::Ipv4]), ip("192.168.1.2"), "c0a80102"),
        (plan(vec![Node::Ip]), ip("::1"), "0600000000000000000000000000000001"),
        (
            plan(vec![Node::SocketAddress]),
            Value::SocketAddress(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4433)),
            "047f0000015111",
        ),
        (
            plan(vec![Node::Url]),
            text("https://example.com/a?b=c"),
            "190068747470733a2f2f6578616d706c652e636f6d2f613f623d63",
        ),
        (plan(vec![Node::Time]), Value::Time(1_700_000_000_123), "7b68e5cf8b010000"),
        (plan(vec![point(), Node::U32, Node::I64]), number(1, -1), "01000000ffffffffffffffff"),
        (shape(), Value::Variant(0, Box::new(Value::Unit)), "00"),
        (
            shape(),
            Value::Variant(1, Box::new(Value::Many(vec![Value::Float(2.5)]))),
            "010000000000000440",
        ),
        (
            shape(),
            Value::Variant(3, Box::new(Value::Many(vec![text("p"), number(1, 2)]))),
            "03010070010000000200000000000000",
        ),
    ];
    for (plan, value, expected) in cases {
        assert!(VECTORS.contains(&format!("\"hex\": \"{expected}\"")), "{expected} is no vector");
        let bytes = encoded(&plan, &value);
        assert_eq!(hex(&bytes), expected, "{value:?}");
        // Maps and sets come back in order, so it is the second round that has to be the same.
        let decoded = decode_value(&plan, &bytes).unwrap();
        assert_eq!(encoded(&plan, &decoded), bytes, "{value:?}");
    }
}

#[test]
fn every_prefix_of_a_value_is_refused_at_its_end() {
    let plan = plan(vec![
        record(vec![field("name", 1), field("tags", 2), field("at", 3)]),
        Node::Str,
        list(1),
        option(4),
        Node::U64,
    ]);
    let value =
        Value::Many(vec![text("ada"), Value::Many(vec![text("x"), text("yy")]), some(unsigned(7))]);
    let bytes = encoded(&plan, &value);
    for end in 0..bytes.len() {
        let (_, offset, _) = rejected(&plan, &bytes[..end]);
        assert!(offset <= end);
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    let trailing = (DecodeReason::Trailing { left: 1 }, bytes.len(), String::new());
    assert_eq!(rejected(&plan, &longer), trailing);
}

#[test]
fn failures_say_where() {
    let plan = plan(vec![
        record(vec![field("items", 1)]),
        list(2),
        record(vec![field("id", 3), field("name", 4)]),
        Node::U8,
        Node::Str,
    ]);
    let (reason, offset, path) = rejected(&plan, &[2, 0, 1, 1, 0, b'a', 2, 2, 0, b'b', 0xff]);
    assert_eq!((reason, offset), (DecodeReason::NotUtf8, 10));
    assert_eq!(path, ".items[1].name");

    let item = |id| Value::Many(vec![unsigned(id), text("a")]);
    let value = Value::Many(vec![Value::Many(vec![item(1), item(256)])]);
    let failure = refused(&plan, &value);
    assert_eq!(failure.to_string(), ".items[1].id: 256 does not fit u8, which holds 0 to 255");
}

#[test]
fn tags_that_mean_nothing_are_refused() {
    let union = vec![Node::Union { variants: vec![1], shape: 0 }, Node::Unit];
    let members = vec![Node::Enum { members: 2, shape: 0 }];
    let cases: Vec<(Vec<Node>, Vec<u8>, DecodeReason)> = vec![
        (vec![Node::Bool], vec![2], DecodeReason::Bool { found: 2 }),
        (vec![option(1), Node::U8], vec![2, 0], DecodeReason::Option { found: 2 }),
        (union, vec![1], DecodeReason::Variant { found: 1, variants: 1 }),
        (members, vec![2], DecodeReason::Variant { found: 2, variants: 2 }),
        (vec![Node::Ip], vec![5, 0, 0, 0, 0], DecodeReason::Address { found: 5 }),
        (vec![Node::Url], vec![1, 0, b'x'], DecodeReason::NotUrl),
    ];
    for (nodes, bytes, reason) in cases {
        assert_eq!(rejected(&plan(nodes), &bytes), (reason, 0, String::new()));
    }
}

#[test]
fn counts_are_bounded_by_what_arrived() {
    let numbers = plan(vec![list(1), Node::U64]);
    let reason = DecodeReason::Count { count: 65_535, least: 8, left: 8 };
    assert_eq!(rejected(&numbers, &[0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]).0, reason);

    let data = plan(vec![Node::Data]);
    let reason = DecodeReason::DataTooLong { length: u32::MAX as usize };
    assert_eq!(rejected(&data, &[0xff; 8]).0, reason);
    let reason = DecodeReason::Short { needed: MAX_DATA, left: 0 };
    assert_eq!(rejected(&data, &[0, 0, 0, 2]).0, reason);

    // Elements of no size are paid for by nobody, so they are counted over the whole value.
    let units = plan(vec![list(1), list(2), Node::Unit]);
    let once = [1, 0, 0xff, 0xff];
    assert!(decode_value(&units, &once).is_ok());
    assert_eq!(rejected(&units, &[2, 0, 0xff, 0xff, 1, 0]).0, DecodeReason::Empty);
}

#[test]
fn elements_of_no_size_are_counted_by_the_sender_too() {
    let units = plan(vec![list(1), list(2), Node::Unit]);
    let many = |count| Value::Many(vec![Value::Unit; count]);
    let most = Value::Many(vec![many(MAX_COUNT)]);
    assert_eq!(decode_value(&units, &encoded(&units, &most)).unwrap(), most);
    let value = Value::Many(vec![many(MAX_COUNT), many(1)]);
    assert_eq!(refused(&units, &value).cause(), &EncodeReason::Empty);
}

#[test]
fn the_deepest_value_fits_the_smallest_stack() {
    let nested = || {
        let nodes = vec![record(vec![field("inner", 1)]), Node::Map { key: 2, value: 0 }, Node::U8];
        let plan = plan(nodes);
        let bytes = [[1, 0, 7].repeat(MAX_DEPTH as usize / 2 - 1), vec![0, 0]].concat();
        let value = decode_value(&plan, &bytes).unwrap();
        assert_eq!(encoded(&plan, &value), bytes);
    };
    let thread = std::thread::Builder::new().stack_size(128 * 1024).spawn(nested).unwrap();
    thread.join().unwrap();
}

#[test]
fn the_same_key_twice_is_refused_in_any_order() {
    let numbers = plan(vec![set(1), Node::I8]);
    let (reason, offset, _) = rejected(&numbers, &[3, 0, 1, 2, 2]);
    assert_eq!((reason, offset), (DecodeReason::Duplicate, 4));
    let (reason, offset, _) = rejected(&numbers, &[3, 0, 2, 1, 2]);
    assert_eq!((reason, offset), (DecodeReason::Duplicate, 4));
    let descending = decode_value(&numbers, &[2, 0, 1, 0xff]).unwrap();
    assert_eq!(encoded(&numbers, &descending), [2, 0, 0xff, 1]);

    let twice = Value::Many(vec![Value::Signed(1), Value::Signed(0), Value::Signed(1)]);
    assert_eq!(refused(&numbers, &twice).cause(), &EncodeReason::Duplicate);
}

#[test]
fn nested_maps_are_put_in_order_level_by_level() {
    let plan = plan(vec![
        Node::Map { key: 1, value: 2 },
        Node::Str,
        Node::Map { key: 1, value: 3 },
        Node::U8,
    ]);
    let inner = || Value::Map(vec![(text("y"), unsigned(2)), (text("x"), unsigned(1))]);
    let value = Value::Map(vec![(text("b"), inner()), (text("a"), inner())]);
    let inner_hex = "02000100780101007902";
    let expected = format!("0200010061{inner_hex}010062{inner_hex}");
    assert_eq!(hex(&encoded(&plan, &value)), expected);
}

#[test]
fn keys_are_ordered_by_value() {
    let ordered = |node: Node, rest: Vec<Node>, values: Vec<Value>| {
        let mut nodes = vec![set(1), node];
        nodes.extend(rest);
        let plan = plan(nodes);
        let mut shuffled = values.clone();
        shuffled.reverse();
        let bytes = encoded(&plan, &Value::Many(shuffled));
        assert_eq!(decode_value(&plan, &bytes).unwrap(), Value::Many(values));
    };
    let signed = |value| Value::Signed(value);
    ordered(Node::I16, vec![], vec![signed(-300), signed(-1), signed(0), signed(256)]);
    ordered(Node::U32, vec![], vec![unsigned(1), unsigned(256), unsigned(65_536)]);
    ordered(Node::Str, vec![], vec![text(""), text("a"), text("aa"), text("b"), text("é")]);
    ordered(option(2), vec![Node::U8], vec![Value::Option(None), some(unsigned(0))]);
    let pair = |a, b: &str| Value::Many(vec![unsigned(a), text(b)]);
    let tuple = Node::Tuple { items: vec![2, 3] };
    ordered(tuple, vec![Node::U16, Node::Str], vec![pair(1, "z"), pair(2, "a"), pair(256, "")]);
    let many = |items: &[u128]| Value::Many(items.iter().copied().map(unsigned).collect());
    ordered(list(2), vec![Node::U8], vec![many(&[]), many(&[1]), many(&[1, 2]), many(&[2])]);
}

#[test]
fn what_does_not_fit_is_refused_before_a_byte_leaves() {
    let long = "x".repeat(MAX_COUNT + 1);
    let failure = refused(&plan(vec![Node::Str]), &text(&long));
    assert_eq!(failure.cause(), &EncodeReason::TextTooLong { length: 65_536 });
    assert_eq!(encoded(&plan(vec![Node::Str]), &text(&long[1..])).len(), 65_537);

    let units = plan(vec![list(1), Node::U8]);
    let failure = refused(&units, &Value::Many(vec![unsigned(0); MAX_COUNT + 1]));
    assert_eq!(failure.cause(), &EncodeReason::TooMany { what: "items" });
    assert!(
        decode_value(&units, &encoded(&units, &Value::Many(vec![unsigned(0); MAX_COUNT]))).is_ok()
    );

    let failure = refused(&plan(vec![Node::Data]), &Value::Data(vec![0; MAX_DATA + 1]));
    assert_eq!(failure.cause(), &EncodeReason::DataTooLong { length: MAX_DATA + 1 });
    let failure = refused(&plan(vec![Node::F32]), &Value::Float(1e300));
    assert!(matches!(failure.cause(), EncodeReason::Float { .. }));
    let failure =
        refused(&plan(vec![Node::Tuple { items: vec![1] }, Node::U8]), &Value::Many(vec![]));
    assert_eq!(failure.cause(), &EncodeReason::Arity { wanted: 1, found: 0 });
}

#[test]
fn depth_is_bounded_both_ways() {
    let chain = plan(vec![option(0)]);
    let ones = |count: usize| [vec![1; count], vec![0]].concat();
    let depth = MAX_DEPTH as usize;
    // The innermost none holds nothing, so it is no level.
    let deepest = decode_value(&chain, &ones(depth)).unwrap();
    assert_eq!(encoded(&chain, &deepest), ones(depth));
    assert_eq!(rejected(&chain, &ones(depth + 1)).0, DecodeReason::TooDeep);
    assert_eq!(rejected(&chain, &vec![1; 1 << 20]).0, DecodeReason::TooDeep);
    assert_eq!(refused(&chain, &some(deepest)).cause(), &EncodeReason::TooDeep);
}

#[test]
fn plans_that_make_no_sense_are_refused() {
    let fails = |nodes: Vec<Node>| Plan::new(nodes, 0).unwrap_err();
    assert_eq!(fails(vec![]), PlanError::Dangling { node: 0, target: 0 });
    assert_eq!(fails(vec![list(7)]), PlanError::Dangling { node: 0, target: 7 });
    assert_eq!(fails(vec![record(vec![field("me", 0)])]), PlanError::Endless);
    assert_eq!(fails(vec![set(1), Node::F64]), PlanError::Key { found: "f64" });
    assert_eq!(fails(vec![set(1), option(2), set(3), Node::U8]), PlanError::Key { found: "set" });
    let union = |variants| Node::Union { variants, shape: 0 };
    assert_eq!(fails(vec![union(vec![])]), PlanError::Variants { found: 0 });
    assert_eq!(fails(vec![union(vec![1; 257]), Node::Unit]), PlanError::Variants { found: 257 });
    assert_eq!(fails(vec![union(vec![1]), Node::U8]), PlanError::Variant { found: "u8" });
    let arguments = Node::Arguments { fields: vec![] };
    assert_eq!(fails(vec![list(1), arguments]), PlanError::Arguments);
}

#[test]
fn arguments_come_one_after_the_other() {
    let fields = vec![field("a", 1), field("b", 2)];
    let plan = plan(vec![Node::Arguments { fields }, Node::U8, Node::Bool]);
    let mut seen = Vec::new();
    decode_fields(&plan, &[7, 1], &mut ValueBuild, |index, value| seen.push((index, value)))
        .unwrap();
    assert_eq!(seen, [(0, unsigned(7)), (1, Value::Bool(true))]);
    let failure = decode_fields(&plan, &[7, 2], &mut ValueBuild, |_, _| {}).unwrap_err();
    assert_eq!((failure.path(), failure.offset()), (".b".to_owned(), Some(1)));
}
