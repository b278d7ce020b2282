//! HTTP/3 without I/O: RFC 9114, with QPACK (RFC 9204) without a dynamic table, datagrams and
//! capsules (RFC 9297), extended CONNECT (RFC 9220) and priorities (RFC 9218), for either end.
//!
//! [`Connection`] is all of it: what the transport says goes in, [`Event`]s and [`Action`]s come out.
//! The layers under it stand on their own: integers in [`varint`], frames in [`frame`], field sections
//! in [`qpack`] and [`fields`], messages in [`head`]. Who is at fault is in the type of an error:
//! [`ConnectionError`] and [`StreamError`] are the peer's, [`Misuse`] is ours.

mod budget;
pub mod capsule;
mod code;
mod config;
mod connection;
mod control;
pub mod datagram;
mod event;
mod exchange;
pub mod fields;
pub mod frame;
pub mod head;
mod limits;
mod message;
mod priority;
pub mod qpack;
pub mod settings;
mod syntax;
#[cfg(test)]
mod tests;
pub mod varint;

pub use budget::Budget;
pub use code::{Code, ConnectionError, Fault, Misuse, StreamError};
pub use config::{Config, Role};
pub use connection::Connection;
pub use event::{Action, Event};
pub use fields::Fields;
pub use head::{RequestHead, ResponseHead};
pub use limits::Limits;
pub use message::Content;
pub use priority::Priority;
pub use settings::Settings;
