//! The Rust crate `jetstream` 16.0.0 as the other side of the interoperation tests.
//!
//! `rust16 serve ADDRESS CERTIFICATES` serves until its standard input closes.
//! `rust16 call ADDRESS CERTIFICATES SERVER_NAME` calls a server and reports as JSON.
//!
//! CERTIFICATES is a directory with ca.pem, server.pem, server.key, client.pem and client.key.

mod call;
mod endpoint;
mod lane;
mod report;
mod serve;
mod values;

use std::{path::Path, process::ExitCode};

use endpoint::{BoxError, Certificates};

const USAGE: &str = "usage: rust16 serve ADDRESS CERTIFICATES
       rust16 call ADDRESS CERTIFICATES SERVER_NAME";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("rust16: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all went well.
async fn run() -> Result<bool, BoxError> {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return Err("another crypto provider is installed".into());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", address, directory] => {
            let certificates = Certificates { directory: Path::new(directory) };
            serve::run(address.parse()?, certificates).await?;
            Ok(true)
        }
        ["call", address, directory, server_name] => {
            let certificates = Certificates { directory: Path::new(directory) };
            let report = call::run(address.parse()?, certificates, server_name).await?;
            println!("{}", report.to_json());
            Ok(report.all_ok())
        }
        _ => Err(USAGE.into()),
    }
}
