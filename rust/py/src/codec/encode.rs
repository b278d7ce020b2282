//! Reads Python objects for the encoder.
//!
//! Any Python code may run while a value is read (`__index__`, properties, descriptors) and change
//! the containers it came from. So every part is held by a reference of its own while it is
//! encoded, except parts of tuples, which cannot change; and sizes are looked at again every time.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ptr;

use jetstream_proto::wire::{EncodeReason, Failure, Integer, Shape, Source};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDateTime, PyTuple, PyTzInfoAccess};
use pyo3::{Borrowed, ffi, intern};

use super::objects::{COMMON, Object, Record, Shapes, describe, ipv4_class, ipv6_class};
use super::{Cause, time};

type Outcome<T> = Result<T, Failure<Cause<EncodeReason>>>;

/// Reads objects whose classes are the shapes'.
pub(super) struct Reading<'s, 'py> {
    pub(super) py: Python<'py>,
    pub(super) shapes: &'s Shapes,
}

fn raised(error: PyErr) -> Failure<Cause<EncodeReason>> {
    Failure::new(Cause::Raised(error))
}

#[cold]
fn unfit<T>(message: String) -> Outcome<T> {
    Err(Failure::new(Cause::Unfit(message)))
}

impl<'py> Reading<'_, 'py> {
    #[inline]
    fn bound<'a>(&self, value: Object<'a>) -> Borrowed<'a, 'py, PyAny> {
        // SAFETY: the object is alive for 'a, and the GIL is held for 'py.
        unsafe { Borrowed::from_ptr(self.py, value.as_ptr()) }
    }

    /// Takes over a new reference, or the exception that came instead of it.
    #[inline]
    fn owned(&self, pointer: *mut ffi::PyObject) -> Outcome<Bound<'py, PyAny>> {
        // SAFETY: the callers pass what the C API returned as a new reference or null.
        unsafe { Bound::from_owned_ptr_or_err(self.py, pointer) }.map_err(raised)
    }

    #[cold]
    fn expected<T>(&self, expected: &str, value: Object<'_>) -> Outcome<T> {
        let name = class_name(&self.bound(value));
        unfit(format!("expected {expected}, got {name}"))
    }

    #[cold]
    fn wide(&self, value: Object<'_>) -> Outcome<Integer> {
        let value = self.bound(value);
        Ok(match (value.extract::<i128>(), value.extract::<u128>()) {
            (Ok(value), _) => Integer::Signed(value),
            (_, Ok(value)) => Integer::Unsigned(value),
            _ => Integer::Huge,
        })
    }

    #[cold]
    fn index(&mut self, value: Object<'_>) -> Outcome<Integer> {
        // SAFETY: the object is alive; PyNumber_Index returns a new reference or null.
        let index = unsafe {
            if ffi::PyBool_Check(value.as_ptr()) != 0 || ffi::PyIndex_Check(value.as_ptr()) == 0 {
                return self.expected("int", value);
            }
            self.owned(ffi::PyNumber_Index(value.as_ptr()))?
        };
        self.integer(Object::new(&index))
    }

    #[cold]
    fn whole_float(&self, value: Object<'_>) -> Outcome<f64> {
        // SAFETY: the object is alive, and only an int reaches PyLong_AsDouble.
        unsafe {
            let object = value.as_ptr();
            if ffi::PyLong_Check(object) == 0 || ffi::PyBool_Check(object) != 0 {
                return self.expected("float", value);
            }
            let number = ffi::PyLong_AsDouble(object);
            if number == -1.0 && !ffi::PyErr_Occurred().is_null() {
                ffi::PyErr_Clear();
                return unfit("an int that is too large for a float".to_owned());
            }
            Ok(number)
        }
    }

    /// The parts of a tuple, which live as long as it does.
    #[inline]
    fn parts<'a, F>(&mut self, value: Object<'a>, mut each: F) -> Outcome<()>
    where
        F: FnMut(&mut Self, usize, Object<'a>) -> Outcome<()>,
    {
        // SAFETY: callers checked that it is a tuple. It is alive for 'a, and so are its items: a
        // tuple that Python code can see does not change. Items are null only in tuples that
        // nobody else sees yet.
        unsafe {
            let count = ffi::PyTuple_GET_SIZE(value.as_ptr());
            for index in 0..count {
                let item = ffi::PyTuple_GET_ITEM(value.as_ptr(), index);
                each(self, index as usize, Object::from_ptr(item))?;
            }
        }
        Ok(())
    }

    fn attributes<F>(&mut self, value: Object<'_>, record: &Record, mut each: F) -> Outcome<()>
    where
        F: FnMut(&mut Self, usize, Object<'_>) -> Outcome<()>,
    {
        for (index, field) in record.fields.iter().enumerate() {
            let held = match field.slot {
                // SAFETY: the object is of the class (or a subclass) whose slot this is, so that
                // an object or null is at the offset; the reference is counted before it is used.
                Some(offset) => unsafe {
                    let place = value.as_ptr().byte_offset(offset).cast::<*mut ffi::PyObject>();
                    match Bound::from_borrowed_ptr_or_opt(self.py, *place) {
                        Some(held) => held,
                        None => return unfit(format!("attribute {} is not set", field.name)),
                    }
                },
                None => {
                    // SAFETY: both objects are alive; the result is a new reference or null.
                    let read =
                        unsafe { ffi::PyObject_GetAttr(value.as_ptr(), field.name.as_ptr()) };
                    self.owned(read)?
                }
            };
            each(self, index, Object::new(&held))?;
        }
        Ok(())
    }

    fn packed<const N: usize>(&self, value: Object<'_>) -> Outcome<[u8; N]> {
        let read = || -> PyResult<[u8; N]> {
            let packed = self.bound(value).getattr(intern!(self.py, "packed"))?;
            Ok(packed.cast::<PyBytes>()?.as_bytes().try_into()?)
        };
        read().map_err(raised)
    }
}

fn class_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string())
}

