//! The order of keys: by value, as Rust's `BTreeMap` and `BTreeSet` keep them.
//!
//! Keys are compared in their encoded form, which is the one form every implementation of a value
//! shares. Both sides are bytes that were just encoded or just decoded, so they are well formed;
//! were they not, they would compare equal and be refused as duplicates.
use std::cmp::Ordering;

use super::{DecodeReason, Node, NodeId, Plan, Reader};

/// Compares two encoded values of one node.
pub(super) fn compare(plan: &Plan, node: NodeId, left: &[u8], right: &[u8]) -> Ordering {
    walk(plan, node, &mut Reader::new(left), &mut Reader::new(right)).unwrap_or(Ordering::Equal)
}

fn walk(
    plan: &Plan,
    node: NodeId,
    left: &mut Reader<'_>,
    right: &mut Reader<'_>,
) -> Result<Ordering, DecodeReason> {
    macro_rules! number {
        ($type:ty) => {
            <$type>::from_le_bytes(left.array()?).cmp(&<$type>::from_le_bytes(right.array()?))
        };
    }
    Ok(match plan.node(node) {
        Node::Bool | Node::U8 | Node::Enum { .. } => number!(u8),
        Node::U16 => number!(u16),
        Node::U32 => number!(u32),
        Node::U64 | Node::Time => number!(u64),
        Node::U128 => number!(u128),
        Node::I8 => number!(i8),
        Node::I16 => number!(i16),
        Node::I32 => number!(i32),
        Node::I64 => number!(i64),
        Node::I128 => number!(i128),
        Node::Unit => Ordering::Equal,
        Node::Str | Node::Url => left.text()?.cmp(right.text()?),
        Node::Data => left.data()?.cmp(right.data()?),
        Node::Ipv4 => left.array::<4>()?.cmp(&right.array::<4>()?),
        Node::Ipv6 => left.array::<16>()?.cmp(&right.array::<16>()?),
        Node::Ip => addresses(left, right)?,
        Node::SocketAddress => match addresses(left, right)? {
            Ordering::Equal => number!(u16),
            different => different,
        },
        Node::List { item, .. } => {
            let (here, there) = (left.u16()?, right.u16()?);
            for _ in 0..here.min(there) {
                match walk(plan, *item, left, right)? {
                    Ordering::Equal => {}
                    different => return Ok(different),
                }
            }
            here.cmp(&there)
        }
        Node::Option { item, .. } => match (left.u8()?, right.u8()?) {
            (1, 1) => walk(plan, *item, left, right)?,
            (here, there) => here.cmp(&there),
        },
        Node::Union { variants, .. } => {
            let (here, there) = (left.u8()?, right.u8()?);
            match variants.get(usize::from(here)) {
                Some(variant) if here == there => walk(plan, *variant, left, right)?,
                _ => here.cmp(&there),
            }
        }
        Node::Tuple { items } => {
            for item in items {
                match walk(plan, *item, left, right)? {
                    Ordering::Equal => {}
                    different => return Ok(different),
                }
            }
            Ordering::Equal
        }
        Node::Struct { fields, .. } | Node::Arguments { fields } => {
            for field in fields {
                match walk(plan, field.node, left, right)? {
                    Ordering::Equal => {}
                    different => return Ok(different),
                }
            }
            Ordering::Equal
        }
        // No plan has these in a key.
        Node::F32 | Node::F64 | Node::Map { .. } | Node::Set { .. } => Ordering::Equal,
    })
}

/// IPv4 before IPv6, each in network order.
fn addresses(left: &mut Reader<'_>, right: &mut Reader<'_>) -> Result<Ordering, DecodeReason> {
    let (here, there) = (left.u8()?, right.u8()?);
    Ok(match (here, there) {
        (4, 4) => left.array::<4>()?.cmp(&right.array::<4>()?),
        (6, 6) => left.array::<16>()?.cmp(&right.array::<16>()?),
        _ => here.cmp(&there),
    })
}
