//! Requests, and how long each of them takes.

use std::{
    future::poll_fn,
    net::SocketAddr,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use futures::{
    future::try_join_all,
    stream::{self, StreamExt, TryStreamExt},
};
use h3_quinn::OpenStreams;
use http::{header::CONTENT_TYPE, Method, Request, StatusCode};

use crate::BoxError;

pub type Connection = h3::client::SendRequest<OpenStreams, Bytes>;

/// How many connections begin at once: of many more, hypercorn loses some.
const AT_ONCE: usize = 8;

/// The one request that is made again and again, and what must come back.
#[derive(Clone)]
pub struct Load {
    request: Request<()>,
    body: Option<Bytes>,
    length: usize,
}

/// What was done, and the time of each.
pub struct Times {
    pub each: Vec<Duration>,
    pub elapsed: Duration,
}

impl Times {
    pub fn percentile(&mut self, percent: usize) -> Duration {
        let place = self.each.len() * percent / 100;
        if place >= self.each.len() {
            return Duration::ZERO;
        }
        *self.each.select_nth_unstable(place).1
    }
}

impl Load {
    pub fn new(path: &str, length: usize, body: Option<Bytes>) -> Result<Self, BoxError> {
        let request = Request::builder().uri(format!("https://localhost{path}"));
        let request = match body {
            Some(_) => request.method(Method::POST).header(CONTENT_TYPE, "application/json"),
            None => request,
        };
        Ok(Self { request: request.body(())?, body, length })
    }

    /// Makes connections, a few at a time, with a request on each; the mean time from connecting to
    /// the first byte of a body.
    pub async fn connect(
        &self,
        endpoint: &quinn::Endpoint,
        address: SocketAddr,
        count: usize,
    ) -> Result<(Vec<Connection>, Duration), BoxError> {
        let visits = stream::iter(0..count).map(|_| async {
            let started = Instant::now();
            let quic = endpoint.connect(address, "localhost")?.await?;
            let (mut driver, mut connection) =
                h3::client::new(h3_quinn::Connection::new(quic)).await?;
            tokio::spawn(async move { poll_fn(|context| driver.poll_close(context)).await });
            let first_byte = self.ask(&mut connection).await?;
            Ok::<_, BoxError>((connection, first_byte - started))
        });
        let visits: Vec<_> = visits.buffered(AT_ONCE).try_collect().await?;
        let (connections, waits): (Vec<_>, Vec<_>) = visits.into_iter().unzip();
        let mean = waits.iter().sum::<Duration>().checked_div(waits.len().try_into()?);
        Ok((connections, mean.unwrap_or_default()))
    }

    /// Keeps so many requests in flight on each of the connections.
    pub async fn keep_up(
        &self,
        connections: &[Connection],
        streams: usize,
        duration: Duration,
    ) -> Result<Times, BoxError> {
        let started = Instant::now();
        let running = Arc::new(AtomicBool::new(true));
        let each = connections.iter().flat_map(|connection| vec![connection.clone(); streams]);
        let workers = each.map(|connection| self.clone().work(connection, running.clone()));
        let workers: Vec<_> = workers.map(tokio::spawn).collect();
        tokio::spawn(async move {
            tokio::time::sleep(duration).await;
            running.store(false, Ordering::Relaxed);
        });
        let times = try_join_all(workers).await?;
        let elapsed = started.elapsed();
        let times: Vec<Vec<Duration>> = times.into_iter().collect::<Result<_, _>>()?;
        Ok(Times { each: times.concat(), elapsed })
    }

    async fn work(
        self,
        mut connection: Connection,
        running: Arc<AtomicBool>,
    ) -> Result<Vec<Duration>, BoxError> {
        let mut times = Vec::new();
        while running.load(Ordering::Relaxed) {
            let started = Instant::now();
            self.ask(&mut connection).await?;
            times.push(started.elapsed());
        }
        Ok(times)
    }

    /// One request and the whole of its answer; when the first byte of the body came.
    async fn ask(&self, connection: &mut Connection) -> Result<Instant, BoxError> {
        let mut stream = connection.send_request(self.request.clone()).await?;
        if let Some(body) = &self.body {
            stream.send_data(body.clone()).await?;
        }
        stream.finish().await?;
        let answer = stream.recv_response().await?;
        let (mut first, mut length) = (None, 0);
        while let Some(part) = stream.recv_data().await? {
            first.get_or_insert_with(Instant::now);
            length += part.remaining();
        }
        match first {
            Some(first) if answer.status() == StatusCode::OK && length == self.length => Ok(first),
            _ => Err(format!("{} with {length} bytes came back", answer.status()).into()),
        }
    }
}
