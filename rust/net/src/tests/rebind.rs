//! A client that moves to other addresses while it is connected.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::{LANES, Pair, request, tags};
use crate::{Event, Lost};

fn anywhere() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

#[test]
fn the_server_follows_its_client() {
    let mut pair = Pair::connected(LANES);
    let lane = pair.lane();
    pair.client.write_lane(lane, request(0, b"before"));
    let opened = pair.opened();
    for tag in 1..=20 {
        let before = pair.client.io().local_addr().unwrap();
        // Some of it is on its way when the address changes, some is not.
        pair.client.write_lane(lane, request(tag, &[7; 20_000]));
        pair.server.write_lane(opened, request(tag, &[7; 20_000]));
        pair.turn();
        pair.client.rebind(anywhere()).unwrap();
        let now = pair.client.io().local_addr().unwrap();
        assert_ne!(before, now);
        let count = usize::from(tag);
        pair.until(|pair| {
            tags(&pair.from_server, opened).len() > count
                && tags(&pair.from_client, lane).len() == count
        });
        let there = pair.there;
        pair.until(|pair| pair.server.remote(there) == Some(now));
    }
    // Also where nothing is to be said: acknowledgements have left by now.
    let quiet = Instant::now() + Duration::from_millis(100);
    while Instant::now() < quiet {
        pair.turn();
    }
    pair.client.rebind(anywhere()).unwrap();
    let (now, there) = (pair.client.io().local_addr().unwrap(), pair.there);
    pair.until(|pair| pair.server.remote(there) == Some(now));
    let lost = |event: &Event| matches!(event, Event::Lost { .. });
    assert!(!pair.from_server.iter().any(lost) && !pair.from_client.iter().any(lost));
}

#[test]
fn an_address_that_cannot_be_had_changes_nothing() {
    let mut pair = Pair::connected(LANES);
    let taken = pair.server.io().local_addr().unwrap();
    let before = pair.client.io().local_addr().unwrap();
    assert!(pair.client.rebind(taken).is_err());
    assert_eq!(pair.client.io().local_addr().unwrap(), before);
    let lane = pair.lane();
    pair.client.write_lane(lane, request(0, b"still here"));
    let opened = pair.opened();
    pair.until(|pair| tags(&pair.from_server, opened).len() == 1);
}

#[test]
fn a_server_stays_where_it_is() {
    let mut pair = Pair::connected(LANES);
    let before = pair.server.io().local_addr().unwrap();
    assert!(pair.server.rebind(anywhere()).is_err());
    pair.server.serve(None);
    assert!(pair.server.rebind(anywhere()).is_err(), "its clients are still there");
    assert_eq!(pair.server.io().local_addr().unwrap(), before);
}

#[test]
fn what_comes_late_to_the_old_address_is_taken_in() {
    let mut pair = Pair::connected(LANES);
    pair.lane();
    pair.server.close(Instant::now(), pair.there, 5, b"bye");
    pair.server.transmit(Instant::now()).unwrap();
    // A close is sent once; it waits in the socket that is left now.
    pair.client.rebind(anywhere()).unwrap();
    pair.client.receive(Instant::now()).unwrap();
    let reason = Lost::Closed { code: 5, reason: "bye".to_owned() };
    let told = |event: &Event| matches!(event, Event::Lost { reason: r, .. } if *r == reason);
    assert!(pair.client.take_events().iter().any(told));
}
