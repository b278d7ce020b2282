//! Every rule by which a message is malformed, as tables.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::http3::code::Code;

type Pairs<'a> = &'a [(&'a str, &'a str)];

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/")];

fn fields(pairs: Pairs<'_>) -> Fields {
    pairs.iter().copied().collect()
}

fn request(pairs: Pairs<'_>) -> Checked<RequestHead> {
    RequestHead::new(fields(pairs), true)
}

/// GET with one of its pseudo-header fields changed, or without it.
fn get_but(name: &str, value: Option<&str>) -> Checked<RequestHead> {
    let changed = GET.iter().filter_map(|(other, old)| match (*other == name, value) {
        (false, _) => Some((*other, *old)),
        (true, value) => value.map(|value| (*other, value)),
    });
    RequestHead::new(changed.collect(), true)
}

/// GET with some fields behind it.
fn get_with(pairs: Pairs<'_>) -> Checked<RequestHead> {
    RequestHead::new(GET.iter().chain(pairs).copied().collect(), true)
}

#[track_caller]
fn is_malformed<T: fmt::Debug>(checked: Checked<T>, what: &str) {
    assert_eq!(checked.map(drop).map_err(|e| e.code), Err(Code::MESSAGE_ERROR), "{what}");
}

#[test]
fn a_request_is_what_it_says() {
    let head = get_with(&[("accept", "*/*"), ("content-length", "7"), ("te", "trailers")]).unwrap();
    assert_eq!(head.method(), b"GET");
    assert_eq!(head.scheme(), Some(&b"https"[..]));
    assert_eq!(head.authority(), Some(&b"a.example"[..]));
    assert_eq!(head.path(), Some(&b"/"[..]));
    assert_eq!((head.protocol(), head.is_connect()), (None, false));
    assert_eq!(head.content_length(), Some(7));
    assert_eq!(head.fields().next(), Some((&b"accept"[..], &b"*/*"[..])));
    assert_eq!(head.fields().len(), 3);
    // RFC 9114, section 4.3.1: host instead of :authority, and in any order.
    let head =
        request(&[(":path", "*"), (":method", "OPTIONS"), (":scheme", "http"), ("host", "a")]);
    assert_eq!(head.unwrap().authority(), Some(&b"a"[..]));
    assert!(get_with(&[("host", "A.Example")]).is_ok(), "hosts have no case");
    // Section 4.3.1: other schemes need neither authority nor path.
    assert!(request(&[(":method", "GET"), (":scheme", "urn"), (":path", "")]).is_ok());
}

#[test]
fn cookies_leave_http3_as_one() {
    // RFC 9114, section 4.2.1.
    let head = get_with(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]).unwrap();
    let all: Vec<_> = head.fields().collect();
    assert_eq!(all, [(&b"cookie"[..], &b"a=1; b=2"[..]), (b"x", b"y")]);
    assert_eq!(head.path(), Some(&b"/"[..]), "control data is where it was");
}

#[test]
fn rules_of_pseudo_header_fields_of_requests() {
    for name in [":method", ":scheme", ":path", ":authority"] {
        is_malformed(get_but(name, None), "section 4.3.1: mandatory");
        let twice: Vec<_> = GET.iter().copied().chain([(name, "GET")]).collect();
        is_malformed(request(&twice), "section 4.3.1: exactly one");
        is_malformed(get_but(name, Some("")), "section 4.3.1: not empty");
        is_malformed(get_but(name, Some("a b")), "section 4.3.1: invalid");
        is_malformed(get_but(name, Some("/a\r\nx: y")), "section 10.3: no line ends");
    }
    for (name, what) in [
        (":status", "section 4.3: defined for responses"),
        (":unknown", "section 4.3: undefined"),
        (":", "section 4.3: undefined"),
        (":Path", "section 4.3: undefined"),
    ] {
        let first: Vec<_> = [(name, "200")].into_iter().chain(GET).collect();
        is_malformed(request(&first), what);
    }
    let (last, front) = GET.split_last().unwrap();
    let behind: Vec<_> = front.iter().chain(&[("accept", "*/*"), *last]).copied().collect();
    is_malformed(request(&behind), "section 4.3: before regular fields");
    is_malformed(get_with(&[("a", "b"), (":path", "/x")]), "section 4.3: before regular fields");
    for path in ["a", "*", "/a#b", "https://a.example/"] {
        is_malformed(get_but(":path", Some(path)), "section 4.3.1: a path-absolute");
    }
    is_malformed(get_but(":authority", Some("u@a.example")), "section 4.3.1: no userinfo");
    is_malformed(get_but(":method", Some("G:T")), "RFC 9110, section 9.1: a token");
}

