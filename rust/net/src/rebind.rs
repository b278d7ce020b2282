//! Moving to another local address, with all connections (RFC 9000, section 9).
//!
//! A client's packets then come from there; the server follows the newest one, and proves with a
//! challenge that we are there. What was on its way to the old address is read until something has
//! come to the new one; what is not is lost like any packet, and sent again.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use crate::endpoint::{Endpoint, RECEIVE_PER_TURN, segments_of};
use crate::socket::Socket;

impl Endpoint {
    /// Leaves the socket for one at `address`. Its owner watches the new one from now on.
    ///
    /// A connection whose handshake is not complete does not move (RFC 9000, section 9): its server
    /// goes on answering to where it began.
    ///
    /// # Errors
    /// The system's; nothing has changed then. And clients do not follow a server.
    pub fn rebind(&mut self, address: SocketAddr) -> io::Result<()> {
        if self.review.incoming.is_some() {
            let why = "a server cannot move: its clients would not know where to";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        let socket = Socket::bind(address)?;
        self.segments = segments_of(&socket);
        self.previous = Some(std::mem::replace(&mut self.socket, socket));
        for index in 0..self.connections.len() {
            let Some(Some(connection)) = self.connections.get_mut(index) else { continue };
            if !connection.is_over() {
                connection.quic.local_address_changed();
                self.activate(index as u32);
            }
        }
        Ok(())
    }

    /// Takes in what comes to the address that was left.
    pub(crate) fn receive_late(&mut self, now: Instant) {
        let Some(previous) = &mut self.previous else { return };
        let mut arrived = Vec::new();
        // If that socket is broken, it matters to nobody any more.
        while let Ok((_, full)) = previous.receive(|datagram| arrived.push(datagram)) {
            if !full || arrived.len() >= RECEIVE_PER_TURN {
                break;
            }
        }
        self.handle(arrived.into_iter(), now);
    }
}
