//! A random plan, and random bytes as a value of it: decoding never panics, and what decodes
//! encodes to bytes that decode to the same.

use jetstream_proto::wire::{Field, Node, NodeId, Plan, decode_value, encode_value};

/// Tuples of tuples of units multiply without a byte being read, so plans stay small.
const MAX_NODES: u8 = 8;

/// One input.
pub fn run(input: &[u8]) {
    let mut input = input.iter().copied();
    let Some(nodes) = nodes(&mut input) else {
        return;
    };
    let Ok(plan) = Plan::new(nodes, 0) else {
        return;
    };
    let data: Vec<u8> = input.collect();
    let Ok(value) = decode_value(&plan, &data) else {
        return;
    };

    let mut once = Vec::new();
    if let Err(failure) = encode_value(&plan, &value, &mut once) {
        panic!("decoded {value:?}, which does not encode: {failure}");
    }
    let again = match decode_value(&plan, &once) {
        Ok(again) => again,
        Err(failure) => panic!("encoded {value:?}, which does not decode: {failure}"),
    };
    let mut twice = Vec::new();
    let encoded = encode_value(&plan, &again, &mut twice);
    assert!(encoded.is_ok());
    // Bytes are compared rather than values: NaN is not equal to itself.
    assert_eq!(once, twice);
}

fn nodes(input: &mut impl Iterator<Item = u8>) -> Option<Vec<Node>> {
    let count = input.next()? % MAX_NODES + 1;
    (0..count).map(|_| node(input, count)).collect()
}

fn node(input: &mut impl Iterator<Item = u8>, count: u8) -> Option<Node> {
    let leaves = [
        Node::Bool,
        Node::U8,
        Node::U16,
        Node::U32,
        Node::U64,
        Node::U128,
        Node::I8,
        Node::I16,
        Node::I32,
        Node::I64,
        Node::I128,
        Node::F32,
        Node::F64,
        Node::Unit,
        Node::Str,
        Node::Data,
        Node::Url,
        Node::Time,
        Node::Ipv4,
        Node::Ipv6,
        Node::Ip,
        Node::SocketAddress,
    ];
    let kind = usize::from(input.next()?);
    let mut id = || Some(NodeId::from(input.next()? % count));
    let shape = 0;
    Some(match kind % (leaves.len() + 8) {
        leaf if leaf < leaves.len() => leaves[leaf].clone(),
        leaf => match leaf - leaves.len() {
            0 => Node::List { item: id()?, shape },
            1 => Node::Tuple { items: vec![id()?, id()?] },
            2 => Node::Map { key: id()?, value: id()? },
            3 => Node::Set { item: id()?, shape },
            4 => Node::Option { item: id()?, shape },
            5 => {
                let field = |node| Field { name: "field".into(), node };
                Node::Struct { fields: vec![field(id()?), field(id()?), field(id()?)], shape }
            }
            6 => Node::Union { variants: vec![id()?, id()?], shape },
            _ => Node::Enum { members: 3, shape },
        },
    })
}
