//! Bodies of any size, both ways, and who waits for whom.

use super::*;

/// Where it is the server's window that an answer has to wait for, and not the client's.
fn narrow() -> World {
    World::with(|_| {}, |server| server.transport.send_window = 32 << 10)
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n / 11) as u8).collect()
}

#[test]
fn a_body_is_given_piece_by_piece_and_its_end_is_told() {
    let mut world = World::new(|_| {});
    let content = bytes(2_000_000);
    let id = world.ask(&asking("POST", "/"), Content::Follows);
    world.visitors[0].core.data(id, content.clone().into(), true).unwrap();
    let (exchange, request) = world.request();
    assert!(!request.ended);
    world.until(|world| world.body_ended(exchange).then_some(()));
    assert!(world.bodies[&exchange] == content);
    world.reply(exchange, whole(200, "thanks"));
    assert_eq!(world.answer(id).body, b"thanks");
}

#[test]
fn both_ways_stream_at_the_same_time() {
    let mut world = World::new(|_| {});
    let id = world.ask(&asking("POST", "/"), Content::Follows);
    let (exchange, _) = world.request();
    world.reply(exchange, begins(200, &[]));
    let mut echoed = 0;
    for round in 1..=20 {
        world.visitors[0].core.data(id, bytes(10_000).into(), round == 20).unwrap();
        world.until(|world| {
            let got = world.bodies.get(&exchange).map_or(0, Vec::len);
            if got > echoed {
                let piece = world.bodies[&exchange][echoed..].to_vec();
                echoed = got;
                world.reply(exchange, body(piece, got == 200_000));
            }
            let back = world.visitors[0].answers.get(&id).map_or(0, |answer| answer.body.len());
            (back == round * 10_000).then_some(())
        });
    }
    assert!(world.answer(id).body == bytes(10_000).repeat(20));
    assert!(world.body_ended(exchange));
}

#[test]
fn a_body_that_nobody_wants_holds_its_client_up() {
    let mut world = World::new(|_| {});
    world.greedy = false;
    let id = world.ask(&asking("POST", "/"), Content::Follows);
    world.visitors[0].core.data(id, bytes(2_000_000).into(), true).unwrap();
    let (exchange, _) = world.request();
    world.rest();
    let first = world.bodies[&exchange].len();
    assert!((1..=64 << 10).contains(&first), "one piece, unasked: {first}");
    let waiting = world.visitors[0].sending[&id].0.iter().map(Bytes::len).sum::<usize>();
    assert!(waiting > 1_800_000, "held by flow control: {waiting}");
    // One piece each time.
    for _ in 0..5 {
        let before = world.bodies[&exchange].len();
        world.pair.server.http_want_body(exchange);
        world.rest();
        let piece = world.bodies[&exchange].len() - before;
        assert!((1..=64 << 10).contains(&piece), "{piece}");
    }
    // An answer that does not wait for the rest is one.
    world.reply(exchange, whole(413, "enough"));
    world.until(|world| {
        let answer = world.visitors[0].answers.get(&id)?;
        (answer.ended && answer.stopped == Some(Code::NO_ERROR)).then_some(())
    });
    assert_eq!(world.answer(id).body, b"enough");
}

#[test]
fn a_client_that_waits_to_be_told_is_told_when_its_body_is_wanted() {
    let mut world = World::new(|_| {});
    world.greedy = false;
    let head = head(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/"),
        ("expect", "100-continue"),
    ]);
    let id = world.ask(&head, Content::Follows);
    let (exchange, _) = world.request();
    world.rest();
    assert!(!world.visitors[0].answers.contains_key(&id));
    world.pair.server.http_want_body(exchange);
    world.until(|world| {
        let answer = world.visitors[0].answers.get(&id)?;
        (answer.interim == [100]).then_some(())
    });
    world.visitors[0].core.data(id, "body".into(), true).unwrap();
    world.until(|world| world.body_ended(exchange).then_some(()));
    assert_eq!(world.bodies[&exchange], b"body");
    world.reply(exchange, whole(200, ""));
    assert_eq!(world.answer(id).status, Some(200));
}

#[test]
fn one_that_does_not_wait_is_not_read_before_its_body_is_wanted() {
    let mut world = World::new(|_| {});
    let head = head(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/"),
        ("expect", "100-continue"),
    ]);
    world.greedy = false;
    let id = world.ask(&head, Content::Whole("here".into()));
    let (exchange, _) = world.request();
    world.rest();
    assert!(!world.bodies.contains_key(&exchange) && !world.body_ended(exchange));
    world.pair.server.http_want_body(exchange);
    world.until(|world| world.body_ended(exchange).then_some(()));
    assert_eq!(world.bodies[&exchange], b"here");
    world.reply(exchange, whole(200, ""));
    world.answer(id);
}