impl Source for Reading<'_, '_> {
    type Ref<'a> = Object<'a>;
    type Cause = Cause<EncodeReason>;

    #[inline]
    fn boolean(&mut self, value: Object<'_>) -> Outcome<bool> {
        // SAFETY: compares addresses.
        unsafe {
            if value.as_ptr() == ffi::Py_True() {
                return Ok(true);
            }
            if value.as_ptr() == ffi::Py_False() {
                return Ok(false);
            }
        }
        self.expected("bool", value)
    }

    #[inline]
    fn integer(&mut self, value: Object<'_>) -> Outcome<Integer> {
        // SAFETY: the object is alive, and only an int reaches the conversion, which then cannot
        // raise; overflow is reported apart.
        unsafe {
            let object = value.as_ptr();
            if ffi::PyLong_Check(object) != 0 && ffi::PyBool_Check(object) == 0 {
                let mut overflow = 0;
                let small = ffi::PyLong_AsLongLongAndOverflow(object, &raw mut overflow);
                return if overflow == 0 { Ok(Integer::Small(small)) } else { self.wide(value) };
            }
        }
        self.index(value)
    }

    #[inline]
    fn float(&mut self, value: Object<'_>) -> Outcome<f64> {
        // SAFETY: the object is alive, and a float where it is read as one.
        unsafe {
            if ffi::PyFloat_Check(value.as_ptr()) != 0 {
                return Ok(ffi::PyFloat_AS_DOUBLE(value.as_ptr()));
            }
        }
        self.whole_float(value)
    }

    fn unit(&mut self, value: Object<'_>) -> Outcome<()> {
        if value.is_none() { Ok(()) } else { self.expected("None", value) }
    }

