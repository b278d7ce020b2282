//! Plans: the layout of one annotation's values, compiled once and walked for every value.
use thiserror::Error;

/// The position of a node in its plan.
pub type NodeId = u32;

/// A number that means something to whoever made the plan (which class, list or tuple) and nothing
/// to the wire.
pub type Shape = u32;

/// A named part of a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// For messages only; names do not travel.
    pub name: Box<str>,
    /// How its value is laid out.
    pub node: NodeId,
}

/// How one kind of value is laid out. Nodes refer to each other by id, so a type may contain
/// itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fixed-width leaves say everything in their names")]
pub enum Node {
    Bool,
    U8,
    U16,
    U32,
    U64,
    U128,
    I8,
    I16,
    I32,
    I64,
    I128,
    F32,
    F64,
    /// Nothing at all.
    Unit,
    /// `u16` byte length, then UTF-8.
    Str,
    /// `u32` byte length, then the bytes.
    Data,
    /// A string that starts with a scheme.
    Url,
    /// Milliseconds since the Unix epoch, `u64`.
    Time,
    Ipv4,
    Ipv6,
    /// `u8` 4 or 6, then the address.
    Ip,
    /// An address of either kind, then the port as `u16`.
    SocketAddress,
    /// `u16` count, then the items.
    List {
        item: NodeId,
        shape: Shape,
    },
    /// The items one after the other.
    Tuple {
        items: Vec<NodeId>,
    },
    /// `u16` count, then keys and values, ascending by key.
    Map {
        key: NodeId,
        value: NodeId,
    },
    /// `u16` count, then the members, ascending.
    Set {
        item: NodeId,
        shape: Shape,
    },
    /// `u8` 0, or 1 and the value.
    Option {
        item: NodeId,
        shape: Shape,
    },
    /// The fields one after the other.
    Struct {
        fields: Vec<Field>,
        shape: Shape,
    },
    /// The arguments of a method: a struct whose parts are called arguments in messages.
    Arguments {
        fields: Vec<Field>,
    },
    /// `u8` index of the variant, then its fields.
    Union {
        variants: Vec<NodeId>,
        shape: Shape,
    },
    /// `u8` index of the member: an enum whose variants have no fields.
    Enum {
        members: u16,
        shape: Shape,
    },
}

/// Why nodes do not make a plan.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// A node refers to one that is not there.
    #[error("node {node} refers to node {target}, which does not exist")]
    Dangling {
        /// The node that refers.
        node: NodeId,
        /// What it refers to.
        target: NodeId,
    },
    /// More nodes than ids.
    #[error("a plan has at most 2^32 - 1 nodes")]
    TooLarge,
    /// A union or enum whose index would not fit its byte.
    #[error("{found} variants, but a variant's index is one byte: between 1 and 256 fit")]
    Variants {
        /// How many there are.
        found: usize,
    },
    /// A union of something that is not a struct.
    #[error("a variant is a struct, a tuple or unit; a bare {found} has no place in a union")]
    Variant {
        /// The kind of node found.
        found: &'static str,
    },
    /// Keys that have no order both ends agree on.
    #[error("keys are kept in ascending order, and {found} has none that both ends agree on")]
    Key {
        /// The kind of node found.
        found: &'static str,
    },
    /// A type whose every value would contain another one.
    #[error("every value of this type contains another one, so none is finite")]
    Endless,
    /// Arguments anywhere but at the root.
    #[error("arguments are not a value; they can only be the root of a plan")]
    Arguments,
}

/// The layout of one annotation's values, or of a method's arguments.
#[derive(Clone, Debug)]
pub struct Plan {
    nodes: Vec<Node>,
    root: NodeId,
    /// The fewest bytes a value of each node takes: what a count is checked against before
    /// anything is allocated. Zero only where every value takes none.
    least: Vec<usize>,
}

impl Plan {
    /// Checks that the nodes make sense together.
    pub fn new(nodes: Vec<Node>, root: NodeId) -> Result<Self, PlanError> {
        let count = NodeId::try_from(nodes.len()).map_err(|_| PlanError::TooLarge)?;
        if root >= count {
            return Err(PlanError::Dangling { node: root, target: root });
        }
        for (id, node) in (0..).zip(&nodes) {
            for target in node.children() {
                if target >= count {
                    return Err(PlanError::Dangling { node: id, target });
                }
                if matches!(nodes[target as usize], Node::Arguments { .. }) {
                    return Err(PlanError::Arguments);
                }
            }
        }
        for node in &nodes {
            node.check(&nodes)?;
        }
        let least = least_sizes(&nodes);
        if least.contains(&usize::MAX) {
            return Err(PlanError::Endless);
        }
        Ok(Self { nodes, root, least })
    }

    /// Where values start.
    pub fn root(&self) -> NodeId {
        self.root
    }

