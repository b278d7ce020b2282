//! Which Python class stands behind each shape of a plan, and how its objects are made and read.
use std::ffi::c_int;
use std::marker::PhantomData;
use std::ptr::NonNull;

use jetstream_proto::wire::Shape;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple, PyType};
use pyo3::{Borrowed, ffi};

/// The shape of lists, sets and options that are nothing special: `list`, `set`, `X | None`.
pub(super) const COMMON: Shape = 0;
/// The shape of the immutable ones: `tuple[X, ...]`, `frozenset`.
pub(super) const FROZEN: Shape = 1;

/// How objects of a class are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Making {
    /// `object.__new__`, then the attributes are set past any `__setattr__`, as frozen dataclasses
    /// do themselves.
    New,
    /// A tuple of the class, filled in place: what `NamedTuple` makes.
    Tuple,
    /// The class is called with keywords: always right, and slower.
    Call,
}

pub(super) struct FieldOf {
    pub(super) name: Py<PyString>,
    /// Where the attribute is in the object, for `__slots__`.
    pub(super) slot: Option<ffi::Py_ssize_t>,
}

/// A dataclass, NamedTuple or msgspec.Struct.
pub(super) struct Record {
    pub(super) class: Py<PyType>,
    pub(super) making: Making,
    pub(super) fields: Vec<FieldOf>,
    /// The names of the fields, for calling the class.
    pub(super) names: Py<PyTuple>,
    /// The empty tuple, which `object.__new__` takes.
    pub(super) nothing: Py<PyTuple>,
    pub(super) post_init: bool,
    /// Are its fields items rather than attributes?
    pub(super) is_tuple: bool,
}

/// What a shape stands for.
pub(super) enum Entry {
    /// Holds the place of `COMMON` and `FROZEN`.
    Reserved,
    Record(Record),
    /// The classes of a union's variants.
    Union(Vec<Py<PyType>>),
    Enum(Py<PyType>, Vec<Py<PyAny>>),
    /// The wrapper around a value whose None is not the option's.
    Some(Py<PyType>),
    SocketAddress(Py<PyType>),
}

/// The classes of one plan, by shape.
pub(super) struct Shapes {
    entries: Vec<Entry>,
    socket_address: Option<Shape>,
}

impl Shapes {
    pub(super) fn new() -> Self {
        Self { entries: vec![Entry::Reserved, Entry::Reserved], socket_address: None }
    }

    pub(super) fn add(&mut self, entry: Entry) -> PyResult<Shape> {
        let shape = Shape::try_from(self.entries.len())?;
        if matches!(entry, Entry::SocketAddress(_)) {
            self.socket_address = Some(shape);
        }
        self.entries.push(entry);
        Ok(shape)
    }

    #[inline]
    pub(super) fn record(&self, shape: Shape) -> PyResult<&Record> {
        match self.entries.get(shape as usize) {
            Some(Entry::Record(record)) => Ok(record),
            _ => Err(mistaken()),
        }
    }

    pub(super) fn union(&self, shape: Shape) -> PyResult<&[Py<PyType>]> {
        match self.entries.get(shape as usize) {
            Some(Entry::Union(classes)) => Ok(classes),
            _ => Err(mistaken()),
        }
    }

    pub(super) fn members(&self, shape: Shape) -> PyResult<(&Py<PyType>, &[Py<PyAny>])> {
        match self.entries.get(shape as usize) {
            Some(Entry::Enum(class, members)) => Ok((class, members)),
            _ => Err(mistaken()),
        }
    }

    pub(super) fn some(&self, shape: Shape) -> PyResult<&Py<PyType>> {
        match self.entries.get(shape as usize) {
            Some(Entry::Some(class)) => Ok(class),
            _ => Err(mistaken()),
        }
    }

    pub(super) fn socket_address(&self) -> PyResult<&Py<PyType>> {
        match self.socket_address.and_then(|shape| self.entries.get(shape as usize)) {
            Some(Entry::SocketAddress(class)) => Ok(class),
            _ => Err(mistaken()),
        }
    }

    /// Shows the garbage collector every class: a class may hold the plan that holds it.
    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        for entry in &self.entries {
            match entry {
                Entry::Reserved => {}
                Entry::Record(record) => visit.call(&record.class)?,
                Entry::Union(classes) => {
                    classes.iter().try_for_each(|class| visit.call(class))?;
                }
                Entry::Enum(class, members) => {
                    visit.call(class)?;
                    members.iter().try_for_each(|member| visit.call(member))?;
                }
                Entry::Some(class) | Entry::SocketAddress(class) => visit.call(class)?,
            }
        }
        Ok(())
    }
}

#[cold]
fn mistaken() -> PyErr {
    PyTypeError::new_err("the plan and its shapes do not match")
}

