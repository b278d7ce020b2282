//! Field sections as messages: control data and fields, validated (RFC 9114, sections 4.1.2, 4.2 and
//! 4.3). Whatever breaks a rule is malformed; no part of it gets out.

use std::fmt;

use super::code::StreamError;
use super::fields::{Fields, Iter};
use super::syntax;

type Checked<T> = Result<T, StreamError>;

const fn malformed<T>(reason: &'static str) -> Checked<T> {
    Err(StreamError::malformed(reason))
}

/// Where a field is that comes at most once.
type Place = Option<u8>;

/// The head of a request, which is well formed.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestHead {
    section: Fields,
    method: Place,
    scheme: Place,
    authority: Place,
    path: Place,
    protocol: Place,
    /// The first field behind the control data.
    first: u8,
    content_length: Option<u64>,
}

impl RequestHead {
    /// Takes a field section for the head of a request; several cookies become one. `:protocol` is
    /// control data where we have announced it (RFC 9220, section 3).
    ///
    /// # Errors
    /// It is malformed.
    pub fn new(mut section: Fields, extended_connect: bool) -> Checked<Self> {
        let (mut method, mut scheme, mut authority) = (None, None, None);
        let (mut path, mut protocol, mut first) = (None, None, 0);
        for (index, (name, _)) in section.iter().enumerate() {
            if name.first() != Some(&b':') {
                break;
            }
            let place = match name {
                b":method" => &mut method,
                b":scheme" => &mut scheme,
                b":authority" => &mut authority,
                b":path" => &mut path,
                b":protocol" if extended_connect => &mut protocol,
                _ => return malformed("a pseudo-header field that requests have not"),
            };
            // Five names, each at most once: this does not get far.
            let index = index as u8;
            if place.replace(index).is_some() {
                return malformed("a pseudo-header field that comes twice");
            }
            first = index + 1;
        }
        let mut regular = Regular::default();
        for (name, value) in section.from(first.into()) {
            regular.add(name, value)?;
        }
        if regular.te.is_some_and(|te| !te.eq_ignore_ascii_case(b"trailers")) {
            return malformed("te other than trailers");
        }
        let (host, content_length, cookies) =
            (regular.host, regular.content_length, regular.cookies);
        let value =
            |place: Place| place.and_then(|at| section.at(at.into())).map(|(_, value)| value);
        Control {
            method: value(method),
            scheme: value(scheme),
            authority: value(authority),
            path: value(path),
            protocol: value(protocol),
            host,
        }
        .check()?;
        if cookies > 1 {
            section.join_cookies();
        }
        Ok(Self { section, method, scheme, authority, path, protocol, first, content_length })
    }

    fn value(&self, place: Place) -> Option<&[u8]> {
        place.and_then(|at| self.section.at(at.into())).map(|(_, value)| value)
    }

    /// `:method`.
    pub fn method(&self) -> &[u8] {
        self.value(self.method).unwrap_or_default()
    }

    /// `:scheme`; `None` in a CONNECT that is not extended.
    pub fn scheme(&self) -> Option<&[u8]> {
        self.value(self.scheme)
    }

    /// `:authority`, or the `host` field where there is none.
    pub fn authority(&self) -> Option<&[u8]> {
        self.value(self.authority).or_else(|| self.fields().find(|f| f.0 == b"host").map(|f| f.1))
    }

    /// `:path`, with the query; `None` in a CONNECT that is not extended.
    pub fn path(&self) -> Option<&[u8]> {
        self.value(self.path)
    }

    /// `:protocol`, in an extended CONNECT (RFC 8441, section 4).
    pub fn protocol(&self) -> Option<&[u8]> {
        self.value(self.protocol)
    }

    /// The fields, without control data.
    pub fn fields(&self) -> Iter<'_> {
        self.section.from(self.first.into())
    }

    /// Control data and fields.
    pub(crate) fn section(&self) -> &Fields {
        &self.section
    }

    /// `content-length`.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Whether the stream becomes a tunnel: a CONNECT of either kind.
    pub fn is_connect(&self) -> bool {
        self.method() == b"CONNECT"
    }
}

impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestHead").field(&self.section).finish()
    }
}

/// The control data of a request, and the field that says the same as one of them.
struct Control<'a> {
    method: Option<&'a [u8]>,
    scheme: Option<&'a [u8]>,
    authority: Option<&'a [u8]>,
    path: Option<&'a [u8]>,
    protocol: Option<&'a [u8]>,
    host: Option<&'a [u8]>,
}

