//! How exchanges and connections of HTTP/1.1 end before their time, or at it.

use super::*;
use crate::Lost;

fn lost(world: &World) -> Option<Lost> {
    world.events.iter().find_map(|event| match event {
        Event::Lost { reason, .. } => Some(reason.clone()),
        _ => None,
    })
}

#[test]
fn a_client_that_goes_is_noticed_before_it_is_answered() {
    for secure in [false, true] {
        let mut world = if secure { World::secure(|_| {}) } else { World::plain(|_| {}) };
        let mut client =
            if secure { Client::secure(&world, &[b"http/1.1"]) } else { Client::plain(&world) };
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let (exchange, _) = world.request_of(&mut client);
        drop(client);
        world.until(|world| world.gone(exchange).then_some(()));
        world.until(|world| lost(world).map(drop));
        // What is said to nobody is heard by nobody.
        world.answer(exchange, 200, "too late");
        world.until(|world| (world.server.open_connections() == 0).then_some(()));
        assert_eq!(world.server.open_exchanges(), 0);
        world.server.http_release(exchange);
    }
}

#[test]
fn a_client_that_sends_no_more_is_gone() {
    let mut world = World::plain(|_| {});
    let mut client = Client::plain(&world);
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let (exchange, _) = world.request_of(&mut client);
    client.socket.shutdown(std::net::Shutdown::Write).unwrap();
    world.until(|world| world.gone(exchange).then_some(()));
    assert_eq!(world.read_all(&mut client), "");
}

#[test]
fn a_client_that_goes_while_its_body_waits_is_noticed() {
    let mut world = World::plain(|_| {});
    world.greedy = false;
    let mut client = Client::plain(&world);
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n");
    let (exchange, _) = world.request_of(&mut client);
    client.send(vec![0; 200 << 10]);
    world.rest();
    drop(client);
    world.until(|world| world.gone(exchange).then_some(()));
}

#[test]
fn handlers_of_those_who_went_count_as_connections() {
    let mut world = World::plain(|_| {});
    let mut exchanges = Vec::new();
    for _ in 0..10 {
        let mut client = Client::plain(&world);
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let (exchange, _) = world.request_of(&mut client);
        drop(client);
        world.until(|world| world.gone(exchange).then_some(()));
        exchanges.push(exchange);
    }
    let mut refused = Client::plain(&world);
    refused.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(world.read_all(&mut refused), "");
    world.server.http_release(exchanges[0]);
    world.server.http_release(exchanges[0]);
    let mut client = Client::plain(&world);
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    world.request_of(&mut client);
}

#[test]
fn an_answer_that_is_given_up_is_seen_not_to_be_whole() {
    for (begun, taken) in [(false, false), (true, false), (true, true)] {
        let mut world = World::plain(|_| {});
        let mut client = Client::plain(&world);
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let (exchange, _) = world.request_of(&mut client);
        if begun {
            world.reply(exchange, head(200, &[], "half", false));
        }
        if taken {
            world.read(&mut client, |got| got.ends_with(b"4\r\nhalf\r\n"));
        }
        world.reply(exchange, Reply::Abort);
        let text = world.read_all(&mut client);
        assert_eq!(text, "");
        assert!(!world.gone(exchange) && !world.answered(exchange), "{:?}", world.events);
        assert_eq!((world.server.open_exchanges(), world.server.open_connections()), (0, 0));
    }
}

#[test]
fn connections_drain() {
    let mut world = World::plain(|_| {});
    let mut idle = Client::plain(&world);
    idle.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let (exchange, _) = world.request_of(&mut idle);
    world.answer(exchange, 200, "kept");
    world.read_answer(&mut idle);
    let mut silent = Client::plain(&world);
    let mut busy = Client::plain(&world);
    busy.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let (exchange, _) = world.request_of(&mut busy);
    world.server.stop_listening();
    world.server.http_drain();
    assert_eq!(world.read_all(&mut idle), "");
    assert_eq!(world.read_all(&mut silent), "");
    assert_eq!(world.server.open_exchanges(), 1);
    world.answer(exchange, 200, "last");
    let text = world.read_all(&mut busy);
    assert!(text.contains("\r\nconnection: close\r\n") && text.ends_with("last"), "{text}");
    world.until(|world| (world.server.open_connections() == 0).then_some(()));
}

#[test]
fn what_is_large_is_not_cut_off_by_the_end() {
    let mut world = World::plain(|_| {});
    let mut client = Client::plain(&world);
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let (exchange, _) = world.request_of(&mut client);
    let sent = vec![3; 20 << 20];
    world.reply(
        exchange,
        Reply::Head {
            status: 200,
            fields: Fields::default(),
            body: sent.clone().into(),
            end: true,
        },
    );
    let got = world.read(&mut client, |_| false);
    assert!(got.ends_with(&sent));
}

#[test]
fn the_owner_may_close_the_connection_by_its_answer() {
    let mut world = World::plain(|_| {});
    let mut client = Client::plain(&world);
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let (exchange, _) = world.request_of(&mut client);
    world.reply(exchange, head(200, &[("connection", "close")], "bye", true));
    assert!(world.read_all(&mut client).ends_with("bye"));
}

#[test]
fn connections_without_a_request_end() {
    let mut world = World::plain(|limits| limits.idle_timeout = Duration::from_millis(20));
    let mut client = Client::plain(&world);
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let (exchange, _) = world.request_of(&mut client);
    // One that is slow to be answered does not count.
    let begun = Instant::now();
    world.until(|_| (begun.elapsed() > Duration::from_millis(60)).then_some(()));
    world.answer(exchange, 200, "hi");
    let text = world.read_all(&mut client);
    assert!(text.ends_with("hi"), "{text}");
}

#[test]
fn requests_that_do_not_come_are_given_up() {
    let mut world = World::plain(|limits| limits.head_timeout = Duration::from_millis(20));
    let mut client = Client::plain(&world);
    client.send("GET / HTTP/1.1\r\nhost: a\r\nx-");
    let text = world.read_all(&mut client);
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    let mut client = Client::plain(&world);
    let begun = Instant::now();
    // Nor those of which a byte comes now and then.
    while !client.ended {
        client.send("G");
        world.turn();
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}
