//! What was tried and how it went.

use std::{fmt::Debug, future::Future, time::Duration};

use serde_json::{Map, Value};

/// A step that takes longer hangs: the crate's client waits forever for a reply that never comes.
const STEP: Duration = Duration::from_secs(10);

/// The outcome of every case, in the order they ran.
#[derive(Default)]
pub struct Report {
    cases: Vec<(String, Result<(), String>)>,
}

impl Report {
    /// Awaits one step; an error of its own or no end in time is what went wrong.
    pub async fn step<E: ToString>(
        &mut self,
        case: impl Into<String>,
        step: impl Future<Output = Result<(), E>>,
    ) {
        self.long_step(case, STEP, step).await;
    }

    /// Awaits a step that may take longer than others.
    pub async fn long_step<E: ToString>(
        &mut self,
        case: impl Into<String>,
        limit: Duration,
        step: impl Future<Output = Result<(), E>>,
    ) {
        let outcome = match tokio::time::timeout(limit, step).await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no end within {limit:?}")),
        };
        self.cases.push((case.into(), outcome));
    }

    /// Awaits a call and compares its reply.
    pub async fn reply<T: Debug + PartialEq, E: ToString>(
        &mut self,
        case: impl Into<String>,
        call: impl Future<Output = Result<T, E>>,
        expected: T,
    ) {
        let compared = async {
            let reply = call.await.map_err(|error| error.to_string())?;
            same("reply", &reply, &expected)
        };
        self.step(case, compared).await;
    }

    pub fn all_ok(&self) -> bool {
        self.cases.iter().all(|(_, outcome)| outcome.is_ok())
    }

    pub fn to_json(&self) -> Value {
        let entry = |(case, outcome): &(String, Result<(), String>)| {
            let text = outcome.as_ref().err().map_or("ok", String::as_str);
            (case.clone(), Value::from(text))
        };
        Value::Object(self.cases.iter().map(entry).collect::<Map<_, _>>())
    }
}

/// An error that shows both sides, unless they are equal.
pub fn same<T: Debug + PartialEq>(what: &str, got: &T, expected: &T) -> Result<(), String> {
    if got == expected {
        return Ok(());
    }
    let short = |value: &T| format!("{value:?}").chars().take(200).collect::<String>();
    Err(format!("{what} is {}, not {}", short(got), short(expected)))
}
