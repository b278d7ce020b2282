//! How exchanges and connections end, by whom ever.

use super::*;
use crate::tests::early::{acquainted, early};
use crate::tests::world::World as Acquaintance;

impl World {
    fn lost(&mut self) -> Lost {
        self.until(|world| world.visitors[0].lost.clone())
    }
}

#[test]
fn a_request_that_is_taken_back_is_gone_and_its_handler_counts_until_it_is_released() {
    let mut world = World::new(|limits| limits.streams = 2);
    let mut held = Vec::new();
    for _ in 0..2 {
        let (id, exchange) = world.get("/");
        world.visitors[0].core.abort(id, Code::REQUEST_CANCELLED);
        world.until(|world| world.gone(exchange).then_some(()));
        held.push(exchange);
        // Nothing happens any more.
        world.reply(exchange, whole(200, "late"));
        assert_eq!(world.pair.server.http_unsent(exchange), 0);
    }
    assert_eq!(world.pair.server.open_exchanges(), 0);
    let id = world.ask(&asking("GET", "/"), Content::None);
    world.rest();
    assert!(world.next_request().is_none(), "two handlers run");
    world.pair.server.http_release(held[0]);
    world.pair.server.http_release(held[0]);
    let (exchange, _) = world.request();
    world.reply(exchange, whole(200, "hello"));
    assert_eq!(world.answer(id).body, b"hello");
}

#[test]
fn handlers_of_clients_that_left_count_as_connections() {
    let mut world = World::with(|_| {}, |server| server.max_connections = 2);
    let remote = world.pair.server.io().local_addr().unwrap();
    let (_, exchange) = world.get("/");
    let key = world.visitors[0].key;
    world.pair.client.close(Instant::now(), key, 0, b"");
    world.until(|world| world.gone(exchange).then_some(()));
    world.until(|world| (world.pair.server.open_connections() == 0).then_some(()));
    let come = |world: &mut World| {
        let options = world.pair.visiting.clone();
        world.pair.client.connect(Instant::now(), remote, "localhost", options).unwrap();
        world.rest();
        world.pair.server.open_connections()
    };
    assert_eq!(come(&mut world), 1);
    assert_eq!(come(&mut world), 1, "a connection and a handler are two");
    world.pair.server.http_release(exchange);
    assert_eq!(come(&mut world), 2);
}

#[test]
fn a_client_that_wants_no_answer_is_gone_even_behind_the_last_byte() {
    let mut world = World::new(|_| {});
    let (id, exchange) = world.get("/");
    world.visitors[0].deaf.push(id);
    world.reply(exchange, begins(200, &[]));
    world.reply(exchange, body(vec![7; 1_000_000], true));
    world.rest();
    assert!(!world.answered(exchange));
    let key = world.visitors[0].key;
    world.pair.client.stop(key, stream(id), 77);
    world.until(|world| world.gone(exchange).then_some(()));
    world.pair.server.http_release(exchange);
    let (id, exchange) = world.get("/");
    world.reply(exchange, whole(200, "still here"));
    assert_eq!(world.answer(id).body, b"still here");
}

#[test]
fn a_request_that_breaks_off_is_gone() {
    let mut world = World::new(|_| {});
    world.greedy = false;
    let id = world.ask(&asking("POST", "/"), Content::Follows);
    world.visitors[0].core.data(id, "some".into(), false).unwrap();
    let (exchange, _) = world.request();
    world.rest();
    let key = world.visitors[0].key;
    world.pair.client.reset(key, stream(id), Code::REQUEST_CANCELLED.0);
    // Nobody reads it at that time.
    world.until(|world| world.gone(exchange).then_some(()));
    assert!(!world.body_ended(exchange));
}

