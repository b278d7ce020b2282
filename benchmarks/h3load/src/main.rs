//! Load over HTTP/3 for the benchmark, on quinn and h3, in one thread.
//!
//! `h3load ADDRESS CERTIFICATES PATH LENGTH CONNECTIONS STREAMS SECONDS [BODY]` makes the
//! connections, eight at a time, keeps so many requests in flight on each, and speaks the lines that
//! `benchmarks/peers/load.py` describes. Every answer must be 200 and have a body of LENGTH bytes.
//! With BODY, a file, the requests are POST with JSON.

mod load;

use std::{net::SocketAddr, path::Path, process::ExitCode, sync::Arc, time::Duration};

use bytes::Bytes;
use load::{Load, Times};
use rustls::{
    pki_types::{pem::PemObject, CertificateDer},
    RootCertStore,
};
use tokio::io::{AsyncBufReadExt, BufReader};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

const WARM_UP: Duration = Duration::from_millis(300);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("h3load: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), BoxError> {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return Err("another crypto provider is installed".into());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (words, body) = arguments.split_at(arguments.len().min(7));
    let [address, certificates, path, length, connections, streams, seconds] = words else {
        return Err("give ADDRESS CERTIFICATES PATH LENGTH CONNECTIONS STREAMS SECONDS".into());
    };
    let body = body.first().map(std::fs::read).transpose()?.map(Bytes::from);
    let endpoint = endpoint(Path::new(certificates))?;
    let load = Load::new(path, length.parse()?, body)?;
    let (connections, first_byte) =
        load.connect(&endpoint, address.parse()?, connections.parse()?).await?;
    let (streams, duration) = (streams.parse()?, Duration::try_from_secs_f64(seconds.parse()?)?);
    load.keep_up(&connections, streams, WARM_UP).await?;

    println!("{{\"ready\": true}}");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    lines.next_line().await?.ok_or("the harness went away")?;
    report(&mut load.keep_up(&connections, streams, duration).await?, first_byte);
    // Everything stays open until the harness has looked.
    while lines.next_line().await?.is_some() {}
    endpoint.close(0u32.into(), b"");
    Ok(())
}

fn report(times: &mut Times, first_byte: Duration) {
    println!(
        "{{\"count\": {}, \"seconds\": {}, \"p50\": {}, \"p99\": {}, \"first_byte\": {}}}",
        times.each.len(),
        times.elapsed.as_secs_f64(),
        times.percentile(50).as_secs_f64(),
        times.percentile(99).as_secs_f64(),
        first_byte.as_secs_f64(),
    );
}

/// A client that trusts the harness's authority.
fn endpoint(certificates: &Path) -> Result<quinn::Endpoint, BoxError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(certificates.join("ca.pem"))? {
        roots.add(certificate?)?;
    }
    let mut tls =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls)?;
    let mut endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    Ok(endpoint)
}
