//! Rules of the connection that a peer can break, one by one.

use super::*;
use Role::{Client, Server};

/// What becomes of the connection when a stream brings this.
fn code_of(role: Role, stream: u64, bytes: &[u8]) -> Option<Code> {
    let mut end = End::settled(role, config());
    end.actions();
    end.open(stream, bytes);
    let code = end.code();
    // The same, byte by byte.
    let mut pieces = End::settled(role, config());
    pieces.actions();
    pieces.connection.opened(stream);
    for byte in bytes {
        pieces.send(stream, &[*byte]);
    }
    assert_eq!(pieces.code(), code);
    code
}

#[test]
fn streams_that_a_peer_has_one_of() {
    for role in [Server, Client] {
        let (ours, theirs) = control(role);
        let second = theirs + 4;
        // RFC 9114, section 6.2.1; RFC 9204, section 4.2.
        assert_eq!(code_of(role, second, &[0]), Some(Code::STREAM_CREATION_ERROR), "control");
        for kind in [2, 3] {
            let mut end = End::settled(role, config());
            end.open(second, &[kind]);
            end.is_fine();
            end.open(second + 4, &[kind]);
            assert_eq!(end.code(), Some(Code::STREAM_CREATION_ERROR), "QPACK");
        }
        // Section 6.2.1; RFC 9204, section 4.2: none of them ends, in any way.
        for kind in [0, 2, 3] {
            for is_reset in [true, false] {
                let mut end = End::new(role, config());
                end.open(theirs, &[kind]);
                end.is_fine();
                match is_reset {
                    true => end.connection.reset(theirs, Code::NO_ERROR),
                    false => end.connection.finished(theirs),
                }
                assert_eq!(end.code(), Some(Code::CLOSED_CRITICAL_STREAM), "{kind}");
            }
        }
        // Section 6.2.1: nor may ours be stopped.
        let mut end = End::settled(role, config());
        end.connection.stopped(ours, Code::NO_ERROR);
        assert_eq!(end.code(), Some(Code::CLOSED_CRITICAL_STREAM));
    }
}

#[test]
fn settings_come_first() {
    // RFC 9114, section 6.2.1.
    for role in [Server, Client] {
        let mut end = End::new(role, config());
        let mut bytes = vec![0];
        bytes.extend(frame(kind::GOAWAY, &[0]));
        end.open(control(role).1, &bytes);
        assert_eq!(end.code(), Some(Code::MISSING_SETTINGS));
        assert_eq!(end.events(), []);
    }
}

#[test]
fn unidirectional_streams_of_unknown_types() {
    for role in [Server, Client] {
        // RFC 9114, sections 6.2 and 6.2.3: stopped, and no error of the connection.
        let mut end = End::settled(role, config());
        end.actions();
        let stream = control(role).1 + 4;
        for (index, kind) in [0x21, 0x54, 0x40].into_iter().enumerate() {
            let stream = stream + 4 * index as u64;
            let mut bytes = Vec::new();
            varint::encode(kind, &mut bytes);
            bytes.extend([9; 100]);
            end.open(stream, &bytes);
            assert_eq!(
                end.actions(),
                [Action::StopSending(stream, Code::STREAM_CREATION_ERROR)],
                "{kind:#x}"
            );
            end.send(stream, &[9; 100]);
            end.connection.reset(stream, Code::NO_ERROR);
        }
        // Section 6.2: one may end before its type has come, in any way.
        end.open(stream + 40, &[0x40]);
        end.connection.finished(stream + 40);
        end.open(stream + 44, &[]);
        end.connection.reset(stream + 44, Code::NO_ERROR);
        end.is_fine();
        assert_eq!((end.actions(), end.events()), (vec![], vec![]));
        assert_eq!(end.connection.unis.len(), 1, "nothing is left of them");
    }
}

#[test]
fn pushes_are_refused() {
    // RFC 9114, section 6.2.2: only servers push.
    assert_eq!(code_of(Server, 6, &[1, 0]), Some(Code::STREAM_CREATION_ERROR));
    // Section 4.6: not without MAX_PUSH_ID, which we never send.
    assert_eq!(code_of(Client, 7, &[1, 0]), Some(Code::ID_ERROR));
    // Section 7.2.5: nor promises; and clients have none to make.
    let promise = frame(kind::PUSH_PROMISE, &[&[0][..], &section(&GET)].concat());
    let mut client = End::client(&[&GET]);
    client.send(0, &promise);
    assert_eq!(client.code(), Some(Code::ID_ERROR));
    assert_eq!(code_of(Server, 0, &promise), Some(Code::FRAME_UNEXPECTED));
}

#[test]
fn bidirectional_streams_of_a_server_are_refused() {
    // RFC 9114, section 6.1.
    let mut client = End::client(&[]);
    client.connection.opened(1);
    assert_eq!(client.code(), Some(Code::STREAM_CREATION_ERROR));
}

#[test]
fn qpack_streams_say_next_to_nothing() {
    for role in [Server, Client] {
        let stream = control(role).1 + 4;
        assert_eq!(code_of(role, stream, &[2, 0x20]), None);
        assert_eq!(code_of(role, stream, &[3, 0x44, 0x7f, 0x80, 0x01]), None);
        // RFC 9204, sections 3.2.3 and 4.3; 4.4.
        assert_eq!(
            code_of(role, stream, &[2, 0x3f, 0xbd, 0x01]),
            Some(Code::QPACK_ENCODER_STREAM_ERROR)
        );
        assert_eq!(code_of(role, stream, &[3, 0x84]), Some(Code::QPACK_DECODER_STREAM_ERROR));
        assert_eq!(code_of(role, stream, &[3, 0x01]), Some(Code::QPACK_DECODER_STREAM_ERROR));
    }
}

