//! The Rust crate `jetstream` 16.0.0 as the other side of the interoperation tests.
//!
//! `rust16 serve ADDRESS CERTIFICATES` serves until its standard input closes.
//! `rust16 call ADDRESS CERTIFICATES SERVER_NAME` calls a server and reports as JSON.
//!
//! CERTIFICATES is a directory with ca.pem, server.pem, server.key, client.pem and client.key.

mod call;
mod cases;
mod command;
mod endpoint;
mod lane;
mod report;
mod serve;
mod values;
mod version;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    command::run("rust16").await
}
