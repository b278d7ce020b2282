//! The congestion window, and the one packet that it must not hold back.
//!
//! A connection that is closed while its window is full would keep the word that says so to itself:
//! quinn-proto holds the close back like the data that is queued before it, and a closed connection
//! takes no acknowledgement that could open the window. RFC 9002, section 7, lets a sender exceed
//! the window for that. So closing lifts it.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig};

/// A window that neither congestion control nor pacing, which looks at 32 bits of it, holds back.
const OPEN: u64 = 1 << 32;

/// Lifts the window of one connection, for good.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lift(Arc<AtomicBool>);

impl Lift {
    pub(crate) fn open(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// CUBIC (RFC 9438), until it is lifted.
pub(crate) struct Liftable {
    pub(crate) cubic: Arc<CubicConfig>,
    pub(crate) lift: Lift,
}

impl ControllerFactory for Liftable {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let inner = self.cubic.clone().build(now, current_mtu);
        Box::new(Window { inner, lift: self.lift.clone() })
    }
}

struct Window {
    inner: Box<dyn Controller>,
    lift: Lift,
}

impl Controller for Window {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.inner.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.inner.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        if self.lift.0.load(Ordering::Relaxed) { OPEN } else { self.inner.window() }
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { inner: self.inner.clone_box(), lift: self.lift.clone() })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self.inner.into_any()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_connection_is_lifted() {
        let cubic = Arc::new(CubicConfig::default());
        let build = |lift: &Lift| {
            let factory = Liftable { cubic: cubic.clone(), lift: lift.clone() };
            Arc::new(factory).build(Instant::now(), 1200)
        };
        let (one, other) = (Lift::default(), Lift::default());
        let (lifted, usual) = (build(&one), build(&other));
        one.open();
        assert_eq!(lifted.window(), OPEN);
        assert_eq!(lifted.clone_box().window(), OPEN);
        assert_eq!(usual.window(), usual.initial_window());
    }
}