#[test]
fn an_answer_that_its_owner_gives_up_is_broken_off() {
    let mut world = World::new(|_| {});
    let (id, exchange) = world.get("/");
    world.reply(exchange, begins(200, &[]));
    world.reply(exchange, body("half", false));
    world.rest();
    world.reply(exchange, Reply::Abort);
    let reset = world.until(|world| world.visitors[0].answers.get(&id)?.reset);
    assert_eq!(reset, Code::INTERNAL_ERROR);
    world.rest();
    assert!(!world.gone(exchange) && !world.answered(exchange));
    assert_eq!(world.pair.server.open_exchanges(), 0);
    // One that is complete and not handed over.
    let (id, exchange) = world.get("/");
    world.visitors[0].deaf.push(id);
    world.reply(exchange, begins(200, &[]));
    world.reply(exchange, body(vec![7; 1_000_000], true));
    world.rest();
    world.reply(exchange, Reply::Abort);
    assert_eq!(world.pair.server.open_exchanges(), 0);
}

#[test]
fn a_connection_that_is_lost_takes_its_exchanges_with_it() {
    let mut world = World::new(|_| {});
    let (_, exchange) = world.get("/");
    let key = world.visitors[0].key;
    world.pair.client.close(Instant::now(), key, Code::NO_ERROR.0, b"");
    world.until(|world| {
        let lost = |event: &Event| matches!(event, Event::Lost { .. });
        (world.gone(exchange) && world.events.iter().any(lost)).then_some(())
    });
    // Its key is another connection's by then; that one is not credited.
    world.until(|world| (world.pair.server.open_connections() == 0).then_some(()));
    world.pair.server.http_release(exchange);
    assert_eq!(world.pair.server.open_exchanges(), 0);
}

#[test]
fn a_drain_is_announced_and_ends_with_the_last_answer() {
    let mut world = World::new(|_| {});
    let (id, exchange) = world.get("/");
    world.pair.server.http_drain();
    // What is on its way when it is announced is taken.
    world.until(|world| (!world.visitors[0].going.is_empty()).then_some(()));
    assert!(world.visitors[0].going[0] > 1 << 60);
    world.until(|world| (world.visitors[0].going.len() == 2).then_some(()));
    assert_eq!(world.visitors[0].going[1], id + 4);
    world.rest();
    assert_eq!(world.visitors[0].lost, None, "one is not answered");
    world.reply(exchange, whole(200, "the last"));
    // It has left, and may have been lost on the way: the end would take it back.
    let mut turns = 0;
    let later = Instant::now() + Duration::from_millis(10);
    world.pair.until_server(|_| {
        turns += 1;
        turns > 50 && Instant::now() > later
    });
    let lost = |event: &Event| matches!(event, Event::Lost { .. });
    assert!(!world.pair.from_server.iter().any(lost));
    assert_eq!(world.answer(id).body, b"the last");
    let end = Lost::Closed { code: Code::NO_ERROR.0, reason: String::new() };
    assert_eq!(world.lost(), end);
    let here = |event: &Event| matches!(event, Event::Lost { reason: Lost::Here, .. });
    assert!(world.events.iter().any(here));
}

#[test]
fn a_request_behind_the_last_that_is_taken_is_rejected() {
    let mut world = World::new(|_| {});
    let (_, exchange) = world.get("/");
    world.pair.server.http_drain();
    world.until(|world| (world.visitors[0].going.len() == 2).then_some(()));
    // By a client that has not heard of it.
    let key = world.visitors[0].key;
    let id = world.pair.client.open_stream(key, Dir::Bi).unwrap();
    world.visitors[0].deaf.push(id.into());
    let mut request = hostile::get();
    world.pair.client.write(key, id, &mut request);
    world.pair.client.finish(key, id);
    let mut told = Read::Blocked;
    world.until(|world| {
        told = world.pair.client.read(key, id, 100);
        matches!(told, Read::Reset(_)).then_some(())
    });
    assert_eq!(told, Read::Reset(Code::REQUEST_REJECTED.0));
    assert!(world.next_request().is_none());
    world.reply(exchange, whole(200, ""));
    world.lost();
}

