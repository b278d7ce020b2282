//! The classes that Python sees: plans, made from the descriptions that the schema writes.
use jetstream_proto::wire::{self, Field, Node, NodeId};
use pyo3::Borrowed;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::{PyBytes, PyString, PyTuple, PyType};

use super::decode::Making;
use super::encode::Reading;
use super::objects::{COMMON, Entry, FROZEN, Making as How, Object, Record, Shapes};
use super::{decode_error, encode_error};

/// What both kinds of plan are made of.
struct Layout {
    plan: wire::Plan,
    shapes: Shapes,
}

/// How values of one annotation are laid out, and the classes that stand behind it.
#[pyclass(frozen, module = "jetstream._core.codec")]
pub struct Plan(Layout);

/// The ordered, named arguments of one method.
#[pyclass(frozen, module = "jetstream._core.codec")]
pub struct ArgumentsPlan {
    layout: Layout,
    count: usize,
}

impl Plan {
    /// Appends `value` to `out`, or raises `EncodeError` and leaves `out` as it was. `what` comes
    /// before the path in messages.
    pub fn encode_into(
        &self,
        py: Python<'_>,
        value: &Bound<'_, PyAny>,
        out: &mut Vec<u8>,
        what: &str,
    ) -> PyResult<()> {
        let mut source = Reading { py, shapes: &self.0.shapes };
        wire::encode(&self.0.plan, &mut source, Object::new(value), out)
            .map_err(|failure| encode_error(py, what, failure))
    }

    /// Makes the value that fills `data` exactly, or raises `DecodeError`.
    pub fn decode_from<'py>(
        &self,
        py: Python<'py>,
        data: &[u8],
        what: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut build = Making { py, shapes: &self.0.shapes };
        wire::decode(&self.0.plan, data, &mut build)
            .map_err(|failure| decode_error(py, what, failure))
    }
}

#[pymethods]
impl Plan {
    #[new]
    fn new(description: &Bound<'_, PyTuple>) -> PyResult<Self> {
        Layout::parse(description).map(Self)
    }

    #[pyo3(signature = (value, path = ""))]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        value: &Bound<'py, PyAny>,
        path: &str,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut out = Vec::with_capacity(ROOM);
        self.encode_into(py, value, &mut out, path)?;
        Ok(PyBytes::new(py, &out))
    }

    #[pyo3(signature = (data, path = ""))]
    fn decode<'py>(
        &self,
        py: Python<'py>,
        data: &Bound<'py, PyBytes>,
        path: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.decode_from(py, data.as_bytes(), path)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0.shapes.traverse(&visit)
    }
}

/// What most values fit into; more grows.
const ROOM: usize = 512;

impl ArgumentsPlan {
    /// How many arguments there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends the arguments to `out`, or raises `EncodeError` and leaves `out` as it was.
    pub fn encode_into(
        &self,
        py: Python<'_>,
        args: &[Bound<'_, PyAny>],
        out: &mut Vec<u8>,
        what: &str,
    ) -> PyResult<()> {
        self.encode_each(py, args.iter().map(Bound::as_borrowed), out, what)
    }

    /// The same for arguments that are held in any other way, such as in a tuple.
    pub fn encode_each<'a, 'py: 'a>(
        &self,
        py: Python<'py>,
        args: impl ExactSizeIterator<Item = Borrowed<'a, 'py, PyAny>>,
        out: &mut Vec<u8>,
        what: &str,
    ) -> PyResult<()> {
        let mut source = Reading { py, shapes: &self.layout.shapes };
        wire::encode_fields(&self.layout.plan, &mut source, args.map(Object::borrowed), out)
            .map_err(|failure| encode_error(py, what, failure))
    }

    /// Hands each argument over as it is made, in order, or raises `DecodeError`; those already
    /// handed over are then to be dropped.
    pub fn decode_from<'py>(
        &self,
        py: Python<'py>,
        data: &[u8],
        what: &str,
        each: &mut impl FnMut(usize, Bound<'py, PyAny>),
    ) -> PyResult<()> {
        let mut build = Making { py, shapes: &self.layout.shapes };
        wire::decode_fields(&self.layout.plan, data, &mut build, each)
            .map_err(|failure| decode_error(py, what, failure))
    }
}

#[pymethods]
impl ArgumentsPlan {
    #[new]
    fn new(description: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let layout = Layout::parse(description)?;
        match layout.plan.node(layout.plan.root()) {
            Node::Arguments { fields } => Ok(Self { count: fields.len(), layout }),
            other => Err(PyValueError::new_err(format!("arguments wanted, not {}", other.kind()))),
        }
    }

