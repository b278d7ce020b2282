//! Streams and datagrams of sessions as they are.

use super::*;

const RAW: Incoming = Incoming::Raw;

fn read_all(
    endpoint: &mut crate::Endpoint,
    key: ConnectionKey,
    stream: StreamId,
    into: &mut Vec<u8>,
) -> Option<Read> {
    loop {
        match endpoint.read(key, stream, 3) {
            Read::Data(data) => into.extend(data),
            Read::Blocked => return None,
            end => return Some(end),
        }
    }
}

#[test]
fn streams_carry_data_ends_and_resets() {
    let mut meeting = Meeting::new();
    let (client, server) = meeting.session(RAW, RAW);
    for dir in [Dir::Uni, Dir::Bi] {
        let stream = meeting.pair.client.open_stream(client, dir).unwrap();
        let mut data = Bytes::from_static(b"hello, world");
        assert_eq!(meeting.pair.client.write(client, stream, &mut data), Write::Taken(12));
        assert!(meeting.pair.client.finish(client, stream));
        let there = meeting.until(|pair| stream_on(&mut pair.from_server, server));
        assert_eq!(there, stream);
        let mut read = Vec::new();
        let end = meeting.until(|pair| read_all(&mut pair.server, server, stream, &mut read));
        assert_eq!((&read[..], end), (&b"hello, world"[..], Read::Finished));
        meeting.until(|pair| pair.client.is_acknowledged(client, stream).then_some(()));
        meeting.until(|pair| {
            let its = |event: &Event| matches!(event, Event::Finished { connection, stream: on } if (*connection, *on) == (client, stream));
            pair.from_client.iter().any(its).then_some(())
        });
        if dir == Dir::Bi {
            let mut data = Bytes::from_static(b"back");
            meeting.pair.server.write(server, stream, &mut data);
            assert!(meeting.pair.server.reset(server, stream, 77));
            let end =
                meeting.until(|pair| read_all(&mut pair.client, client, stream, &mut Vec::new()));
            assert_eq!(end, Read::Reset(77));
        }
    }
    // The server's; and one that is not wanted.
    let stream = meeting.pair.server.open_stream(server, Dir::Uni).unwrap();
    let there = meeting.until(|pair| stream_on(&mut pair.from_client, client));
    assert_eq!(there, stream);
    meeting.pair.client.stop(client, stream, 5);
    let stopped = meeting.until(|pair| {
        match pair.server.write(server, stream, &mut Bytes::from_static(b"more")) {
            Write::Taken(_) | Write::Blocked => None,
            other => Some(other),
        }
    });
    assert_eq!(stopped, Write::Stopped(5));
}

#[test]
fn a_stream_is_there_before_anything_was_written_to_it() {
    let mut meeting = Meeting::new();
    let (client, server) = meeting.session(RAW, RAW);
    let stream = meeting.pair.client.open_stream(client, Dir::Bi).unwrap();
    assert_eq!(meeting.until(|pair| stream_on(&mut pair.from_server, server)), stream);
    assert_eq!(meeting.pair.server.read(server, stream, 9), Read::Blocked);
}

#[test]
fn much_goes_through_at_the_pace_of_its_reader() {
    let mut meeting = Meeting::new();
    let (client, server) = meeting.session(RAW, RAW);
    let stream = meeting.pair.client.open_stream(client, Dir::Uni).unwrap();
    let mut data = Bytes::from(vec![7; 1_000_000]);
    meeting.pair.client.write(client, stream, &mut data);
    meeting.until(|pair| stream_on(&mut pair.from_server, server));
    meeting.rest();
    assert!(data.len() > 500_000, "nobody reads");
    let mut read = 0;
    meeting.until(|pair| {
        if !data.is_empty() {
            pair.client.write(client, stream, &mut data);
        }
        while let Read::Data(more) = pair.server.read(server, stream, 50_000) {
            read += more.len();
        }
        (read == 1_000_000).then_some(())
    });
    let writable = |event: &Event| matches!(event, Event::Writable { connection, stream: on } if (*connection, *on) == (client, stream));
    assert!(meeting.pair.from_client.iter().any(writable));
}

#[test]
fn datagrams_come_through_and_have_a_size() {
    let mut meeting = Meeting::new();
    let (client, server) = meeting.session(RAW, RAW);
    let other = meeting.session(RAW, RAW);
    let limit = meeting.pair.client.max_datagram_size(client).unwrap();
    let whole = meeting.pair.client.max_datagram_size(meeting.pair.here).unwrap();
    assert_eq!(limit, whole - 1, "the session's number");
    let large = Bytes::from(vec![0; limit + 1]);
    assert!(meeting.pair.client.send_datagram(client, large).is_err());
    meeting.pair.client.send_datagram(client, Bytes::from_static(b"ping")).unwrap();
    meeting.until(|pair| {
        let its = |event: &Event| matches!(event, Event::Datagram { connection } if *connection == server);
        pair.from_server.iter().any(its).then_some(())
    });
    assert_eq!(meeting.pair.server.receive_datagram(other.1), None);
    assert_eq!(meeting.pair.server.receive_datagram(server).unwrap(), b"ping"[..]);
    assert_eq!(meeting.pair.server.receive_datagram(server), None);
    meeting.pair.server.send_datagram(server, Bytes::from_static(b"pong")).unwrap();
    let pong = meeting.until(|pair| pair.client.receive_datagram(client));
    assert_eq!(pong, b"pong"[..]);
}

#[test]
fn datagrams_that_nobody_reads_give_way_to_newer_ones() {
    let mut meeting = Meeting::new();
    let (client, server) = meeting.session(RAW, RAW);
    for number in 0..40_u8 {
        let datagram = Bytes::from(vec![number; 100]);
        meeting.pair.client.send_datagram(client, datagram).unwrap();
    }
    meeting.rest();
    let kept: Vec<_> =
        std::iter::from_fn(|| meeting.pair.server.receive_datagram(server)).collect();
    // 1,000 bytes, each with a little more.
    assert_eq!(kept.len(), 7);
    assert_eq!(kept.last().map(|last| last[0]), Some(39));
}

#[test]
fn what_lanes_do_not_take_is_refused() {
    let mut meeting = Meeting::new();
    let (client, server) = meeting.session(RAW, LANES);
    let stream = meeting.pair.client.open_stream(client, Dir::Uni).unwrap();
    let stopped = meeting.until(|pair| {
        match pair.client.write(client, stream, &mut Bytes::from_static(b"x")) {
            Write::Stopped(code) => Some(code),
            _ => None,
        }
    });
    assert_eq!(stopped, u64::from(jetstream_proto::codes::UNWANTED));
    assert!(lost_of(&meeting.pair.from_server, server).is_none());
}
