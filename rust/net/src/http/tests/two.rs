//! HTTP/2: what its connections carry. The client is h2's, over the same bytes.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request as Asked, StatusCode};

use super::*;
use crate::http::pipe::Pipe;

pub(super) struct Two {
    pub(super) client: Client,
    pipe: Pipe,
    pub(super) send: SendRequest<Bytes>,
    connection: Connection<Pipe, Bytes>,
    pub(super) over: Option<Result<(), h2::Error>>,
}

pub(super) fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

impl Two {
    pub(super) fn new(world: &mut World) -> Self {
        let client = match world.authority {
            Some(_) => Client::secure(world, &[b"h2", b"http/1.1"]),
            None => Client::plain(world),
        };
        let pipe = Pipe::default();
        pipe.prepare(&mut Vec::new(), usize::MAX);
        let mut begun = Box::pin(h2::client::Builder::new().handshake(pipe.clone()));
        let Poll::Ready(begun) = begun.as_mut().poll(&mut cx()) else { panic!() };
        let (send, connection) = begun.unwrap();
        let mut two = Self { client, pipe, send, connection, over: None };
        // Until the server has said what it speaks.
        world.until(|_| {
            two.pump();
            two.send.is_extended_connect_protocol_enabled().then_some(())
        });
        two
    }

    pub(super) fn pump(&mut self) {
        for _ in 0..4 {
            if self.over.is_none() {
                if let Poll::Ready(over) = Pin::new(&mut self.connection).poll(&mut cx()) {
                    self.over = Some(over);
                }
            }
            let written = self.pipe.take();
            self.client.send(written);
            let got = std::mem::take(&mut self.client.got);
            self.pipe.push(&got);
            if self.client.ended {
                self.pipe.end();
            }
        }
    }

    pub(super) fn ask(
        &mut self,
        request: http::request::Builder,
        end: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let asked = self.send.send_request(request.body(()).unwrap(), end).unwrap();
        self.pump();
        asked
    }

    pub(super) fn get(&mut self, path: &str) -> ResponseFuture {
        self.ask(Asked::get(format!("https://here{path}")), true).0
    }

    pub(super) fn post(&mut self) -> (ResponseFuture, SendStream<Bytes>) {
        self.ask(Asked::post("https://here/"), false)
    }
}

/// The next request of a client of HTTP/2.
pub(super) fn request_of(world: &mut World, two: &mut Two) -> (ExchangeKey, Box<Request>) {
    world.until(|world| {
        two.pump();
        world.next_request()
    })
}

/// An answer, its whole body and its trailers.
pub(super) type Whole = (http::response::Parts, Vec<u8>, Option<HeaderMap>);

pub(super) fn answer_of(
    world: &mut World,
    two: &mut Two,
    answer: &mut ResponseFuture,
) -> Result<Whole, h2::Error> {
    let (head, mut body) = head_of(world, two, answer)?;
    let mut whole = Vec::new();
    world
        .until(|_| {
            two.pump();
            loop {
                match body.poll_data(&mut cx()) {
                    Poll::Pending => return None,
                    Poll::Ready(None) => break,
                    Poll::Ready(Some(Err(error))) => return Some(Err(error)),
                    Poll::Ready(Some(Ok(data))) => {
                        body.flow_control().release_capacity(data.len()).unwrap();
                        whole.extend_from_slice(&data);
                    }
                }
            }
            match body.poll_trailers(&mut cx()) {
                Poll::Pending => None,
                Poll::Ready(trailers) => Some(trailers),
            }
        })
        .map(|trailers| (head, whole, trailers))
}

pub(super) fn head_of(
    world: &mut World,
    two: &mut Two,
    answer: &mut ResponseFuture,
) -> Result<(http::response::Parts, RecvStream), h2::Error> {
    let answered = world.until(|_| {
        two.pump();
        match Pin::new(&mut *answer).poll(&mut cx()) {
            Poll::Pending => None,
            Poll::Ready(answered) => Some(answered),
        }
    });
    answered.map(http::Response::into_parts)
}

