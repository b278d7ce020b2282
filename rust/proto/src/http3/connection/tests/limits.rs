//! Floods and bombs: each ends with the right error, and holds next to nothing while it lasts.

use super::*;
use crate::http3::Limits;

fn limited(limits: Limits) -> End {
    End::settled(Role::Server, Config { limits, ..config() })
}

#[test]
fn a_field_section_is_refused_by_its_declared_length() {
    // RFC 9114, section 4.2.2: 431, and nothing more is read.
    for (length, what) in [(65_537, "just over"), (varint::MAX, "endless")] {
        let mut server = End::server();
        let mut bytes = Vec::new();
        frame::header(kind::HEADERS, length, &mut bytes);
        server.open(0, &bytes);
        assert_eq!(server.events(), []);
        let actions = server.actions();
        let [Action::Write(0, head), Action::Finish(0), Action::StopSending(0, Code::NO_ERROR)] =
            &actions[..]
        else {
            panic!("{what}: {actions:?}")
        };
        assert_eq!(head[..], headers(&[(":status", "431")]));
        assert_eq!(server.connection.open_requests(), 0);
        assert_eq!(server.connection.held(), 0);
        server.others_are_unharmed();
    }
    // A peer that takes no fields, not even these, is not kept waiting either.
    let mut server = End::new(Role::Server, config());
    server.open(2, &[vec![0], settings(&[(0x06, 0)])].concat());
    let mut bytes = Vec::new();
    frame::header(kind::HEADERS, 65_537, &mut bytes);
    server.open(0, &bytes);
    assert_eq!(failed(&mut server, 0), Code::EXCESSIVE_LOAD);
    assert_eq!(server.connection.open_requests(), 0);
    // One that is not too large is held as it comes.
    let mut server = End::server();
    server.open(0, &[&[1, 0x80, 0, 0xff, 0][..], &[0; 1000]].concat());
    assert_eq!(server.connection.held(), 1000);
}

#[test]
fn a_field_section_is_refused_by_what_is_in_it() {
    // As many fields as there may be, and one more; as many bytes, and one more.
    let sizes = [(128, 0), (129, 0), (1, 65_536 - 4 * 32 - 33), (1, 65_536)];
    for (index, (count, size)) in sizes.into_iter().enumerate() {
        let value = "~".repeat(size);
        let mut fields = GET.to_vec();
        fields.resize(count.max(5), ("x", &value));
        let mut server = End::server();
        server.whole(0, &headers(&fields));
        // GET's own bytes count too.
        let own: usize = GET.iter().map(|(name, value)| name.len() + value.len()).sum();
        let is_fine = index == 0 || index == 2 && size + own <= 65_536 - 5 * 32;
        assert_eq!(server.events().len(), usize::from(is_fine), "{count} of {size}");
        server.others_are_unharmed();
    }
    // A bomb of one byte for each field (CVE-2025-64702 and its like).
    let mut section = section(&GET);
    section.resize(60_000, 0xc0 | 41);
    let mut server = End::server();
    server.open(0, &frame(kind::HEADERS, &section));
    assert_eq!(server.events(), []);
    server.others_are_unharmed();
}

#[test]
fn trailers_and_responses_have_the_same_limits() {
    let mut large = Vec::new();
    frame::header(kind::HEADERS, 1 << 40, &mut large);
    let mut server = End::server();
    server.open(0, &[headers(&POST), large.clone()].concat());
    assert_eq!(failed(&mut server, 0), Code::EXCESSIVE_LOAD);
    server.others_are_unharmed();
    let many = [("x", ""); 129];
    for bytes in
        [large, headers(&[&OK[..], &many].concat()), [headers(&OK), headers(&many)].concat()]
    {
        let mut client = End::client(&[&GET]);
        client.send(0, &bytes);
        assert_eq!(failed(&mut client, 0), Code::EXCESSIVE_LOAD);
    }
}

