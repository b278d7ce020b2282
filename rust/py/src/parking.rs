//! Requests that have come and cannot begin yet: as many handlers run as may, or the peer does not
//! take its answers. They begin in the order in which they came.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use jetstream_proto::ext::Head;

/// What a parked request costs beside its bytes.
const OVERHEAD: usize = 128;

/// A request that waits to begin.
pub(crate) struct Parked {
    /// Which method.
    pub(crate) index: u8,
    pub(crate) tag: u16,
    pub(crate) payload: Vec<u8>,
    pub(crate) head: Option<Box<Head>>,
    /// Microseconds from its arrival until its caller gives up.
    pub(crate) time_left: u64,
    pub(crate) arrived: Instant,
    /// What the caller has granted of the items meanwhile.
    pub(crate) credit: u32,
}

impl Parked {
    /// Memory that it takes, about.
    pub(crate) fn cost(&self) -> usize {
        let head = self.head.as_ref().map_or(0, |head| head.metadata.size());
        self.payload.len() + head + OVERHEAD
    }
}

/// The parked requests of one lane.
#[derive(Default)]
pub(crate) struct Parking {
    /// Those that were taken from the middle leave a hole.
    queue: VecDeque<Option<Parked>>,
    /// The number of the first in the queue; they are numbered as they come.
    first: u64,
    numbers: HashMap<u16, u64>,
    bytes: usize,
    /// The same of all lanes of the connection.
    total: Arc<AtomicUsize>,
}

impl Drop for Parking {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Parking {
    /// The parked requests of a lane that counts its bytes to those of others.
    pub(crate) fn counting(total: Arc<AtomicUsize>) -> Self {
        let mut made = Self::default();
        made.total = total;
        made
    }

    /// What all lanes of the connection would hold with this one, too.
    pub(crate) fn total_with(&self, parked: &Parked) -> usize {
        self.total.load(Ordering::Relaxed) + parked.cost()
    }

    pub(crate) fn push(&mut self, parked: Parked) {
        self.bytes += parked.cost();
        self.total.fetch_add(parked.cost(), Ordering::Relaxed);
        self.numbers.insert(parked.tag, self.first + self.queue.len() as u64);
        self.queue.push_back(Some(parked));
    }

    /// The first of them.
    pub(crate) fn first(&mut self) -> Option<&Parked> {
        while let Some(None) = self.queue.front() {
            self.queue.pop_front();
            self.first += 1;
        }
        self.queue.front()?.as_ref()
    }

    /// Takes the first of them out.
    pub(crate) fn pop(&mut self) -> Option<Parked> {
        self.first()?;
        let parked = self.queue.pop_front()??;
        self.first += 1;
        self.forget(&parked);
        Some(parked)
    }

    /// The one under this tag, which then does not begin.
    pub(crate) fn remove(&mut self, tag: u16) -> Option<Parked> {
        let parked = self.place(tag)?.take()?;
        self.forget(&parked);
        Some(parked)
    }

    pub(crate) fn get_mut(&mut self, tag: u16) -> Option<&mut Parked> {
        self.place(tag)?.as_mut()
    }

    fn place(&mut self, tag: u16) -> Option<&mut Option<Parked>> {
        let index = self.numbers.get(&tag)?.checked_sub(self.first)?;
        self.queue.get_mut(usize::try_from(index).ok()?)
    }

    fn forget(&mut self, parked: &Parked) {
        self.bytes -= parked.cost();
        self.total.fetch_sub(parked.cost(), Ordering::Relaxed);
        self.numbers.remove(&parked.tag);
        if self.numbers.is_empty() {
            // Only holes are left.
            self.first += self.queue.len() as u64;
            self.queue.clear();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Memory that they take, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes them all out.
    pub(crate) fn clear(&mut self) -> Vec<Parked> {
        self.numbers.clear();
        self.total.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
        self.first += self.queue.len() as u64;
        self.queue.drain(..).flatten().collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parked(tag: u16) -> Parked {
        Parked {
            index: 0,
            tag,
            payload: vec![0; 10],
            head: None,
            time_left: 0,
            arrived: Instant::now(),
            credit: 0,
        }
    }

    #[test]
    fn requests_begin_in_order_whatever_was_taken_from_among_them() {
        let mut parking = Parking::default();
        for tag in [5, 1, 4, 2] {
            parking.push(parked(tag));
        }
        assert_eq!(parking.remove(1).unwrap().tag, 1);
        assert!(parking.remove(1).is_none());
        assert_eq!(parking.first().unwrap().tag, 5);
        assert_eq!(parking.pop().unwrap().tag, 5);
        assert_eq!(parking.first().unwrap().tag, 4);
        parking.get_mut(2).unwrap().credit = 7;
        assert!(parking.get_mut(5).is_none());
        // A tag may come again once its request is over.
        parking.push(parked(5));
        let rest: Vec<_> =
            std::iter::from_fn(|| parking.pop()).map(|p| (p.tag, p.credit)).collect();
        assert_eq!(rest, [(4, 0), (2, 7), (5, 0)]);
        assert_eq!((parking.bytes, parking.is_empty()), (0, true));
    }

    #[test]
    fn holes_do_not_gather() {
        let mut parking = Parking::default();
        for round in 0..1000 {
            parking.push(parked(round));
            assert!(parking.remove(round).is_some());
            assert!(parking.queue.is_empty());
        }
        parking.push(parked(1));
        parking.push(parked(2));
        assert_eq!(parking.clear().len(), 2);
        assert_eq!((parking.bytes, parking.is_empty()), (0, true));
    }

    #[test]
    fn lanes_count_together() {
        let total = Arc::new(AtomicUsize::new(0));
        let of_all = || total.load(Ordering::Relaxed);
        let mut one = Parking::counting(total.clone());
        let mut other = Parking::counting(total.clone());
        let cost = parked(1).cost();
        one.push(parked(1));
        one.push(parked(2));
        other.push(parked(1));
        assert_eq!(other.total_with(&parked(2)), 4 * cost);
        assert_eq!(one.remove(1).unwrap().tag, 1);
        assert_eq!(of_all(), 2 * cost);
        assert_eq!(other.pop().unwrap().tag, 1);
        other.push(parked(3));
        drop(other);
        assert_eq!(of_all(), cost);
        one.clear();
        assert_eq!(of_all(), 0);
    }
}