impl Control<'_> {
    fn check(&self) -> Checked<()> {
        let Some(method) = self.method.filter(|method| syntax::is_token(method)) else {
            return malformed("a request without a valid :method");
        };
        if let (Some(authority), Some(host)) = (self.authority, self.host) {
            if !authority.eq_ignore_ascii_case(host) {
                return malformed("host is not what :authority is");
            }
        }
        match (method == b"CONNECT", self.protocol) {
            (true, None) => return self.check_connect(),
            (true, Some(protocol)) if !syntax::is_protocol(protocol) => {
                return malformed("a :protocol that is none");
            }
            (true, Some(_)) if self.authority.is_none() => {
                return malformed("an extended CONNECT without :authority");
            }
            (false, Some(_)) => return malformed(":protocol without CONNECT"),
            _ => {}
        }
        let Some(scheme) = self.scheme.filter(|scheme| syntax::is_scheme(scheme)) else {
            return malformed("a request without a valid :scheme");
        };
        let is_http = scheme.eq_ignore_ascii_case(b"https") || scheme.eq_ignore_ascii_case(b"http");
        let Some(path) = self.path else {
            return malformed("a request without :path");
        };
        // Other schemes may have paths that are empty.
        if !(syntax::is_path(path, method) || path.is_empty() && !is_http) {
            return malformed("a :path that is none");
        }
        for authority in [self.authority, self.host].into_iter().flatten() {
            if is_http && (authority.is_empty() || !syntax::is_authority(authority)) {
                return malformed("an authority that is none");
            }
        }
        if is_http && self.authority.or(self.host).is_none() {
            return malformed("a request without an authority");
        }
        Ok(())
    }

    /// RFC 9114, section 4.4.
    fn check_connect(&self) -> Checked<()> {
        if self.scheme.is_some() || self.path.is_some() {
            return malformed("CONNECT with :scheme or :path");
        }
        if !self.authority.is_some_and(syntax::is_host_and_port) {
            return malformed("CONNECT without a host and a port");
        }
        Ok(())
    }
}

/// What is told of the fields of a section while they are checked.
#[derive(Default)]
struct Regular<'a> {
    host: Option<&'a [u8]>,
    te: Option<&'a [u8]>,
    content_length: Option<u64>,
    cookies: usize,
}

impl<'a> Regular<'a> {
    #[inline]
    fn add(&mut self, name: &'a [u8], value: &'a [u8]) -> Checked<()> {
        if !syntax::is_name(name) {
            return malformed(match name.first() {
                Some(b':') => "a pseudo-header field behind fields, or where there is none",
                _ => "a field name with a character that it cannot have",
            });
        }
        if !syntax::is_value(value) {
            return malformed("a field value with a character that it cannot have");
        }
        let is_second = match name {
            b"host" => self.host.replace(value).is_some(),
            b"te" => self.te.replace(value).is_some(),
            b"content-length" => {
                let Some(length) = syntax::content_length(value) else {
                    return malformed("a content-length that is no number");
                };
                self.content_length.replace(length).is_some()
            }
            b"cookie" => {
                self.cookies += 1;
                false
            }
            _ if syntax::is_of_connection(name) => {
                return malformed("a field of the connection, which HTTP/3 has not");
            }
            _ => false,
        };
        if is_second {
            return malformed("host, te or content-length for a second time");
        }
        Ok(())
    }
}

/// The head of a response, interim or final, which is well formed.
#[derive(Clone, PartialEq, Eq)]
pub struct ResponseHead {
    section: Fields,
    status: u16,
    content_length: Option<u64>,
}

impl ResponseHead {
    /// Takes a field section for the head of a response.
    ///
    /// # Errors
    /// It is malformed.
    pub fn new(section: Fields) -> Checked<Self> {
        let status = match section.at(0) {
            Some((b":status", value)) => status(value),
            Some(([b':', ..], _)) => {
                return malformed("a pseudo-header field that responses have not");
            }
            _ => None,
        };
        let Some(status) = status else {
            return malformed("a response without a valid :status");
        };
        let mut regular = Regular::default();
        for (name, value) in section.from(1) {
            regular.add(name, value)?;
        }
        if regular.te.is_some() {
            return malformed("te in a response");
        }
        let content_length = regular.content_length;
        Ok(Self { section, status, content_length })
    }

    /// `:status`.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether another head follows: 1xx (RFC 9110, section 15.2).
    pub fn is_interim(&self) -> bool {
        self.status < 200
    }

    /// The fields, without control data.
    pub fn fields(&self) -> Iter<'_> {
        self.section.from(1)
    }

    /// `content-length`.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }
}

impl fmt::Debug for ResponseHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResponseHead").field(&self.section).finish()
    }
}

/// Three digits, from 100 on; not 101, which HTTP/3 does not have (RFC 9114, section 4.5).
fn status(value: &[u8]) -> Option<u16> {
    let [hundreds @ b'1'..=b'9', tens @ b'0'..=b'9', ones @ b'0'..=b'9'] = value else {
        return None;
    };
    let digit = |byte: &u8| u16::from(byte - b'0');
    let status = digit(hundreds) * 100 + digit(tens) * 10 + digit(ones);
    (status != 101).then_some(status)
}

/// Takes a field section for trailers.
///
/// # Errors
/// It is malformed.
pub fn trailers(section: Fields) -> Checked<Fields> {
    let mut regular = Regular::default();
    for (name, value) in &section {
        regular.add(name, value)?;
    }
    if regular.te.is_some() {
        return malformed("te in trailers");
    }
    Ok(section)
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