    /// The node with this id.
    #[inline]
    pub fn node(&self, id: NodeId) -> &Node {
        // Every id in a plan was checked when it was made.
        &self.nodes[id as usize]
    }

    /// The fewest bytes a value of this node takes.
    #[inline]
    pub fn least(&self, id: NodeId) -> usize {
        self.least[id as usize]
    }
}

impl Node {
    /// What it is called in messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::U128 => "u128",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::I128 => "i128",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Unit => "unit",
            Self::Str => "str",
            Self::Data => "data",
            Self::Url => "url",
            Self::Time => "time",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Ip => "ip",
            Self::SocketAddress => "socket address",
            Self::List { .. } => "list",
            Self::Tuple { .. } => "tuple",
            Self::Map { .. } => "map",
            Self::Set { .. } => "set",
            Self::Option { .. } => "option",
            Self::Struct { .. } => "struct",
            Self::Arguments { .. } => "arguments",
            Self::Union { .. } => "union",
            Self::Enum { .. } => "enum",
        }
    }

    /// The ids it refers to.
    fn children(&self) -> Vec<NodeId> {
        match self {
            Self::List { item, .. } | Self::Set { item, .. } | Self::Option { item, .. } => {
                vec![*item]
            }
            Self::Map { key, value } => vec![*key, *value],
            Self::Tuple { items } => items.clone(),
            Self::Union { variants, .. } => variants.clone(),
            Self::Struct { fields, .. } | Self::Arguments { fields } => {
                fields.iter().map(|field| field.node).collect()
            }
            _ => Vec::new(),
        }
    }

    fn check(&self, nodes: &[Self]) -> Result<(), PlanError> {
        match self {
            Self::Map { key: item, .. } | Self::Set { item, .. } => check_key(nodes, *item),
            Self::Enum { members, .. } if !(1..=256).contains(members) => {
                Err(PlanError::Variants { found: (*members).into() })
            }
            Self::Union { variants, .. } => {
                if !(1..=256).contains(&variants.len()) {
                    return Err(PlanError::Variants { found: variants.len() });
                }
                for variant in variants {
                    match &nodes[*variant as usize] {
                        Self::Struct { .. } | Self::Tuple { .. } | Self::Unit => {}
                        other => {
                            return Err(PlanError::Variant { found: other.kind() });
                        }
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Floats have no total order, and a map or set inside a key would have to be put in order itself
/// before it could be compared.
fn check_key(nodes: &[Node], key: NodeId) -> Result<(), PlanError> {
    let mut seen = vec![false; nodes.len()];
    let mut waiting = vec![key];
    while let Some(id) = waiting.pop() {
        if std::mem::replace(&mut seen[id as usize], true) {
            continue;
        }
        match &nodes[id as usize] {
            node @ (Node::F32 | Node::F64 | Node::Map { .. } | Node::Set { .. }) => {
                return Err(PlanError::Key { found: node.kind() });
            }
            node => waiting.extend(node.children()),
        }
    }
    Ok(())
}

/// The smallest solution, from "endless" downwards; whatever stays there is endless.
fn least_sizes(nodes: &[Node]) -> Vec<usize> {
    let mut least = vec![usize::MAX; nodes.len()];
    loop {
        let mut changed = false;
        for (id, node) in nodes.iter().enumerate() {
            let size = least_size(node, &least);
            changed |= std::mem::replace(&mut least[id], size) != size;
        }
        if !changed {
            return least;
        }
    }
}

fn least_size(node: &Node, least: &[usize]) -> usize {
    let sum = |ids: &mut dyn Iterator<Item = NodeId>| {
        ids.fold(0_usize, |total, id| total.saturating_add(least[id as usize]))
    };
    match node {
        Node::Unit => 0,
        Node::Bool | Node::U8 | Node::I8 | Node::Option { .. } | Node::Enum { .. } => 1,
        Node::U16 | Node::I16 | Node::Str | Node::Url => 2,
        Node::List { .. } | Node::Map { .. } | Node::Set { .. } => 2,
        Node::U32 | Node::I32 | Node::F32 | Node::Data | Node::Ipv4 => 4,
        Node::Ip => 5,
        Node::SocketAddress => 7,
        Node::U64 | Node::I64 | Node::F64 | Node::Time => 8,
        Node::U128 | Node::I128 | Node::Ipv6 => 16,
        Node::Tuple { items } => sum(&mut items.iter().copied()),
        Node::Struct { fields, .. } | Node::Arguments { fields } => {
            sum(&mut fields.iter().map(|field| field.node))
        }
        Node::Union { variants, .. } => {
            let smallest = variants.iter().map(|id| least[*id as usize]).min();
            smallest.unwrap_or(usize::MAX).saturating_add(1)
        }
    }
}
