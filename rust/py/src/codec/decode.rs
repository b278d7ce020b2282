//! Makes Python objects for the decoder.
//!
//! Lists and tuples are filled in place and hidden from the garbage collector until they are
//! full: a `__post_init__` that runs meanwhile must not find one with empty places.
use std::net::{IpAddr, SocketAddr};
use std::ptr;

use jetstream_proto::wire::{Build, DecodeReason, Failure, Shape};
use pyo3::prelude::*;
use pyo3::{ffi, intern};

use super::objects::{COMMON, Making as How, Shapes, describe, ipv4_class, ipv6_class};
use super::{Cause, time};

type Outcome<T> = Result<T, Failure<Cause<DecodeReason>>>;

/// Makes objects whose classes are the shapes'.
pub(super) struct Making<'s, 'py> {
    pub(super) py: Python<'py>,
    pub(super) shapes: &'s Shapes,
}

fn raised(error: PyErr) -> Failure<Cause<DecodeReason>> {
    Failure::new(Cause::Raised(error))
}

impl<'py> Making<'_, 'py> {
    /// Takes over a new reference, or the exception that came instead of it.
    #[inline]
    fn owned(&self, pointer: *mut ffi::PyObject) -> Outcome<Bound<'py, PyAny>> {
        if pointer.is_null() {
            return Err(self.fetched());
        }
        // SAFETY: the callers pass what the C API returned as a new reference or null.
        Ok(unsafe { Bound::from_owned_ptr(self.py, pointer) })
    }

    /// Takes a reference of our own to an object that lives anyway.
    #[inline]
    fn borrowed(&self, pointer: *mut ffi::PyObject) -> Bound<'py, PyAny> {
        // SAFETY: the callers pass a singleton of the interpreter.
        unsafe { Bound::from_borrowed_ptr(self.py, pointer) }
    }

    #[cold]
    fn fetched(&self) -> Failure<Cause<DecodeReason>> {
        raised(PyErr::fetch(self.py))
    }

    /// An empty place for `count` items.
    #[inline]
    fn places(&self, count: usize) -> Outcome<Bound<'py, PyAny>> {
        // SAFETY: the count fits, and the new tuple is nobody else's yet. The empty tuple is one
        // object for everybody and not tracked.
        unsafe {
            let tuple = self.owned(ffi::PyTuple_New(count as ffi::Py_ssize_t))?;
            if count > 0 {
                ffi::PyObject_GC_UnTrack(tuple.as_ptr().cast());
            }
            Ok(tuple)
        }
    }

    fn call<'a>(&self, error: PyResult<Bound<'a, PyAny>>) -> Outcome<Bound<'a, PyAny>> {
        error.map_err(raised)
    }
}

/// Shows a full list or tuple to the garbage collector.
///
/// # Safety
///
/// It was hidden by `PyObject_GC_UnTrack`, and every place in it is filled.
#[inline]
unsafe fn reveal(full: &Bound<'_, PyAny>) {
    // SAFETY: as above.
    unsafe { ffi::PyObject_GC_Track(full.as_ptr().cast()) }
}