#[test]
fn many_requests_are_in_progress_at_once() {
    for secure in [true, false] {
        let mut world = if secure { World::secure(|_| {}) } else { World::plain(|_| {}) };
        let mut two = Two::new(&mut world);
        let mut answers: Vec<_> = (0..50).map(|index| two.get(&format!("/{index}?q"))).collect();
        let mut asked: Vec<_> = (0..50).map(|_| request_of(&mut world, &mut two)).collect();
        assert_eq!(world.server.open_exchanges(), 50);
        let connection = world.connection().unwrap();
        assert_eq!(world.server.alpn(connection), secure.then(|| b"h2".to_vec()));
        asked.reverse();
        for (index, (exchange, request)) in asked.into_iter().enumerate() {
            assert_eq!(request.version, Version::Http2);
            assert_eq!(request.target, format!("/{}?q", 49 - index).into_bytes());
            assert_eq!(request.authority.as_deref(), Some(&b"here"[..]));
            assert_eq!((request.ended, request.secure, request.protocol), (true, secure, None));
            let body = Bytes::from(request.target);
            let fields = lines(&[("x-a", "b"), ("connection", "close")]);
            world.reply(exchange, Reply::Head { status: 200, fields, body, end: true });
        }
        for (index, answer) in answers.iter_mut().enumerate() {
            let (head, body, _) = answer_of(&mut world, &mut two, answer).unwrap();
            assert_eq!((head.status, head.headers.len()), (StatusCode::OK, 3), "{head:?}");
            assert!(
                head.headers.contains_key("date") && head.headers.contains_key("content-length")
            );
            assert_eq!(body, format!("/{index}?q").into_bytes());
        }
        assert_eq!(world.server.open_exchanges(), 0);
    }
}

#[test]
fn bodies_go_both_ways_and_hold_each_other_up() {
    let mut world = World::secure(|_| {});
    world.greedy = false;
    let mut two = Two::new(&mut world);
    let (mut answer, mut send) = two.post();
    let sent: Vec<u8> = (0..3_u32 << 20).map(|index| (index / 3) as u8).collect();
    let mut left = Bytes::from(sent.clone());
    let (exchange, request) = request_of(&mut world, &mut two);
    assert!(!request.ended);
    let give = |two: &mut Two, send: &mut SendStream<Bytes>, left: &mut Bytes| {
        send.reserve_capacity(left.len());
        while send.capacity() > 0 && !left.is_empty() {
            let part = left.split_to(send.capacity().min(left.len()));
            send.send_data(part, left.is_empty()).unwrap();
        }
        two.pump();
    };
    for _ in 0..100 {
        give(&mut two, &mut send, &mut left);
        world.turn();
    }
    // One piece was given, and one window waits.
    assert!(sent.len() - left.len() <= 2 * (64 << 10), "{}", sent.len() - left.len());
    world.greedy = true;
    world.server.http_want_body(exchange);
    world.until(|world| {
        give(&mut two, &mut send, &mut left);
        world.body_ended(exchange).then_some(())
    });
    let got = world.bodies.remove(&exchange).unwrap();
    assert_eq!(got, sent);
    // And back.
    world.reply(exchange, head(200, &[], "", false));
    world.reply(exchange, body(got, false));
    assert!(world.server.http_unsent(exchange) > 1 << 20);
    assert!(world.server.http_watch(exchange));
    let trailers = lines(&[("x-sum", "42"), ("content-length", "42")]);
    world.reply(exchange, Reply::Trailers { fields: trailers });
    let (_, body, trailers) = answer_of(&mut world, &mut two, &mut answer).unwrap();
    assert_eq!(body, sent);
    // How long it is is not for trailers to say (RFC 9110, section 6.5.1).
    let trailers = trailers.unwrap();
    assert_eq!((trailers.len(), trailers.get("x-sum").unwrap()), (1, &"42".parse().unwrap()));
    assert!(world.saw(|event| matches!(event, HttpEvent::Drained { .. })));
    assert!(world.answered(exchange));
}

