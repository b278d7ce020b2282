//! The Rust crate `jetstream` 15.1.0 as the other side of the interoperation tests.
//!
//! The same program as `../rust15`, but for versions: this crate has no frame for them.

#[path = "../../rust15/src/call.rs"]
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
#[path = "../../rust15/src/serve.rs"]
mod serve;
#[path = "../../rust16/src/values.rs"]
mod values;

/// What this crate cannot say.
mod versions {
    use quinn::Connection;

    use crate::report::Report;

    pub async fn all(_: &mut Report, _: &Connection) {}
}

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    command::run("rust15_1").await
}
