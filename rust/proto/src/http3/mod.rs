//! HTTP/3 without I/O. So far the layers under a connection, each of which stands on its own: integers
//! in [`varint`], frames in [`frame`], field sections in [`qpack`] and [`fields`], messages in
//! [`head`].

mod budget;
pub mod capsule;
mod code;
pub mod datagram;
pub mod fields;
pub mod frame;
pub mod head;
mod limits;
mod priority;
pub mod qpack;
pub mod settings;
mod syntax;
#[cfg(test)]
mod tests;
pub mod varint;

pub use budget::Budget;
pub use code::{Code, ConnectionError, Fault, Misuse, StreamError};
pub use fields::Fields;
pub use head::{RequestHead, ResponseHead};
pub use limits::Limits;
pub use priority::Priority;
pub use settings::Settings;