#[test]
fn a_connection_without_a_request_ends_after_a_while() {
    let mut world = World::new(|limits| limits.idle_timeout = Duration::from_millis(20));
    let end = Lost::Closed { code: Code::NO_ERROR.0, reason: String::new() };
    assert_eq!(world.lost(), end);
    assert_eq!(world.visitors[0].going.len(), 2);
}

#[test]
fn a_request_whose_head_does_not_come_is_given_up_and_the_connection_lives() {
    let mut world = World::new(|limits| limits.head_timeout = Duration::from_millis(20));
    let key = world.visitors[0].key;
    let id = world.pair.client.open_stream(key, Dir::Bi).unwrap();
    world.visitors[0].deaf.push(id.into());
    world.pair.client.write(key, id, &mut Bytes::from_static(&[1, 40, 0]));
    let mut told = Read::Blocked;
    world.until(|world| {
        told = world.pair.client.read(key, id, 100);
        matches!(told, Read::Reset(_)).then_some(())
    });
    assert_eq!(told, Read::Reset(Code::REQUEST_REJECTED.0));
    let (id, exchange) = world.get("/");
    world.reply(exchange, whole(200, "hello"));
    world.answer(id);
}

#[test]
fn an_answer_that_is_not_taken_is_given_up() {
    let mut world = World::new(|limits| limits.idle_timeout = Duration::from_millis(200));
    let (slow, kept) = world.get("/");
    let (id, exchange) = world.get("/");
    world.visitors[0].deaf.extend([slow, id]);
    for exchange in [kept, exchange] {
        world.reply(exchange, begins(200, &[]));
        world.reply(exchange, body(vec![7; 1_000_000], true));
    }
    // Whoever takes a little now and then is waited for.
    let key = world.visitors[0].key;
    world.until(|world| {
        world.pair.client.read(key, stream(slow), 1000);
        world.gone(exchange).then_some(())
    });
    assert!(!world.gone(kept));
    world.visitors[0].deaf.clear();
    let World { visitors, pair, .. } = &mut world;
    visitors[0].read(id, &mut pair.client);
    let reset = world.until(|world| world.visitors[0].answers.get(&id)?.reset);
    assert_eq!(reset, Code::REQUEST_CANCELLED);
}

#[test]
fn a_request_in_the_first_flight_is_early() {
    let acquaintance = Acquaintance::new();
    let (mut pair, tls) = acquainted(&acquaintance, serving(|_| {}));
    pair.again(early(&tls));
    let mut visitor = Visitor::new(pair.here);
    visitor.settle(&mut pair.client);
    let id = pair.client.open_stream(pair.here, Dir::Bi).unwrap().into();
    visitor.core.request(id, &asking("GET", "/"), Content::None).unwrap();
    visitor.settle(&mut pair.client);
    pair.first_flight();
    let (events, bodies) = (Vec::new(), HashMap::new());
    let mut world = World { pair, visitors: vec![visitor], events, bodies, greedy: true };
    world.take();
    assert!(matches!(world.events[0], Event::Early { incoming: true, .. }));
    let (exchange, request) = world.next_request().unwrap();
    assert!(request.early);
    let connected = |event: &Event| matches!(event, Event::Connected { .. });
    assert!(!world.events.iter().any(connected));
    world.reply(exchange, whole(200, "at once"));
    assert_eq!(world.answer(id).body, b"at once");
    world.until(|world| world.events.iter().any(connected).then_some(()));
    let id = world.ask(&asking("GET", "/"), Content::None);
    let (exchange, request) = world.request();
    assert!(!request.early);
    world.reply(exchange, whole(200, ""));
    world.answer(id);
}

#[test]
fn what_has_left_is_waited_for_and_our_own_stream_is_not() {
    let mut world = World::new(|_| {});
    assert_eq!(world.pair.server.unacknowledged(), 0);
    let (id, exchange) = world.get("/");
    assert_eq!(world.pair.server.unacknowledged(), 1);
    world.reply(exchange, whole(200, "hello"));
    world.answer(id);
    world.until(|world| (world.pair.server.unacknowledged() == 0).then_some(()));
}
