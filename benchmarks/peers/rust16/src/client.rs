//! The client's side: load by the word of the harness, line by line on stdin and stdout.

use std::{
    net::SocketAddr,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use jetstream::prelude::Error;
use jetstream_quic::{Client, QuicTransport};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};

use crate::{
    endpoint::{BoxError, Certificates},
    service::{echo_protocol::EchoChannel, sample_order, Echo},
};

const WARM_UP: Duration = Duration::from_millis(300);

/// Connects again and again with one endpoint.
pub struct Connector {
    client: Client,
    address: SocketAddr,
}

/// A connection with a channel on it; the channel alone does not keep it open.
struct Session {
    connection: quinn::Connection,
    channel: EchoChannel,
}

impl Connector {
    pub fn new(address: SocketAddr, certificates: &Certificates<'_>) -> Result<Self, BoxError> {
        let client = Client::new_with_mtls(
            certificates.first("ca.pem")?,
            certificates.first("client.pem")?,
            certificates.key("client.key")?,
            vec![b"jetstream".to_vec()],
            SocketAddr::from(([0, 0, 0, 0], 0)),
        )?;
        Ok(Self { client, address })
    }

    async fn connect(&self) -> Result<Session, BoxError> {
        let connection = self.client.connect(self.address, "localhost").await?;
        let (send, recv) = connection.open_bi().await?;
        let transport: QuicTransport<EchoChannel> = (send, recv).into();
        let channel = EchoChannel::new(u16::MAX, Box::new(transport));
        channel.negotiate_version(u32::MAX).await?;
        channel.ping().await?;
        Ok(Session { connection, channel })
    }
}

/// The harness at the other end of stdin and stdout.
pub struct Harness {
    lines: Lines<BufReader<Stdin>>,
}

impl Harness {
    pub fn new() -> Self {
        Self { lines: BufReader::new(tokio::io::stdin()).lines() }
    }

    /// Says that the measurement may begin and waits for the word.
    async fn ready(&mut self) -> Result<(), BoxError> {
        println!("{{\"ready\": true}}");
        self.lines.next_line().await?.map(drop).ok_or_else(|| "the harness went away".into())
    }

    /// Reports, and holds everything open until the harness has looked.
    async fn done(&mut self, count: u64, elapsed: Duration) -> Result<(), BoxError> {
        println!("{{\"count\": {count}, \"seconds\": {}}}", elapsed.as_secs_f64());
        while self.lines.next_line().await?.is_some() {}
        Ok(())
    }
}

/// Keeps calls in flight on one channel: strings of `size` bytes, or orders.
pub async fn calls(
    connector: &Connector,
    harness: &mut Harness,
    method: &str,
    in_flight: usize,
    size: usize,
    duration: Duration,
) -> Result<(), BoxError> {
    let Session { connection, channel } = connector.connect().await?;
    let channel = Arc::new(channel);
    let orders = method == "order";
    load(&channel, in_flight, size, orders, WARM_UP).await?;
    harness.ready().await?;
    let started = Instant::now();
    let count = load(&channel, in_flight, size, orders, duration).await?;
    harness.done(count, started.elapsed()).await?;
    connection.close(0u32.into(), b"");
    Ok(())
}

async fn load(
    channel: &Arc<EchoChannel>,
    in_flight: usize,
    size: usize,
    orders: bool,
    duration: Duration,
) -> Result<u64, BoxError> {
    let running = Arc::new(AtomicBool::new(true));
    let workers = (0..in_flight).map(|_| {
        let (channel, running) = (channel.clone(), running.clone());
        tokio::spawn(async move {
            if orders {
                call_orders(&channel, &running).await
            } else {
                call_strings(&channel, &running, size).await
            }
        })
    });
    let workers: Vec<_> = workers.collect();
    tokio::time::sleep(duration).await;
    running.store(false, Ordering::Relaxed);
    let counts = try_join_all(workers).await?;
    counts.into_iter().try_fold(0, |sum, count| Ok(sum + count?))
}

async fn call_strings(
    channel: &EchoChannel,
    running: &AtomicBool,
    size: usize,
) -> Result<u64, Error> {
    let message = "x".repeat(size);
    let mut count = 0;
    while running.load(Ordering::Relaxed) {
        if channel.echo(message.clone()).await?.len() != size {
            return Err(Error::new("another string came back"));
        }
        count += 1;
    }
    Ok(count)
}

async fn call_orders(channel: &EchoChannel, running: &AtomicBool) -> Result<u64, Error> {
    let order = sample_order();
    let mut count = 0;
    while running.load(Ordering::Relaxed) {
        if channel.order(order.clone()).await?.lines.len() != order.lines.len() {
            return Err(Error::new("another order came back"));
        }
        count += 1;
    }
    Ok(count)
}

/// Connects, pings and closes, one after the other.
pub async fn connections(
    connector: &Connector,
    harness: &mut Harness,
    duration: Duration,
) -> Result<(), BoxError> {
    connector.connect().await?.connection.close(0u32.into(), b"");
    harness.ready().await?;
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < duration {
        connector.connect().await?.connection.close(0u32.into(), b"");
        count += 1;
    }
    harness.done(count, started.elapsed()).await
}

/// Opens so many connections and holds them.
pub async fn hold(
    connector: &Connector,
    harness: &mut Harness,
    count: u64,
) -> Result<(), BoxError> {
    let mut held = vec![connector.connect().await?];
    harness.ready().await?;
    let started = Instant::now();
    for _ in 0..count {
        held.push(connector.connect().await?);
    }
    harness.done(count, started.elapsed()).await?;
    drop(held);
    Ok(())
}
