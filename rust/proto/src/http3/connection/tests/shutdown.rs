//! GOAWAY, both ways.

use super::*;
use crate::http3::Misuse;

fn goaway(id: u64) -> Vec<u8> {
    let mut payload = Vec::new();
    varint::encode(id, &mut payload);
    frame(kind::GOAWAY, &payload)
}

#[test]
fn a_server_goes_away_and_loses_nothing() {
    // RFC 9114, section 5.2.
    let mut server = End::server();
    server.actions();
    server.connection.announce_going_away();
    assert_eq!(server.actions(), [Action::Write(3, goaway((1 << 62) - 4).into())]);
    // What is on its way is taken.
    server.whole(0, &headers(&GET));
    server.open(8, &headers(&POST));
    assert_eq!(server.events().len(), 2);
    server.connection.go_away();
    assert_eq!(server.actions(), [Action::Write(3, goaway(12).into())]);
    // Streams open in order: 4 was on its way, 12 was not.
    server.whole(4, &headers(&GET));
    assert_eq!(server.events(), [request(4, &GET, true)]);
    for stream in [12, 16] {
        server.open(stream, &headers(&POST));
        assert_eq!(
            server.actions(),
            [
                Action::Reset(stream, Code::REQUEST_REJECTED),
                Action::StopSending(stream, Code::REQUEST_REJECTED)
            ]
        );
    }
    assert_eq!(server.events(), []);
    server.connection.go_away();
    assert_eq!(server.actions(), [], "the identifier never grows");
    for (stream, left) in [(0, 2), (4, 1)] {
        server.connection.respond(stream, 200, [("a", "b")], Content::None).unwrap();
        assert_eq!(server.connection.open_requests(), left);
    }
    server.connection.finished(8);
    server.connection.respond(8, 200, [("a", "b")], Content::None).unwrap();
    assert_eq!(server.connection.open_requests(), 0);
    assert!(server.connection.is_going_away());
}

#[test]
fn a_client_hears_which_requests_were_not_looked_at() {
    // RFC 9114, section 5.2.
    let mut client = End::client(&[&GET, &POST, &POST]);
    client.connection.data(4, Bytes::new(), true).unwrap();
    client.actions();
    client.send(3, &goaway((1 << 62) - 4));
    assert_eq!(client.events(), [Event::GoingAway { id: (1 << 62) - 4 }]);
    let head = RequestHead::new(GET.into_iter().collect(), true).unwrap();
    assert_eq!(client.connection.request(12, &head, Content::None), Err(Misuse::GoingAway));
    client.send(3, &goaway(4));
    assert_eq!(
        client.events(),
        [
            Event::Unprocessed { stream: 4 },
            Event::Unprocessed { stream: 8 },
            Event::GoingAway { id: 4 }
        ]
    );
    assert_eq!(
        client.actions(),
        [
            Action::StopSending(4, Code::REQUEST_CANCELLED),
            Action::Reset(8, Code::REQUEST_CANCELLED),
            Action::StopSending(8, Code::REQUEST_CANCELLED)
        ]
    );
    client.send(0, &headers(&OK));
    assert_eq!(client.events().len(), 1, "the first is answered");
    client.send(3, &goaway(8));
    assert_eq!(client.code(), Some(Code::ID_ERROR), "a larger identifier");
    let mut client = End::client(&[]);
    client.send(3, &goaway(2));
    assert_eq!(client.code(), Some(Code::ID_ERROR), "section 7.2.6: of no request");
}

#[test]
fn a_client_goes_away() {
    let mut client = End::client(&[&GET]);
    client.connection.announce_going_away();
    client.connection.go_away();
    assert_eq!(
        client.actions(),
        [Action::Write(2, goaway((1 << 62) - 1).into()), Action::Write(2, goaway(0).into())]
    );
    let mut server = End::server();
    server.send(2, &[goaway(9), goaway(9), goaway(1)].concat());
    assert_eq!(server.events().len(), 3);
    server.send(2, &goaway(2));
    assert_eq!(server.code(), Some(Code::ID_ERROR));
}