#[test]
fn interim_answers_come_before_the_answer() {
    let mut world = World::secure(|_| {});
    let mut two = Two::new(&mut world);
    let request = Asked::post("https://here/").header("expect", "100-continue");
    let (mut answer, mut send) = two.ask(request, false);
    let (exchange, _) = request_of(&mut world, &mut two);
    world.rest();
    world.reply(exchange, Reply::Inform { status: 103, fields: lines(&[("link", "</a.css>")]) });
    world.server.http_want_body(exchange);
    let mut told = Vec::new();
    world.until(|_| {
        two.pump();
        while let Poll::Ready(Some(Ok(interim))) = answer.poll_informational(&mut cx()) {
            told.push(interim.status().as_u16());
        }
        (told == [103, 100]).then_some(())
    });
    send.send_data(Bytes::from_static(b"body"), true).unwrap();
    world.until(|world| {
        two.pump();
        world.body_ended(exchange).then_some(())
    });
    world.answer(exchange, 200, "done");
    let (head, body, _) = answer_of(&mut world, &mut two, &mut answer).unwrap();
    assert_eq!((head.status.as_u16(), &*body), (200, &b"done"[..]));
}

#[test]
fn answers_without_a_body_have_none() {
    let mut world = World::secure(|_| {});
    let mut two = Two::new(&mut world);
    for (method, status, end) in
        [("HEAD", 200, true), ("HEAD", 200, false), ("GET", 204, true), ("GET", 304, false)]
    {
        let request = Asked::builder().method(method).uri("https://here/");
        let (mut answer, _) = two.ask(request, true);
        let (exchange, _) = request_of(&mut world, &mut two);
        world.reply(exchange, head(status, &[], "four", end));
        if !end {
            world.rest();
            world.reply(exchange, body("more", true));
        }
        let (head, body, _) = answer_of(&mut world, &mut two, &mut answer).unwrap();
        assert_eq!((head.status.as_u16(), body.len()), (status, 0));
        world.until(|world| world.answered(exchange).then_some(()));
        let length = head.headers.get("content-length").map(|value| value.to_str().unwrap());
        assert_eq!(length, (method == "HEAD" && end).then_some("4"));
    }
    // What an answer to HEAD does not have says nothing of what one to GET would.
    let (mut answer, _) = two.ask(Asked::head("https://here/"), true);
    let (exchange, _) = request_of(&mut world, &mut two);
    world.answer(exchange, 200, "");
    let (head, ..) = answer_of(&mut world, &mut two, &mut answer).unwrap();
    assert!(!head.headers.contains_key("content-length"), "{head:?}");
}

#[test]
fn parts_of_files_are_sent() {
    let mut world = World::secure(|_| {});
    let mut two = Two::new(&mut world);
    let (file, content) = one::some_file();
    for whole in [true, false] {
        let mut answer = two.get("/");
        let (exchange, _) = request_of(&mut world, &mut two);
        world.reply(exchange, head(200, &[], "", false));
        let file = file.try_clone().unwrap();
        let (offset, length) = if whole { (1, (1 << 20) - 1) } else { (0, 2 << 20) };
        world.reply(exchange, Reply::File { file, offset, length });
        match answer_of(&mut world, &mut two, &mut answer) {
            Ok((_, body, _)) => assert!(whole && body == content[1..]),
            Err(error) => {
                assert!(!whole && error.reason() == Some(h2::Reason::INTERNAL_ERROR), "{error}");
                assert!(world.gone(exchange));
            }
        }
    }
}

