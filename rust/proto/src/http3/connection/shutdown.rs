//! How a connection comes to its end with nothing lost (RFC 9114, section 5.2).

use super::Connection;
use crate::http3::code::Code;
use crate::http3::config::Role;
use crate::http3::event::Event;
use crate::http3::frame::kind;
use crate::http3::varint;

impl Connection {
    /// Asks the peer to begin nothing new, and still takes what is on its way. After a round trip or
    /// two, [`go_away`](Self::go_away).
    pub fn announce_going_away(&mut self) {
        // The largest that can be: of a request's stream, of a push.
        self.say_going(match self.role {
            Role::Server => varint::MAX - 3,
            Role::Client => varint::MAX,
        });
    }

    /// Takes nothing more: requests that have not come yet are rejected, and the peer knows that it
    /// may send them elsewhere. When [`open_requests`](Self::open_requests) is 0, the connection can
    /// be closed with [`Code::NO_ERROR`].
    pub fn go_away(&mut self) {
        self.say_going(match self.role {
            Role::Server => self.next_request,
            Role::Client => 0,
        });
    }

    /// Whether we have said that we go.
    pub fn is_going_away(&self) -> bool {
        self.going.is_some()
    }

    /// The identifiers only ever fall.
    fn say_going(&mut self, first: u64) {
        if self.closed.is_none() && self.going.is_none_or(|said| first < said) {
            self.going = Some(first);
            self.say_integer(kind::GOAWAY, first);
        }
    }

    pub(super) fn peer_goes_away(&mut self, id: u64) {
        self.peer_going = Some(id);
        if self.role == Role::Client {
            let mut streams: Vec<u64> = self.exchanges.keys().copied().collect();
            streams.retain(|stream| stream % 4 == 0 && *stream >= id);
            streams.sort_unstable();
            for stream in streams {
                self.break_off(stream, Code::REQUEST_CANCELLED);
                self.events.push_back(Event::Unprocessed { stream });
            }
        }
        self.events.push_back(Event::GoingAway { id });
    }
}