impl Record {
    /// Learns how objects of `class` are laid out. `making` is what the schema allows; where the
    /// class has a constructor of its own, it is called.
    pub(super) fn new(
        class: &Bound<'_, PyType>,
        making: Making,
        names: &[Bound<'_, PyString>],
        post_init: bool,
    ) -> PyResult<Self> {
        let py = class.py();
        // SAFETY: the class is alive and ready.
        let is_tuple = unsafe {
            let tuple = std::ptr::addr_of_mut!(ffi::PyTuple_Type);
            ffi::PyType_IsSubtype(class.as_type_ptr(), tuple) != 0
        };
        let mut fields = Vec::with_capacity(names.len());
        for name in names {
            let slot = if is_tuple { None } else { slot(class, name)? };
            fields.push(FieldOf { name: intern(name)?, slot });
        }
        let interned = fields.iter().map(|field| field.name.clone_ref(py));
        let names = PyTuple::new(py, interned)?.unbind();
        let making =
            if making == Making::New && !has_plain_new(class) { Making::Call } else { making };
        let nothing = PyTuple::empty(py).unbind();
        let class = class.clone().unbind();
        Ok(Self { class, making, fields, names, nothing, post_init, is_tuple })
    }
}

fn intern(name: &Bound<'_, PyString>) -> PyResult<Py<PyString>> {
    Ok(PyString::intern(name.py(), name.to_str()?).unbind())
}

fn has_plain_new(class: &Bound<'_, PyType>) -> bool {
    // SAFETY: both are type objects, alive and ready; the slots are only compared.
    let (own, plain) = unsafe {
        ((*class.as_type_ptr()).tp_new, (*std::ptr::addr_of!(ffi::PyBaseObject_Type)).tp_new)
    };
    match (own, plain) {
        (Some(own), Some(plain)) => own as usize == plain as usize,
        _ => false,
    }
}

/// The offset of a writable object slot called `name`, where that is what the class has.
fn slot(
    class: &Bound<'_, PyType>,
    name: &Bound<'_, PyString>,
) -> PyResult<Option<ffi::Py_ssize_t>> {
    let Some(found) = class.getattr_opt(name)? else {
        return Ok(None);
    };
    // SAFETY: `found` is alive; its type is compared before it is read as a member descriptor. The
    // owner of the descriptor is the class or a base of it, so the offset holds for its objects.
    unsafe {
        let descriptor = found.as_ptr();
        if ffi::Py_TYPE(descriptor) != std::ptr::addr_of_mut!(ffi::PyMemberDescr_Type) {
            return Ok(None);
        }
        let descriptor = descriptor.cast::<ffi::PyMemberDescrObject>();
        let owner = (*descriptor).d_common.d_type;
        if ffi::PyType_IsSubtype(class.as_type_ptr(), owner) == 0 {
            return Ok(None);
        }
        let member = &*(*descriptor).d_member;
        let writable = member.flags & ffi::Py_READONLY as c_int == 0;
        let plain = member.type_code == ffi::Py_T_OBJECT_EX && writable && member.offset > 0;
        Ok(plain.then_some(member.offset))
    }
}

/// A class that is imported when it is first needed.
pub(super) fn imported<'py>(
    py: Python<'py>,
    cell: &PyOnceLock<Py<PyType>>,
    module: &str,
    name: &str,
) -> PyResult<Bound<'py, PyType>> {
    cell.import(py, module, name).cloned()
}

/// `ipaddress.IPv4Address`.
pub(super) fn ipv4_class(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    imported(py, &CLASS, "ipaddress", "IPv4Address")
}

/// `ipaddress.IPv6Address`.
pub(super) fn ipv6_class(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    imported(py, &CLASS, "ipaddress", "IPv6Address")
}

/// An object that is alive for as long as `'a`: somebody up the stack holds it.
#[derive(Clone, Copy)]
pub(super) struct Object<'a>(NonNull<ffi::PyObject>, PhantomData<&'a ()>);

impl<'a> Object<'a> {
    #[inline]
    pub(super) fn new(value: &'a Bound<'_, PyAny>) -> Self {
        Self::borrowed(value.as_borrowed())
    }

    #[inline]
    pub(super) fn borrowed(value: Borrowed<'a, '_, PyAny>) -> Self {
        // SAFETY: a Borrowed is never null and keeps its object alive for 'a.
        unsafe { Self::from_ptr(value.as_ptr()) }
    }

    /// # Safety
    ///
    /// `pointer` is an object that stays alive for `'a`.
    #[inline]
    pub(super) unsafe fn from_ptr(pointer: *mut ffi::PyObject) -> Self {
        // SAFETY: the caller promises an object, and objects are not at null.
        Self(unsafe { NonNull::new_unchecked(pointer) }, PhantomData)
    }

    #[inline]
    pub(super) fn as_ptr(self) -> *mut ffi::PyObject {
        self.0.as_ptr()
    }

    #[inline]
    pub(super) fn class(self) -> *mut ffi::PyTypeObject {
        // SAFETY: the object is alive for 'a.
        unsafe { ffi::Py_TYPE(self.as_ptr()) }
    }

    #[inline]
    pub(super) fn is_none(self) -> bool {
        // SAFETY: compares addresses.
        self.as_ptr() == unsafe { ffi::Py_None() }
    }

    /// Is it an object of `class` or of a class derived from it?
    #[inline]
    pub(super) fn is_a(self, class: *mut ffi::PyTypeObject) -> bool {
        // SAFETY: both are types that are alive.
        self.class() == class || unsafe { ffi::PyType_IsSubtype(self.class(), class) != 0 }
    }
}

/// A short form of a key, for messages.
pub(super) fn describe(key: &Bound<'_, PyAny>) -> String {
    const LONGEST: usize = 40;
    let Ok(text) = key.repr().map(|text| text.to_string_lossy().into_owned()) else {
        return "?".to_owned();
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
