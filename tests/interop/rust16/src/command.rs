//! The command line: `serve` and `call`, and what a server says of itself.
//!
//! The program on 15.2.0 uses this file too.

use std::{net::SocketAddr, path::Path, process::ExitCode};

use serde_json::json;

use crate::{
    call,
    endpoint::{BoxError, Certificates},
    serve,
    values::{echo_protocol, values_protocol},
};

/// Runs the program of that name with the process's arguments.
pub async fn run(program: &str) -> ExitCode {
    match dispatch(program).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all went well.
async fn dispatch(program: &str) -> Result<bool, BoxError> {
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
        _ => Err(format!(
            "usage: {program} serve ADDRESS CERTIFICATES
       {program} call ADDRESS CERTIFICATES SERVER_NAME"
        )
        .into()),
    }
}

/// Prints one line of JSON: where the server listens, and the version strings of its services.
pub fn announce(address: SocketAddr) {
    let line = json!({
        "address": address.to_string(),
        "services": {
            "Values": values_protocol::PROTOCOL_VERSION,
            "Echo": echo_protocol::PROTOCOL_VERSION,
        },
    });
    println!("{line}");
}