#[test]
fn work_that_brings_nothing_is_bounded() {
    // RFC 9114, section 10.5.
    const LIMITS: Limits = Limits {
        idle_work: 10,
        max_field_section: 65_536,
        max_fields: 128,
        max_settings: 64,
        max_priority: 64,
        max_early_priorities: 16,
    };
    type Flood = fn(&mut End, u64);
    let floods: [(&str, Flood); 15] = [
        ("unknown frames", |server, n| match n {
            0 => server.open(0, &[headers(&POST), frame(0x21, &[])].concat()),
            _ => server.send(0, &frame(0x21, &[])),
        }),
        ("empty content", |server, n| match n {
            0 => server.open(0, &[headers(&POST), data(b"")].concat()),
            _ => server.send(0, &data(b"")),
        }),
        ("unknown frames of the connection", |server, _| server.send(2, &frame(0x21, &[]))),
        ("priorities", |server, _| server.send(2, &update(0, "u=1"))),
        ("allowed pushes", |server, _| server.send(2, &frame(kind::MAX_PUSH_ID, &[9]))),
        ("goodbyes", |server, _| server.send(2, &frame(kind::GOAWAY, &[9]))),
        ("capacities of nothing", |server, n| match n {
            0 => server.open(6, &[2, 0x20]),
            _ => server.send(6, &[0x20]),
        }),
        ("cancellations of nothing", |server, n| match n {
            0 => server.open(6, &[3, 0x44]),
            _ => server.send(6, &[0x44]),
        }),
        ("unknown streams", |server, n| server.open(6 + 4 * n, &[0x21])),
        ("streams without a type", |server, n| server.whole(6 + 4 * n, &[])),
        // CVE-2023-44487.
        ("requests that are taken back", |server, n| {
            server.open(4 * n, &headers(&GET));
            server.connection.reset(4 * n, Code::REQUEST_CANCELLED);
            server.connection.abort(4 * n, Code::REQUEST_CANCELLED);
        }),
        ("responses that are not wanted", |server, n| {
            server.whole(4 * n, &headers(&GET));
            server.connection.stopped(4 * n, Code::REQUEST_CANCELLED);
        }),
        // Content does not pay for it.
        ("requests with content that are taken back", |server, n| {
            server.open(4 * n, &[headers(&POST), data(b"x"), data(b"y")].concat());
            server.connection.reset(4 * n, Code::REQUEST_CANCELLED);
            server.connection.abort(4 * n, Code::REQUEST_CANCELLED);
        }),
        // CVE-2025-8671.
        ("requests that we have to give up", |server, n| {
            server.open(4 * n, &headers(&[&GET[..], &[("A", "b")]].concat()));
        }),
        ("requests with content that we have to give up", |server, n| {
            let trailers = headers(&[(":path", "/")]);
            server.open(4 * n, &[headers(&POST), data(b"x"), trailers].concat());
        }),
    ];
    for (what, flood) in floods {
        let mut server = limited(LIMITS);
        for n in 0..10 {
            flood(&mut server, n);
            assert_eq!(server.connection.closed(), None, "{what}: {n}");
        }
        flood(&mut server, 10);
        assert_eq!(server.code(), Some(Code::EXCESSIVE_LOAD), "{what}");
        assert_eq!(server.connection.open_requests(), 0);
    }
}

fn update(stream: u8, value: &str) -> Vec<u8> {
    frame(kind::PRIORITY_UPDATE_REQUEST, &[&[stream], value.as_bytes()].concat())
}

#[test]
fn padding_beside_useful_work_is_not() {
    let mut server = limited(Limits { idle_work: 10, ..Limits::default() });
    for n in 0..1000 {
        let bytes = [frame(0x21, &[0; 9]), headers(&POST), frame(0x40, &[]), data(b"x")].concat();
        server.whole(4 * n, &bytes);
        server.connection.respond(4 * n, 200, [("a", "b")], Content::None).unwrap();
        server.is_fine();
        server.events();
    }
}

#[test]
fn what_is_skipped_or_passed_on_is_not_held() {
    let mut server = End::server();
    let mut bytes = headers(&POST);
    frame::header(0x21, 1 << 40, &mut bytes);
    server.open(0, &bytes);
    frame::header(kind::DATA, 1 << 40, &mut bytes);
    server.open(4, &[headers(&POST), bytes.split_off(bytes.len() - 9)].concat());
    server.events();
    for _ in 0..100 {
        server.send(0, &[7; 1000]);
        let piece = Bytes::from(vec![7; 1000]);
        server.connection.received(4, piece.clone());
        let [Event::Data { bytes, .. }] = &server.events()[..] else { panic!() };
        assert_eq!(bytes.as_ptr(), piece.as_ptr(), "it is not even copied");
    }
    server.is_fine();
    assert_eq!(server.connection.held(), 0);
}

#[test]
fn a_connection_is_small() {
    // What an idle one costs, beside two streams of the transport.
    assert!(size_of::<Connection>() <= 512, "{}", size_of::<Connection>());
    let exchange = size_of::<Exchange>();
    assert!(exchange <= 128, "{exchange}");
    let mut server = End::server();
    for n in 0..1000 {
        server.whole(4 * n, &headers(&GET));
    }
    for n in 0..1000 {
        server.connection.respond(4 * n, 200, [("a", "b")], Content::None).unwrap();
    }
    assert_eq!(server.events().len(), 1000);
    assert!(server.actions().len() >= 2000);
    let Connection { exchanges, events, actions, .. } = &server.connection;
    let left = [exchanges.capacity(), events.capacity(), actions.capacity()];
    assert_eq!(left, [0, 0, 0], "a crowd leaves nothing");
}