#[test]
fn a_stream_becomes_a_tunnel() {
    let mut world = World::secure(|_| {});
    let mut two = Two::new(&mut world);
    let request =
        Asked::connect("https://here/chat").extension(h2::ext::Protocol::from_static("websocket"));
    let (mut answer, mut send) = two.ask(request, false);
    let (exchange, request) = request_of(&mut world, &mut two);
    assert_eq!(request.method, b"CONNECT");
    assert_eq!(request.protocol.as_deref(), Some(&b"websocket"[..]));
    assert_eq!(request.target, b"/chat");
    world.reply(exchange, Reply::Tunnel { fields: lines(&[("sec-websocket-protocol", "chat")]) });
    world.reply(exchange, body("to you", false));
    let (head, mut back) = head_of(&mut world, &mut two, &mut answer).unwrap();
    assert_eq!((head.status.as_u16(), head.headers.len()), (200, 2), "{head:?}");
    send.send_data(Bytes::from_static(b"to me"), false).unwrap();
    world.until(|world| {
        two.pump();
        (world.bodies.get(&exchange)? == b"to me").then_some(())
    });
    let got = world.until(|_| {
        two.pump();
        match back.poll_data(&mut cx()) {
            Poll::Pending => None,
            Poll::Ready(data) => data,
        }
    });
    assert_eq!(got.unwrap(), "to you");
    send.send_data(Bytes::new(), true).unwrap();
    world.until(|world| {
        two.pump();
        world.body_ended(exchange).then_some(())
    });
    world.reply(exchange, body("", true));
    world.until(|world| world.answered(exchange).then_some(()));
    // No tunnel leads to another place.
    let (mut answer, _) = two.ask(Asked::connect("example.org:443"), false);
    let (head, _) = head_of(&mut world, &mut two, &mut answer).unwrap();
    assert_eq!(head.status, StatusCode::NOT_IMPLEMENTED);
    assert!(world.next_request().is_none());
}

#[test]
fn a_request_that_is_given_up_is_gone() {
    let mut world = World::secure(|_| {});
    let mut two = Two::new(&mut world);
    for begun in [false, true] {
        let (answer, mut send) = two.post();
        let (exchange, _) = request_of(&mut world, &mut two);
        if begun {
            world.reply(exchange, head(200, &[], "half", false));
            world.rest();
        }
        send.send_reset(h2::Reason::CANCEL);
        world.until(|world| {
            two.pump();
            world.gone(exchange).then_some(())
        });
        world.answer(exchange, 200, "too late");
        world.server.http_release(exchange);
        drop(answer);
    }
    // And what the owner gives up, its peer is told of.
    let mut answer = two.get("/");
    let (exchange, _) = request_of(&mut world, &mut two);
    world.reply(exchange, Reply::Abort);
    let error = answer_of(&mut world, &mut two, &mut answer).unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));
    assert!(!world.gone(exchange));
    assert_eq!(world.server.open_exchanges(), 0);
    // With its connection, everything is gone.
    let _answer = two.get("/");
    let (exchange, _) = request_of(&mut world, &mut two);
    drop(two);
    world.until(|world| world.gone(exchange).then_some(()));
}

#[test]
fn connections_drain() {
    let mut world = World::secure(|_| {});
    let (mut idle, mut busy) = (Two::new(&mut world), Two::new(&mut world));
    let mut answer = busy.get("/");
    let (exchange, _) = request_of(&mut world, &mut busy);
    world.server.http_drain();
    world.until(|_| {
        idle.pump();
        idle.over.as_ref().map(|over| assert!(over.is_ok(), "{over:?}"))
    });
    assert!(busy.over.is_none());
    for _ in 0..20 {
        busy.pump();
        world.turn();
    }
    world.answer(exchange, 200, "last");
    let (_, body, _) = answer_of(&mut world, &mut busy, &mut answer).unwrap();
    assert_eq!(body, b"last");
    world.until(|world| {
        busy.pump();
        idle.pump();
        (busy.over.is_some() && world.server.open_connections() == 0).then_some(())
    });
}

#[test]
fn connections_without_a_request_end() {
    let mut world = World::secure(|limits| limits.idle_timeout = Duration::from_millis(30));
    let mut two = Two::new(&mut world);
    world.until(|_| {
        two.pump();
        two.over.as_ref().map(|over| assert!(over.is_ok(), "{over:?}"))
    });
    // Nor is it waited for one that does not say how it begins.
    let mut world = World::secure(|limits| limits.head_timeout = Duration::from_millis(30));
    let mut client = Client::secure(&world, &[b"h2"]);
    client.send(b"PRI * HT");
    world.read(&mut client, |_| false);
    assert!(client.ended);
}
