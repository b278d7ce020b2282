//! The Rust crate `jetstream` 16.0.0 as a peer of the benchmark.
//!
//! `rust16-bench server CERTIFICATES` prints its address and serves until stdin closes; with `http`
//! for `server` it serves HTTP/3.
//! `rust16-bench client ADDRESS CERTIFICATES calls METHOD IN_FLIGHT SIZE SECONDS`, likewise
//! `connections SECONDS` and `hold COUNT`, speak the lines that `load.py` describes.

mod client;
#[path = "../../../../tests/interop/rust16/src/endpoint.rs"]
mod endpoint;
mod http;
mod service;

use std::{net::SocketAddr, path::Path, process::ExitCode, sync::Arc, time::Duration};

use client::{Connector, Harness};
use endpoint::{BoxError, Certificates};
use jetstream_quic::{QuicRouter, QuicRouterHandler};
use service::{echo_protocol, EchoImpl};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rust16-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), BoxError> {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return Err("another crypto provider is installed".into());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["server", directory] => serve(&certificates(directory)).await,
        ["http", directory] => http::serve(&certificates(directory)).await,
        ["client", address, directory, ref load @ ..] => {
            let connector = Connector::new(address.parse()?, &certificates(directory))?;
            drive(&connector, load).await
        }
        _ => Err("give server, http or client and its arguments".into()),
    }
}

fn certificates(directory: &str) -> Certificates<'_> {
    Certificates { directory: Path::new(directory) }
}

async fn drive(connector: &Connector, load: &[&str]) -> Result<(), BoxError> {
    let harness = &mut Harness::new();
    match *load {
        ["calls", method, in_flight, size, seconds] => {
            let (in_flight, size) = (in_flight.parse()?, size.parse()?);
            client::calls(connector, harness, method, in_flight, size, duration(seconds)?).await
        }
        ["connections", seconds] => {
            client::connections(connector, harness, duration(seconds)?).await
        }
        ["hold", count] => client::hold(connector, harness, count.parse()?).await,
        _ => Err("give calls, connections or hold and its arguments".into()),
    }
}

fn duration(seconds: &str) -> Result<Duration, BoxError> {
    Ok(Duration::try_from_secs_f64(seconds.parse()?)?)
}

async fn serve(certificates: &Certificates<'_>) -> Result<(), BoxError> {
    let services = jetstream_rpc::Router::new()
        .with_handler(echo_protocol::PROTOCOL_NAME, echo_protocol::EchoService { inner: EchoImpl });
    let mut router = QuicRouter::new();
    router.register(Arc::new(QuicRouterHandler::new(Arc::new(services))));
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let endpoint = certificates.listen(address, router.alpns())?;
    println!("{{\"address\": \"{}\"}}", endpoint.local_addr()?);
    endpoint::serve(&endpoint, |incoming| {
        let router = router.clone();
        async move { router.handle_incoming(incoming).await }
    })
    .await;
    Ok(())
}