impl<'py> Build for Making<'_, 'py> {
    type Out = Bound<'py, PyAny>;
    type Part = Bound<'py, PyAny>;
    type Cause = Cause<DecodeReason>;

    #[inline]
    fn boolean(&mut self, value: bool) -> Outcome<Self::Out> {
        // SAFETY: the singletons live as long as the interpreter.
        Ok(self.borrowed(unsafe { if value { ffi::Py_True() } else { ffi::Py_False() } }))
    }

    #[inline]
    fn unsigned(&mut self, value: u64) -> Outcome<Self::Out> {
        // SAFETY: returns a new reference or null.
        self.owned(unsafe { ffi::PyLong_FromUnsignedLongLong(value) })
    }

    #[inline]
    fn signed(&mut self, value: i64) -> Outcome<Self::Out> {
        // SAFETY: returns a new reference or null.
        self.owned(unsafe { ffi::PyLong_FromLongLong(value) })
    }

    fn unsigned_wide(&mut self, value: u128) -> Outcome<Self::Out> {
        value.into_pyobject(self.py).map(Bound::into_any).map_err(|never| match never {})
    }

    fn signed_wide(&mut self, value: i128) -> Outcome<Self::Out> {
        value.into_pyobject(self.py).map(Bound::into_any).map_err(|never| match never {})
    }

    #[inline]
    fn float(&mut self, value: f64) -> Outcome<Self::Out> {
        // SAFETY: returns a new reference or null.
        self.owned(unsafe { ffi::PyFloat_FromDouble(value) })
    }

    #[inline]
    fn unit(&mut self) -> Outcome<Self::Out> {
        self.none()
    }

    #[inline]
    fn ascii(&mut self, value: &[u8]) -> Outcome<Self::Out> {
        let length = value.len() as ffi::Py_ssize_t;
        // SAFETY: the bytes are ASCII, as the decoder promises, and a new str for characters up to
        // 127 has room for one byte each. Short strings come from the interpreter's cache.
        unsafe {
            if length < 2 {
                return self.owned(ffi::PyUnicode_FromStringAndSize(value.as_ptr().cast(), length));
            }
            let text = self.owned(ffi::PyUnicode_New(length, 127))?;
            let place = ffi::PyUnicode_DATA(text.as_ptr()).cast::<u8>();
            ptr::copy_nonoverlapping(value.as_ptr(), place, value.len());
            Ok(text)
        }
    }

    fn text(&mut self, value: &str) -> Outcome<Self::Out> {
        let (start, length) = (value.as_ptr().cast(), value.len() as ffi::Py_ssize_t);
        // SAFETY: start and length are those of the str.
        self.owned(unsafe { ffi::PyUnicode_DecodeUTF8(start, length, ptr::null()) })
    }

    #[inline]
    fn data(&mut self, value: &[u8]) -> Outcome<Self::Out> {
        let (start, length) = (value.as_ptr().cast(), value.len() as ffi::Py_ssize_t);
        // SAFETY: start and length are those of the slice.
        self.owned(unsafe { ffi::PyBytes_FromStringAndSize(start, length) })
    }

    fn time(&mut self, milliseconds: u64) -> Outcome<Self::Out> {
        match time::from_milliseconds(self.py, milliseconds).map_err(raised)? {
            Some(moment) => Ok(moment.into_any()),
            None => Err(Failure::new(DecodeReason::Time { milliseconds }.into())),
        }
    }

    fn ip(&mut self, value: IpAddr) -> Outcome<Self::Out> {
        let made = match value {
            IpAddr::V4(ip) => ipv4_class(self.py).and_then(|class| class.call1((ip.to_bits(),))),
            IpAddr::V6(ip) => ipv6_class(self.py).and_then(|class| class.call1((ip.to_bits(),))),
        };
        self.call(made)
    }

    fn socket_address(&mut self, value: SocketAddr) -> Outcome<Self::Out> {
        let ip = self.ip(value.ip())?;
        let class = self.shapes.socket_address().map_err(raised)?;
        self.call(class.bind(self.py).call1((ip, value.port())))
    }

    #[inline]
    fn none(&mut self) -> Outcome<Self::Out> {
        // SAFETY: None lives as long as the interpreter.
        Ok(self.borrowed(unsafe { ffi::Py_None() }))
    }

    #[inline]
    fn some(&mut self, shape: Shape, value: Self::Out) -> Outcome<Self::Out> {
        if shape == COMMON {
            return Ok(value);
        }
        let class = self.shapes.some(shape).map_err(raised)?;
        self.call(class.bind(self.py).call1((value,)))
    }

    #[inline]
    fn variant(&mut self, _: Shape, _: u8, value: Self::Out) -> Outcome<Self::Out> {
        // The class of the object says which variant it is.
        Ok(value)
    }

    fn member(&mut self, shape: Shape, index: u8) -> Outcome<Self::Out> {
        let (_, members) = self.shapes.members(shape).map_err(raised)?;
        match members.get(usize::from(index)) {
            Some(member) => Ok(member.bind(self.py).clone()),
            None => {
                let variants = members.len();
                Err(Failure::new(DecodeReason::Variant { found: index, variants }.into()))
            }
        }
    }

    #[inline]
    fn list(&mut self, shape: Shape, count: usize) -> Outcome<Self::Part> {
        if shape != COMMON {
            return self.places(count);
        }
        // SAFETY: the count fits, and the new list is nobody else's yet.
        unsafe {
            let list = self.owned(ffi::PyList_New(count as ffi::Py_ssize_t))?;
            ffi::PyObject_GC_UnTrack(list.as_ptr().cast());
            Ok(list)
        }
    }

    #[inline]
    fn finish_list(&mut self, shape: Shape, part: Self::Part) -> Outcome<Self::Out> {
        if shape != COMMON {
            return self.finish_tuple(part);
        }
        // SAFETY: hidden when it was made, and full now.
        unsafe { reveal(&part) };
        Ok(part)
    }

    #[inline]
    fn tuple(&mut self, count: usize) -> Outcome<Self::Part> {
        self.places(count)
    }

    #[inline]
    fn finish_tuple(&mut self, part: Self::Part) -> Outcome<Self::Out> {
        // SAFETY: hidden when it was made, unless it is the empty tuple, and full now.
        unsafe {
            if ffi::PyTuple_GET_SIZE(part.as_ptr()) > 0 {
                reveal(&part);
            }
        }
        Ok(part)
    }

    #[inline]
    fn item(&mut self, part: &mut Self::Part, index: usize, item: Self::Out) -> Outcome<()> {
        // SAFETY: the list or tuple is ours alone, and the decoder fills each place within the
        // count it asked for once. The reference moves into it.
        unsafe {
            let place = index as ffi::Py_ssize_t;
            if ffi::PyList_Check(part.as_ptr()) != 0 {
                ffi::PyList_SET_ITEM(part.as_ptr(), place, item.into_ptr());
            } else {
                ffi::PyTuple_SET_ITEM(part.as_ptr(), place, item.into_ptr());
            }
        }
        Ok(())
    }

    fn set(&mut self, shape: Shape, _: usize) -> Outcome<Self::Part> {
        // SAFETY: null means an empty one.
        self.owned(unsafe {
            if shape == COMMON {
                ffi::PySet_New(ptr::null_mut())
            } else {
                ffi::PyFrozenSet_New(ptr::null_mut())
            }
        })
    }

    fn insert(&mut self, part: &mut Self::Part, item: Self::Out) -> Outcome<()> {
        // SAFETY: both are alive; a frozenset may be added to while nobody else has it.
        match unsafe { ffi::PySet_Add(part.as_ptr(), item.as_ptr()) } {
            0 => Ok(()),
            _ => Err(self.fetched()),
        }
    }

    fn finish_set(&mut self, count: usize, part: Self::Part) -> Outcome<Self::Out> {
        // SAFETY: a set or frozenset that is alive.
        complete(unsafe { ffi::PySet_Size(part.as_ptr()) }, count)?;
        Ok(part)
    }

    fn map(&mut self, _: usize) -> Outcome<Self::Part> {
        // SAFETY: returns a new reference or null.
        self.owned(unsafe { ffi::PyDict_New() })
    }

    #[inline]
    fn entry(&mut self, part: &mut Self::Part, key: Self::Out, value: Self::Out) -> Outcome<()> {
        // SAFETY: all three are alive.
        match unsafe { ffi::PyDict_SetItem(part.as_ptr(), key.as_ptr(), value.as_ptr()) } {
            0 => Ok(()),
            _ => Err(self.fetched()),
        }
    }

    fn finish_map(&mut self, count: usize, part: Self::Part) -> Outcome<Self::Out> {
        // SAFETY: a dict that is alive.
        complete(unsafe { ffi::PyDict_Size(part.as_ptr()) }, count)?;
        Ok(part)
    }

    #[inline]
    fn record(&mut self, shape: Shape) -> Outcome<Self::Part> {
        let record = self.shapes.record(shape).map_err(raised)?;
        let count = record.fields.len();
        let class = record.class.as_ptr().cast::<ffi::PyTypeObject>();
        match record.making {
            How::Call => self.places(count),
            // SAFETY: the class is ready, and its tp_new is object's, as was checked when the
            // record was made; it takes no arguments.
            How::New => unsafe {
                let Some(make) = (*class).tp_new else {
                    return self.places(0);
                };
                self.owned(make(class, record.nothing.as_ptr(), ptr::null_mut()))
            },
            // SAFETY: the class derives from tuple directly, so that its objects are a tuple of
            // this many places (and perhaps a dict); all are null until filled.
            How::Tuple => unsafe {
                let Some(allocate) = (*class).tp_alloc else {
                    return self.places(0);
                };
                let tuple = self.owned(allocate(class, count as ffi::Py_ssize_t))?;
                ffi::PyObject_GC_UnTrack(tuple.as_ptr().cast());
                Ok(tuple)
            },
        }
    }

    #[inline]
    fn field(
        &mut self,
        shape: Shape,
        part: &mut Self::Part,
        index: usize,
        value: Self::Out,
    ) -> Outcome<()> {
        let record = self.shapes.record(shape).map_err(raised)?;
        if record.making != How::New {
            // SAFETY: a tuple of as many places as there are fields, ours alone. The reference
            // moves into it.
            unsafe {
                let place = index as ffi::Py_ssize_t;
                ffi::PyTuple_SET_ITEM(part.as_ptr(), place, value.into_ptr());
            }
            return Ok(());
        }
        let Some(field) = record.fields.get(index) else {
            return Ok(());
        };
        match field.slot {
            // SAFETY: the object is of the class whose slot this is, so that an object or null is
            // at the offset. What was there is released last, when the slot holds the new value.
            Some(offset) => unsafe {
                let place = part.as_ptr().byte_offset(offset).cast::<*mut ffi::PyObject>();
                let before = ptr::replace(place, value.into_ptr());
                ffi::Py_XDECREF(before);
                Ok(())
            },
            // SAFETY: all three are alive.
            None => match unsafe {
                ffi::PyObject_GenericSetAttr(part.as_ptr(), field.name.as_ptr(), value.as_ptr())
            } {
                0 => Ok(()),
                _ => Err(self.fetched()),
            },
        }
    }

    #[inline]
    fn finish_record(&mut self, shape: Shape, part: Self::Part) -> Outcome<Self::Out> {
        let record = self.shapes.record(shape).map_err(raised)?;
        match record.making {
            How::New if record.post_init => {
                let outcome = part.call_method0(intern!(self.py, "__post_init__"));
                outcome.map(|_| part).map_err(raised)
            }
            How::New => Ok(part),
            How::Tuple => {
                // SAFETY: hidden when it was made, and full now.
                unsafe { reveal(&part) };
                Ok(part)
            }
            // SAFETY: the tuple holds one argument per name, and lives until the call is over. It
            // stays hidden: nobody sees it, and it is gone after the call.
            How::Call => self.owned(unsafe {
                let arguments = (&raw const (*part.as_ptr().cast::<ffi::PyTupleObject>()).ob_item)
                    .cast::<*mut ffi::PyObject>();
                ffi::PyObject_Vectorcall(record.class.as_ptr(), arguments, 0, record.names.as_ptr())
            }),
        }
    }

    #[cold]
    fn describe(&mut self, key: &Self::Out) -> String {
        describe(key)
    }
}

/// Keys that differ on the wire but not in Python (a dataclass may say so) would lose entries.
fn complete(size: ffi::Py_ssize_t, count: usize) -> Outcome<()> {
    if size as usize == count {
        return Ok(());
    }
    let message = "keys that differ on the wire are equal in Python".to_owned();
    Err(Failure::new(Cause::Unfit(message)))
}