#[test]
fn rules_of_host() {
    let without: Vec<_> = GET.iter().copied().filter(|f| f.0 != ":authority").collect();
    let with =
        |host| RequestHead::new(without.iter().copied().chain([("host", host)]).collect(), true);
    assert!(with("a").is_ok());
    is_malformed(with(""), "section 4.3.1: not empty");
    is_malformed(with("u@a"), "section 4.3.1: no userinfo");
    is_malformed(get_with(&[("host", "b.example")]), "section 4.3.1: the same value");
    is_malformed(get_with(&[("host", "")]), "section 4.3.1: the same value");
    is_malformed(
        get_with(&[("host", "a.example"), ("host", "a.example")]),
        "RFC 9110, section 7.2: one",
    );
}

#[test]
fn rules_of_connect() {
    const CONNECT: [(&str, &str); 2] = [(":method", "CONNECT"), (":authority", "a.example:443")];
    let head = request(&CONNECT).unwrap();
    assert!(head.is_connect() && head.path().is_none() && head.scheme().is_none());
    for extra in [(":scheme", "https"), (":path", "/")] {
        let with: Vec<_> = CONNECT.iter().copied().chain([extra]).collect();
        is_malformed(request(&with), "section 4.4: omitted");
    }
    for authority in ["a.example", "", ":443", "a.example:x"] {
        let other = [(":method", "CONNECT"), (":authority", authority)];
        is_malformed(request(&other), "section 4.4: a host and a port");
    }
    is_malformed(request(&[(":method", "CONNECT"), ("host", "a:1")]), "section 4.4: :authority");
}

#[test]
fn rules_of_extended_connect() {
    let extended: Vec<_> = [(":protocol", "websocket"), (":method", "CONNECT")]
        .iter()
        .chain(&GET[1..])
        .copied()
        .collect();
    let head = request(&extended).unwrap();
    assert_eq!(head.protocol(), Some(&b"websocket"[..]));
    assert_eq!(head.path(), Some(&b"/"[..]));
    for name in [":scheme", ":path", ":authority"] {
        let less: Vec<_> = extended.iter().copied().filter(|f| f.0 != name).collect();
        is_malformed(request(&less), "RFC 8441, section 4: included");
    }
    let host: Vec<_> = extended
        .iter()
        .copied()
        .filter(|f| f.0 != ":authority")
        .chain([("host", "a.example")])
        .collect();
    is_malformed(request(&host), "RFC 8441, section 4: :authority, not host");
    for value in ["", "web socket", "a/", "websocket\r\n"] {
        let other: Vec<_> =
            extended.iter().map(|f| if f.0 == ":protocol" { (f.0, value) } else { *f }).collect();
        is_malformed(request(&other), "RFC 8441, section 4: a token");
    }
    let get: Vec<_> = [(":protocol", "websocket")].into_iter().chain(GET).collect();
    is_malformed(request(&get), "RFC 8441, section 4: only in CONNECT");
    is_malformed(
        RequestHead::new(fields(&extended), false),
        "RFC 9220, section 3: undefined unless announced",
    );
}