    #[inline]
    fn text<'a>(&mut self, value: Self::Ref<'a>) -> Outcome<&'a str> {
        // SAFETY: the object is alive for 'a and a str, which keeps its UTF-8 form for as long as
        // it lives; Python only ever makes valid UTF-8.
        unsafe {
            let object = value.as_ptr();
            if ffi::PyUnicode_Check(object) == 0 {
                return self.expected("str", value);
            }
            let mut length = 0;
            let bytes = ffi::PyUnicode_AsUTF8AndSize(object, &raw mut length);
            if bytes.is_null() {
                ffi::PyErr_Clear();
                return unfit("a str with a lone surrogate, which UTF-8 does not have".to_owned());
            }
            let bytes = std::slice::from_raw_parts(bytes.cast(), length as usize);
            Ok(std::str::from_utf8_unchecked(bytes))
        }
    }

    #[inline]
    fn data<F>(&mut self, value: Object<'_>, take: F) -> Outcome<()>
    where
        F: FnOnce(&[u8]) -> Result<(), EncodeReason>,
    {
        let object = value.as_ptr();
        // SAFETY: the object is alive; bytes do not change, and an exported buffer stays in place
        // until it is released. `take` copies and runs no Python code.
        let taken = unsafe {
            if ffi::PyBytes_Check(object) != 0 {
                let start = ffi::PyBytes_AS_STRING(object).cast::<u8>();
                let length = ffi::PyBytes_Size(object) as usize;
                take(std::slice::from_raw_parts(start, length))
            } else if ffi::PyByteArray_Check(object) != 0 || ffi::PyMemoryView_Check(object) != 0 {
                let mut view = ffi::Py_buffer::new();
                if ffi::PyObject_GetBuffer(object, &raw mut view, ffi::PyBUF_SIMPLE) != 0 {
                    return Err(raised(PyErr::fetch(self.py)));
                }
                let bytes = if view.len == 0 {
                    &[][..]
                } else {
                    std::slice::from_raw_parts(view.buf.cast::<u8>(), view.len as usize)
                };
                let taken = take(bytes);
                ffi::PyBuffer_Release(&raw mut view);
                taken
            } else {
                return self.expected("bytes", value);
            }
        };
        taken.map_err(|reason| Failure::new(Cause::Rule(reason)))
    }

    fn time(&mut self, value: Object<'_>) -> Outcome<u64> {
        let bound = self.bound(value);
        let Ok(moment) = bound.cast::<PyDateTime>() else {
            return self.expected("datetime", value);
        };
        if moment.get_tzinfo().is_none() {
            return unfit(
                "a naive datetime could mean any time zone; make it aware, for example with \
                 datetime.now(timezone.utc) or .replace(tzinfo=timezone.utc)"
                    .to_owned(),
            );
        }
        let milliseconds = time::to_milliseconds(&moment).map_err(raised)?;
        u64::try_from(milliseconds).or_else(|_| unfit("a time before 1970".to_owned()))
    }

    fn ipv4(&mut self, value: Object<'_>) -> Outcome<Ipv4Addr> {
        if !value.is_a(ipv4_class(self.py).map_err(raised)?.as_type_ptr()) {
            return self.expected("IPv4Address", value);
        }
        self.packed::<4>(value).map(Ipv4Addr::from)
    }

    fn ipv6(&mut self, value: Object<'_>) -> Outcome<Ipv6Addr> {
        if !value.is_a(ipv6_class(self.py).map_err(raised)?.as_type_ptr()) {
            return self.expected("IPv6Address", value);
        }
        let scope = self.bound(value).getattr(intern!(self.py, "scope_id")).map_err(raised)?;
        if !scope.is_none() {
            return unfit("an IPv6 address with a scope, which means nothing elsewhere".to_owned());
        }
        self.packed::<16>(value).map(Ipv6Addr::from)
    }

    fn ip(&mut self, value: Object<'_>) -> Outcome<IpAddr> {
        if value.is_a(ipv4_class(self.py).map_err(raised)?.as_type_ptr()) {
            return self.packed::<4>(value).map(IpAddr::from);
        }
        if value.is_a(ipv6_class(self.py).map_err(raised)?.as_type_ptr()) {
            return self.ipv6(value).map(IpAddr::V6);
        }
        self.expected("IPv4Address or IPv6Address", value)
    }

    fn socket_address(&mut self, value: Object<'_>) -> Outcome<SocketAddr> {
        let class = self.shapes.socket_address().map_err(raised)?;
        let bound = self.bound(value);
        let parts = bound.cast::<PyTuple>().ok().filter(|parts| parts.len() == 2);
        let (true, Some(parts)) = (value.is_a(class.bind(self.py).as_type_ptr()), parts) else {
            return self.expected("SocketAddress", value);
        };
        let (ip, port) = (parts.get_item(0).map_err(raised)?, parts.get_item(1).map_err(raised)?);
        let ip = self.ip(Object::new(&ip))?;
        match self.integer(Object::new(&port))? {
            Integer::Small(number) if (0..=65_535).contains(&number) => {
                let port = u16::try_from(number).unwrap_or_default();
                Ok(SocketAddr::new(ip, port))
            }
            other => unfit(format!("{other} is no port")),
        }
    }

    fn member(&mut self, value: Object<'_>, shape: Shape) -> Outcome<u8> {
        let (class, members) = self.shapes.members(shape).map_err(raised)?;
        // Members are single objects, so who is equal is identical.
        let found = members.iter().position(|member| member.as_ptr() == value.as_ptr());
        match found.map(u8::try_from) {
            Some(Ok(index)) => Ok(index),
            _ => {
                let name = class_name(class.bind(self.py));
                let name = class.bind(self.py).name().map_or(name, |name| name.to_string());
                self.expected(&format!("a member of {name}"), value)
            }
        }
    }

    fn list<F>(&mut self, value: Object<'_>, shape: Shape, mut each: F) -> Outcome<()>
    where
        F: FnMut(&mut Self, Object<'_>) -> Outcome<()>,
    {
        let object = value.as_ptr();
        // SAFETY: the object is alive, and the tuple or list that each branch checks. A list is
        // measured again before every item, and the item is held while it is encoded.
        unsafe {
            if shape != COMMON {
                if ffi::PyTuple_Check(object) == 0 {
                    return self.expected("tuple", value);
                }
                return self.parts(value, |reading, _, item| each(reading, item));
            }
            if ffi::PyList_Check(object) == 0 {
                return self.expected("list", value);
            }
            let mut index = 0;
            while index < ffi::PyList_GET_SIZE(object) {
                let item = ffi::PyList_GET_ITEM(object, index);
                let held = Bound::from_borrowed_ptr(self.py, item);
                each(self, Object::new(&held))?;
                index += 1;
            }
        }
        Ok(())
    }

    fn tuple<F>(&mut self, value: Object<'_>, mut each: F) -> Outcome<()>
    where
        F: FnMut(&mut Self, Object<'_>) -> Outcome<()>,
    {
        // SAFETY: the object is alive.
        if unsafe { ffi::PyTuple_Check(value.as_ptr()) } == 0 {
            return self.expected("tuple", value);
        }
        self.parts(value, |reading, _, item| each(reading, item))
    }

    fn set<F>(&mut self, value: Object<'_>, shape: Shape, mut each: F) -> Outcome<()>
    where
        F: FnMut(&mut Self, Object<'_>) -> Outcome<()>,
    {
        // SAFETY: the object is alive.
        let (mutable, frozen) = unsafe {
            (ffi::PySet_Check(value.as_ptr()) != 0, ffi::PyFrozenSet_Check(value.as_ptr()) != 0)
        };
        if shape == COMMON && !mutable {
            return self.expected("set", value);
        }
        if shape != COMMON && !frozen {
            return self.expected("frozenset", value);
        }
        for member in self.bound(value).try_iter().map_err(raised)? {
            each(self, Object::new(&member.map_err(raised)?))?;
        }
        Ok(())
    }

    fn map<F>(&mut self, value: Object<'_>, mut each: F) -> Outcome<()>
    where
        F: FnMut(&mut Self, Object<'_>, Object<'_>) -> Outcome<()>,
    {
        let object = value.as_ptr();
        // SAFETY: the object is alive and a dict. PyDict_Next stays inside the dict whatever the
        // position, and key and value are held while they are encoded.
        unsafe {
            if ffi::PyDict_Check(object) == 0 {
                return self.expected("dict", value);
            }
            let size = ffi::PyDict_Size(object);
            let (mut position, mut key, mut item) = (0, ptr::null_mut(), ptr::null_mut());
            while ffi::PyDict_Next(object, &raw mut position, &raw mut key, &raw mut item) != 0 {
                let key = Bound::from_borrowed_ptr(self.py, key);
                let item = Bound::from_borrowed_ptr(self.py, item);
                each(self, Object::new(&key), Object::new(&item))?;
                if ffi::PyDict_Size(object) != size {
                    return unfit("the dict changed its size while it was encoded".to_owned());
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn option<F>(&mut self, value: Object<'_>, shape: Shape, some: F) -> Outcome<bool>
    where
        F: FnOnce(&mut Self, Object<'_>) -> Outcome<()>,
    {
        if value.is_none() {
            return Ok(false);
        }
        if shape == COMMON {
            some(self, value)?;
            return Ok(true);
        }
        let class = self.shapes.some(shape).map_err(raised)?;
        if !value.is_a(class.bind(self.py).as_type_ptr()) {
            return self.expected("Some(...) or None", value);
        }
        let inner = self.bound(value).getattr(intern!(self.py, "value")).map_err(raised)?;
        some(self, Object::new(&inner))?;
        Ok(true)
    }

    fn record<F>(&mut self, value: Object<'_>, shape: Shape, count: usize, each: F) -> Outcome<()>
    where
        F: FnMut(&mut Self, usize, Object<'_>) -> Outcome<()>,
    {
        let record = self.shapes.record(shape).map_err(raised)?;
        let class = record.class.bind(self.py);
        if !value.is_a(class.as_type_ptr()) {
            let name = class.name().map_err(raised)?;
            return self.expected(&name.to_string(), value);
        }
        if !record.is_tuple {
            return self.attributes(value, record, each);
        }
        // SAFETY: the object is alive, and of a class derived from tuple.
        let found = unsafe { ffi::PyTuple_GET_SIZE(value.as_ptr()) } as usize;
        if found != count {
            let reason = EncodeReason::Arity { wanted: count, found };
            return Err(Failure::new(Cause::Rule(reason)));
        }
        self.parts(value, each)
    }

    fn variant<F>(&mut self, value: Object<'_>, shape: Shape, with: F) -> Outcome<()>
    where
        F: FnOnce(&mut Self, u8, Object<'_>) -> Outcome<()>,
    {
        let classes = self.shapes.union(shape).map_err(raised)?;
        let own = value.class();
        let is = |class: &&Py<pyo3::types::PyType>| class.as_ptr() == own.cast();
        let exact = classes.iter().position(|class| is(&class));
        let found = exact.or_else(|| {
            classes.iter().position(|class| value.is_a(class.bind(self.py).as_type_ptr()))
        });
        match found.map(u8::try_from) {
            Some(Ok(index)) => with(self, index, value),
            _ => {
                let names: Vec<_> = classes
                    .iter()
                    .filter_map(|class| class.bind(self.py).name().ok())
                    .map(|name| name.to_string())
                    .collect();
                self.expected(&names.join(" or "), value)
            }
        }
    }

    #[cold]
    fn describe(&mut self, key: Object<'_>) -> String {
        describe(&self.bound(key))
    }
}
