//! The benchmark's service: a string and a nested struct of about 1 KiB come back as they went.
#![allow(unused_imports, reason = "the service macro imports what it may not need")]
#![allow(dead_code, reason = "the service macro defines what is not used here")]

use jetstream::prelude::*;

#[derive(Debug, Clone, PartialEq, JetStreamWireFormat)]
pub struct Address {
    pub street: String,
    pub city: String,
    pub postcode: String,
    pub country: String,
}

#[derive(Debug, Clone, PartialEq, JetStreamWireFormat)]
pub struct Line {
    pub sku: String,
    pub title: String,
    pub quantity: u32,
    pub price: f64,
    pub tags: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, JetStreamWireFormat)]
pub struct Order {
    pub number: u64,
    pub customer: String,
    pub note: Option<String>,
    pub ship_to: Address,
    pub lines: Vec<Line>,
}

#[service(uses(super::Order))]
pub trait Echo {
    async fn ping(&self) -> Result<()>;
    async fn echo(&self, message: String) -> Result<String>;
    async fn order(&self, order: Order) -> Result<Order>;
}

#[derive(Debug, Clone)]
pub struct EchoImpl;

impl Echo for EchoImpl {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }

    async fn echo(&self, message: String) -> Result<String> {
        Ok(message)
    }

    async fn order(&self, order: Order) -> Result<Order> {
        Ok(order)
    }
}

/// The same order as in `order.py`.
pub fn sample_order() -> Order {
    let line = |i: u32| Line {
        sku: format!("SKU-{i:04}"),
        title: format!("Widget number {i} in blue, boxed"),
        quantity: i + 1,
        price: 9.75 + f64::from(i),
        tags: vec!["fragile".into(), "gift".into()],
    };
    Order {
        number: 1_234_567_890,
        customer: "Ada Lovelace".into(),
        note: Some("Please ring twice".into()),
        ship_to: Address {
            street: "12 St James's Square".into(),
            city: "London".into(),
            postcode: "SW1Y 4JH".into(),
            country: "United Kingdom".into(),
        },
        lines: (0..13).map(line).collect(),
    }
}