/// Field sections that no message may have, wherever they are.
const FORBIDDEN: [(Pairs<'static>, &str); 17] = [
    (&[("Accept", "x")], "section 4.2: uppercase"),
    (&[("accepT", "x")], "section 4.2: uppercase"),
    (&[("", "x")], "section 10.3: names"),
    (&[("a b", "x")], "section 10.3: names"),
    (&[("a:b", "x")], "section 10.3: names"),
    (&[("\u{e9}", "x")], "section 10.3: names"),
    (&[("a", "x\0")], "section 10.3: values"),
    (&[("a", "x\ry")], "section 10.3: values"),
    (&[("a", "x\ny")], "section 10.3: values"),
    (&[("a", "x\x7f")], "section 10.3: values"),
    (&[("a", " x")], "section 10.3: field-content"),
    (&[("a", "x\t")], "section 10.3: field-content"),
    (&[("connection", "close")], "section 4.2: of the connection"),
    (&[("keep-alive", "1")], "section 4.2: of the connection"),
    (&[("proxy-connection", "close")], "section 4.2: of the connection"),
    (&[("transfer-encoding", "chunked")], "section 4.1: transfer codings"),
    (&[("upgrade", "websocket")], "section 4.2: of the connection"),
];

const LENGTHS: [Pairs<'static>; 6] = [
    &[("content-length", "")],
    &[("content-length", "+1")],
    &[("content-length", "1, 1")],
    &[("content-length", "99999999999999999999")],
    &[("content-length", "1"), ("content-length", "1")],
    &[("content-length", "1"), ("content-length", "2")],
];

fn response(pairs: Pairs<'_>) -> Checked<ResponseHead> {
    ResponseHead::new([(":status", "200")].iter().chain(pairs).copied().collect())
}

#[test]
fn rules_of_fields_hold_everywhere() {
    for (pairs, what) in FORBIDDEN {
        is_malformed(get_with(pairs), what);
        is_malformed(response(pairs), what);
        is_malformed(trailers(fields(pairs)), what);
    }
    for pairs in LENGTHS {
        is_malformed(get_with(pairs), "RFC 9110, section 8.6");
        is_malformed(response(pairs), "RFC 9110, section 8.6");
    }
    for te in ["gzip", "", "trailers, gzip", "trailers;q=0.5"] {
        is_malformed(get_with(&[("te", te)]), "section 4.2: trailers only");
    }
    is_malformed(get_with(&[("te", "trailers"), ("te", "trailers")]), "section 4.2");
    is_malformed(response(&[("te", "trailers")]), "section 4.2: in a request only");
    is_malformed(trailers(fields(&[("te", "trailers")])), "section 4.2: in a request header only");
}

#[test]
fn rules_of_responses() {
    let head =
        response(&[("content-length", "3"), ("set-cookie", "a"), ("set-cookie", "b")]).unwrap();
    assert_eq!((head.status(), head.content_length(), head.fields().len()), (200, Some(3), 3));
    assert!(!head.is_interim());
    assert!(ResponseHead::new(fields(&[(":status", "103")])).unwrap().is_interim());
    assert_eq!(ResponseHead::new(fields(&[(":status", "999")])).unwrap().status(), 999);
    for (status, what) in [
        ("", "section 4.3.2: invalid"),
        ("20", "section 4.3.2: invalid"),
        ("2000", "section 4.3.2: invalid"),
        ("099", "section 4.3.2: invalid"),
        ("+20", "section 4.3.2: invalid"),
        ("2 0", "section 4.3.2: invalid"),
        ("101", "section 4.5: not in HTTP/3"),
    ] {
        is_malformed(ResponseHead::new(fields(&[(":status", status)])), what);
    }
    for (pairs, what) in [
        (&[][..], "section 4.3.2: mandatory"),
        (&[("a", "b")], "section 4.3.2: mandatory"),
        (&[("a", "b"), (":status", "200")], "section 4.3: before regular fields"),
        (&[(":status", "200"), (":status", "200")], "section 4.3.2: single"),
        (&[(":status", "200"), (":path", "/")], "section 4.3: defined for requests"),
        (&[(":path", "/"), (":status", "200")], "section 4.3: defined for requests"),
    ] {
        is_malformed(ResponseHead::new(fields(pairs)), what);
    }
}

#[test]
fn rules_of_trailers() {
    assert_eq!(trailers(fields(&[("a", "b")])), Ok(fields(&[("a", "b")])));
    assert_eq!(trailers(Fields::default()), Ok(Fields::default()));
    for name in [":status", ":path", ":unknown"] {
        is_malformed(trailers(fields(&[(name, "200")])), "section 4.3: not in trailers");
    }
}