#[test]
fn what_a_client_does_not_take_is_counted_and_its_drain_is_told() {
    let mut world = World::new(|_| {});
    let (id, exchange) = world.get("/");
    world.visitors[0].deaf.push(id);
    world.reply(exchange, begins(200, &[]));
    assert!(!world.pair.server.http_watch(exchange), "nothing is unsent");
    world.reply(exchange, body(bytes(1_000_000), false));
    world.rest();
    let unsent = world.pair.server.http_unsent(exchange);
    assert!((800_000..1_000_000).contains(&unsent), "{unsent}");
    assert!(world.pair.server.http_watch(exchange));
    let drained = |event: &HttpEvent| matches!(event, HttpEvent::Drained { .. });
    assert!(!world.saw(drained));
    world.visitors[0].deaf.clear();
    let World { visitors, pair, .. } = &mut world;
    visitors[0].read(id, &mut pair.client);
    world.until(|world| world.saw(drained).then_some(()));
    world.reply(exchange, body("", true));
    assert!(world.answer(id).body == bytes(1_000_000));
    assert_eq!(world.pair.server.http_unsent(exchange), 0);
}

#[test]
fn a_large_answer_does_not_keep_a_small_one_waiting() {
    let mut world = narrow();
    let (large, first) = world.get("/large");
    world.reply(first, begins(200, &[]));
    world.reply(first, body(bytes(20_000_000), true));
    // Until QUIC takes no more of it.
    world.until(|world| (!world.visitors[0].answers.get(&large)?.body.is_empty()).then_some(()));
    for _ in 0..5 {
        let (small, second) = world.get("/small");
        world.reply(second, whole(200, "hello"));
        assert_eq!(world.answer(small).body, b"hello");
    }
    let come = world.visitors[0].answers[&large].body.len();
    assert!(come < 15_000_000, "{come} bytes were before it");
    assert!(world.answer(large).body == bytes(20_000_000));
}

#[test]
fn two_large_answers_share_the_connection() {
    let mut world = narrow();
    let both = [world.get("/a"), world.get("/b")];
    for (_, exchange) in both {
        world.reply(exchange, begins(200, &[]));
        world.reply(exchange, body(bytes(4_000_000), true));
    }
    // When one is whole, most of the other has come as well.
    let least = world.until(|world| {
        let come = both.map(|(id, _)| world.visitors[0].answers.get(&id).map(|a| a.body.len()));
        let [Some(a), Some(b)] = come else { return None };
        (a.max(b) == 4_000_000).then_some(a.min(b))
    });
    assert!(least > 2_500_000, "{least}");
}

#[test]
fn answers_that_are_given_together_fill_the_window_together() {
    let mut world = World::new(|_| {});
    let remote = world.pair.server.io().local_addr().unwrap();
    let mut options = world.pair.visiting.clone();
    // What they wait for is the server's window, of 256 KiB.
    options.transport.stream_receive_window = 1 << 20;
    options.transport.receive_window = 4 << 20;
    let key = world.pair.client.connect(Instant::now(), remote, "localhost", options).unwrap();
    world.visitors.push(Visitor::new(key));
    world.until(|world| world.visitors[1].settings.as_ref().map(drop));
    let both = [0, 1].map(|_| {
        world.ask_of(1, &asking("GET", "/"), Content::None);
        world.request().0
    });
    for exchange in both {
        world.reply(exchange, begins(200, &[]));
        world.reply(exchange, body(bytes(1_000_000), true));
    }
    world.pair.server.transmit(Instant::now()).unwrap();
    let taken = both.map(|exchange| 1_000_000 - world.pair.server.http_unsent(exchange));
    assert!(taken.iter().all(|taken| *taken > 100_000), "{taken:?}");
}

#[test]
fn the_more_urgent_answer_comes_first() {
    let mut world = narrow();
    let urgent = |value| {
        head(&[
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", "/"),
            ("priority", value),
        ])
    };
    let mut asked = Vec::new();
    for value in ["u=6", "u=1"] {
        let id = world.ask(&urgent(value), Content::None);
        asked.push((id, world.request().0));
    }
    for (_, exchange) in &asked {
        world.reply(*exchange, begins(200, &[]));
        world.reply(*exchange, body(bytes(3_000_000), true));
    }
    let other = world.until(|world| {
        let come = |id: &u64| world.visitors[0].answers.get(id).map_or(0, |a| a.body.len());
        (come(&asked[1].0) == 3_000_000).then(|| come(&asked[0].0))
    });
    assert!(other < 1_000_000, "{other} bytes of the other");
    assert_eq!(world.answer(asked[0].0).body.len(), 3_000_000);
}

#[test]
fn a_client_may_change_its_mind_about_what_is_urgent() {
    let mut world = narrow();
    let both = [world.get("/a"), world.get("/b")];
    let urgent = Priority { urgency: 0, incremental: false };
    world.visitors[0].core.prioritise(both[1].0, urgent).unwrap();
    world.rest();
    for (_, exchange) in both {
        world.reply(exchange, begins(200, &[]));
        world.reply(exchange, body(bytes(3_000_000), true));
    }
    let other = world.until(|world| {
        let come = |id: u64| world.visitors[0].answers.get(&id).map_or(0, |a| a.body.len());
        (come(both[1].0) == 3_000_000).then(|| come(both[0].0))
    });
    assert!(other < 1_000_000, "{other} bytes of the other");
}