    #[pyo3(signature = (*args, path = ""))]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        path: &str,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut out = Vec::with_capacity(ROOM);
        self.encode_each(py, args.iter_borrowed(), &mut out, path)?;
        Ok(PyBytes::new(py, &out))
    }

    #[pyo3(signature = (data, path = ""))]
    fn decode<'py>(
        &self,
        py: Python<'py>,
        data: &Bound<'py, PyBytes>,
        path: &str,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let mut values = Vec::with_capacity(self.count);
        self.decode_from(py, data.as_bytes(), path, &mut |_, value| values.push(value))?;
        PyTuple::new(py, values)
    }

    fn __len__(&self) -> usize {
        self.count
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.layout.shapes.traverse(&visit)
    }
}

impl Layout {
    /// Reads a description: one tuple per node, the first being the root; a node names others by
    /// their position.
    fn parse(description: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let mut shapes = Shapes::new();
        let mut nodes = Vec::with_capacity(description.len());
        for part in description {
            let part = part.cast_into::<PyTuple>()?;
            nodes.push(node(&part, &mut shapes)?);
        }
        let plan = wire::Plan::new(nodes, 0).map_err(|e| PyValueError::new_err(e.to_string()))?;
        Ok(Self { plan, shapes })
    }
}

fn node(part: &Bound<'_, PyTuple>, shapes: &mut Shapes) -> PyResult<Node> {
    let kind = part.get_item(0)?;
    let kind = kind.cast::<PyString>()?.to_cow()?;
    let id = |index| part.get_item(index)?.extract::<NodeId>();
    let ids = |index| part.get_item(index)?.extract::<Vec<NodeId>>();
    let class =
        |index| -> PyResult<Bound<'_, PyType>> { Ok(part.get_item(index)?.cast_into::<PyType>()?) };
    let frozen = |index| -> PyResult<_> {
        Ok(if part.get_item(index)?.extract::<bool>()? { FROZEN } else { COMMON })
    };
    Ok(match &*kind {
        "bool" => Node::Bool,
        "u8" => Node::U8,
        "u16" => Node::U16,
        "u32" => Node::U32,
        "u64" => Node::U64,
        "u128" => Node::U128,
        "i8" => Node::I8,
        "i16" => Node::I16,
        "i32" => Node::I32,
        "i64" => Node::I64,
        "i128" => Node::I128,
        "f32" => Node::F32,
        "f64" => Node::F64,
        "unit" => Node::Unit,
        "str" => Node::Str,
        "data" => Node::Data,
        "url" => Node::Url,
        "time" => Node::Time,
        "ipv4" => Node::Ipv4,
        "ipv6" => Node::Ipv6,
        "ip" => Node::Ip,
        "sockaddr" => {
            shapes.add(Entry::SocketAddress(class(1)?.unbind()))?;
            Node::SocketAddress
        }
        "list" => Node::List { item: id(1)?, shape: frozen(2)? },
        "set" => Node::Set { item: id(1)?, shape: frozen(2)? },
        "tuple" => Node::Tuple { items: ids(1)? },
        "map" => Node::Map { key: id(1)?, value: id(2)? },
        "option" => {
            let wrapper = part.get_item(2)?;
            let shape = if wrapper.is_none() {
                COMMON
            } else {
                shapes.add(Entry::Some(wrapper.cast_into::<PyType>()?.unbind()))?
            };
            Node::Option { item: id(1)?, shape }
        }
        "struct" => {
            let (names, fields) = fields(&part.get_item(2)?)?;
            let how = match &*part.get_item(3)?.cast::<PyString>()?.to_cow()? {
                "new" => How::New,
                "tuple" => How::Tuple,
                "call" => How::Call,
                other => return Err(PyValueError::new_err(format!("no way to make: {other}"))),
            };
            let post_init = part.get_item(4)?.extract()?;
            let record = Record::new(&class(1)?, how, &names, post_init)?;
            Node::Struct { fields, shape: shapes.add(Entry::Record(record))? }
        }
        "arguments" => Node::Arguments { fields: fields(&part.get_item(1)?)?.1 },
        "union" => {
            let classes = part.get_item(2)?.extract::<Vec<Py<PyType>>>()?;
            Node::Union { variants: ids(1)?, shape: shapes.add(Entry::Union(classes))? }
        }
        "enum" => {
            let members = part.get_item(2)?.extract::<Vec<Py<PyAny>>>()?;
            let count = u16::try_from(members.len())?;
            let shape = shapes.add(Entry::Enum(class(1)?.unbind(), members))?;
            Node::Enum { members: count, shape }
        }
        other => return Err(PyValueError::new_err(format!("no such node: {other}"))),
    })
}

type Fields<'py> = (Vec<Bound<'py, PyString>>, Vec<Field>);

fn fields<'py>(pairs: &Bound<'py, PyAny>) -> PyResult<Fields<'py>> {
    let (mut names, mut fields) = (Vec::new(), Vec::new());
    for pair in pairs.try_iter()? {
        let (name, node): (Bound<'py, PyString>, NodeId) = pair?.extract()?;
        fields.push(Field { name: name.to_cow()?.into(), node });
        names.push(name);
    }
    Ok((names, fields))
}
