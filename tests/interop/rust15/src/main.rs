//! The Rust crate `jetstream` 15.2.0 as the other side of the interoperation tests.
//!
//! `rust15 serve ADDRESS CERTIFICATES` serves until its standard input closes.
//! `rust15 call ADDRESS CERTIFICATES SERVER_NAME` calls a server and reports as JSON.
//!
//! CERTIFICATES is a directory with ca.pem, server.pem, server.key, client.pem and client.key. What
//! does not depend on the crate's version is shared with `../rust16`.

mod call;
#[path = "../../rust16/src/cases.rs"]
mod cases;
#[path = "../../rust16/src/command.rs"]
mod command;
#[path = "../../rust16/src/endpoint.rs"]
mod endpoint;
#[path = "../../rust16/src/lane.rs"]
mod lane;
#[path = "../../rust16/src/report.rs"]
mod report;
mod serve;
#[path = "../../rust16/src/values.rs"]
mod values;
#[path = "../../rust16/src/version.rs"]
mod version;
mod versions;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    command::run("rust15").await
}