#[test]
fn frames_that_have_no_place_in_a_message() {
    for (kind, what) in [
        (kind::CANCEL_PUSH, "section 7.2.3"),
        (kind::SETTINGS, "section 7.2.4"),
        (kind::GOAWAY, "section 7.2.6"),
        (kind::MAX_PUSH_ID, "section 7.2.7"),
        (kind::PRIORITY_UPDATE_REQUEST, "RFC 9218, section 7.2"),
        (kind::PRIORITY_UPDATE_PUSH, "RFC 9218, section 7.2"),
        (0x02, "section 7.2.8"),
        (0x06, "section 7.2.8"),
        (0x08, "section 7.2.8"),
        (0x09, "section 7.2.8"),
    ] {
        for before in [vec![], headers(&POST), [headers(&POST), data(b"x")].concat()] {
            let bytes = [before, frame(kind, &[0])].concat();
            assert_eq!(code_of(Server, 0, &bytes), Some(Code::FRAME_UNEXPECTED), "{what}");
        }
        let mut client = End::client(&[&GET]);
        client.send(0, &frame(kind, &[0]));
        assert_eq!(client.code(), Some(Code::FRAME_UNEXPECTED), "{what}");
    }
}

#[test]
fn the_order_of_frames() {
    // RFC 9114, section 4.1.
    for (bytes, what) in [
        (data(b"x"), "DATA first"),
        (data(b""), "even if empty"),
        ([headers(&POST), headers(&[]), data(b"x")].concat(), "DATA behind trailers"),
        ([headers(&POST), headers(&[]), headers(&[])].concat(), "HEADERS behind trailers"),
        // Section 4.4.
        ([headers(&CONNECT), headers(&[])].concat(), "HEADERS in a tunnel"),
    ] {
        assert_eq!(code_of(Server, 0, &bytes), Some(Code::FRAME_UNEXPECTED), "{what}");
    }
    for (method, bytes, what) in [
        (&GET[..], data(b"x"), "DATA first"),
        (&GET, [headers(&[(":status", "103")]), data(b"x")].concat(), "DATA behind an interim one"),
        (&GET, [headers(&OK), headers(&[]), data(b"x")].concat(), "DATA behind trailers"),
        (&GET, [headers(&OK), headers(&[]), headers(&[])].concat(), "HEADERS behind trailers"),
        (&CONNECT, [headers(&OK), headers(&[])].concat(), "HEADERS in a tunnel"),
    ] {
        let mut client = End::client(&[method]);
        client.send(0, &bytes);
        assert_eq!(client.code(), Some(Code::FRAME_UNEXPECTED), "{what}");
    }
    // A CONNECT that failed is no tunnel.
    let mut client = End::client(&[&CONNECT]);
    client.send(0, &[headers(&[(":status", "403")]), data(b"no"), headers(&[])].concat());
    client.is_fine();
}

#[test]
fn streams_end_between_frames() {
    // RFC 9114, section 7.1.
    let bytes = [headers(&POST), data(b"hello"), frame(0x21, &[0; 3])].concat();
    let starts = [0, headers(&POST).len(), bytes.len() - 5, bytes.len()];
    for cut in 1..bytes.len() {
        if starts.contains(&cut) {
            continue;
        }
        let mut server = End::server();
        server.whole(0, &bytes[..cut]);
        assert_eq!(server.code(), Some(Code::FRAME_ERROR), "cut at {cut}");
    }
    // One that is broken off may be cut anywhere.
    for cut in 1..bytes.len() {
        let mut server = End::server();
        server.open(0, &bytes[..cut]);
        server.connection.reset(0, Code::REQUEST_CANCELLED);
        server.others_are_unharmed();
    }
}

#[test]
fn field_sections_that_cannot_be_read() {
    // RFC 9204, sections 2.2.3, 3.1, 4.5.1 and 6.
    for section in [
        &[][..],
        &[0],
        &[1, 0],
        &[0, 0x80],
        &[0, 0, 0x80],
        &[0, 0, 0x10],
        &[0, 0, 0x40, 0],
        &[0, 0, 0x00, 0],
        &[0, 0, 0xff, 0x24],
        &[0, 0, 0x51, 0x81, 0xff],
        &[0, 0, 0x51, 5],
    ] {
        let bytes = frame(kind::HEADERS, section);
        assert_eq!(
            code_of(Server, 0, &bytes),
            Some(Code::QPACK_DECOMPRESSION_FAILED),
            "{section:x?}"
        );
        let mut client = End::client(&[&GET]);
        client.send(0, &bytes);
        assert_eq!(client.code(), Some(Code::QPACK_DECOMPRESSION_FAILED), "{section:x?}");
    }
}

#[test]
fn after_an_error_nothing_is_heard() {
    let mut server = End::server();
    server.whole(0, &headers(&GET));
    server.open(4, &data(b"x"));
    assert!(server.code().is_some());
    server.whole(8, &headers(&GET));
    server.connection.reset(0, Code::NO_ERROR);
    server.connection.datagram_received(Bytes::new());
    assert_eq!(server.events().len(), 1, "what came before it");
    assert_eq!(
        server.connection.respond(0, 200, [("a", "b")], Content::None),
        Err(crate::http3::Misuse::Gone(0))
    );
    assert_eq!(server.actions(), []);
}
