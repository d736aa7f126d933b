//! How much each client address takes: connections, requests at the same time, requests a second.
//!
//! The table is bounded. When it is full of clients that are active, further addresses share one place, so that a
//! stranger with many addresses takes from other new strangers and not from memory.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::bounds::Bounds;

/// Who counts as one client: an IPv4 address, or the /64 of an IPv6 address, since one host has all of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Address(IpAddr),
    Others,
}

impl Key {
    fn of(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        })
    }
}

/// A client's place. The rate is kept as one moment: when its bucket will be full again.
#[derive(Debug, Clone, Copy)]
struct Place {
    full_at: Instant,
    connections: usize,
    requests: usize,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Too many a second; seconds to wait.
    Rate(u32),
    /// Too many at the same time.
    Crowd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Connection,
    Request,
}

#[derive(Debug)]
struct Table {
    places: HashMap<Key, Place>,
    connections: usize,
}

/// All clients.
#[derive(Debug)]
pub(crate) struct Clients {
    table: Mutex<Table>,
    connections_max: usize,
    connections_each: usize,
    requests_each: usize,
    clients_max: usize,
    /// Between two requests in the long run.
    interval: Duration,
    /// How far ahead the bucket's moment may be.
    ahead: Duration,
}

/// A connection or request that is counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    clients: Arc<Clients>,
    key: Key,
    what: What,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut table = self.clients.table();
        if self.what == What::Connection {
            table.connections = table.connections.saturating_sub(1);
        }
        if let Some(place) = table.places.get_mut(&self.key) {
            match self.what {
                What::Connection => place.connections = place.connections.saturating_sub(1),
                What::Request => place.requests = place.requests.saturating_sub(1),
            }
        }
    }
}

impl Clients {
    pub(crate) fn new(bounds: &Bounds) -> Arc<Self> {
        let interval = Duration::from_secs(1) / bounds.rate_per_s.max(1);
        Arc::new(Self {
            table: Mutex::new(Table { places: HashMap::new(), connections: 0 }),
            connections_max: bounds.connections_max,
            connections_each: bounds.connections_per_client,
            requests_each: bounds.requests_per_client,
            clients_max: bounds.clients_max,
            interval,
            ahead: interval * bounds.rate_burst.max(1),
        })
    }

    /// Counts a connection, or refuses it.
    pub(crate) fn connect(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<Counted> {
        let mut table = self.table();
        if table.connections >= self.connections_max {
            return None;
        }
        let (key, place) = self.place(&mut table.places, address, now);
        if place.connections >= self.connections_each {
            return None;
        }
        place.connections += 1;
        table.connections += 1;
        Some(Counted { clients: Arc::clone(self), key, what: What::Connection })
    }

    /// Counts a request, or refuses it.
    pub(crate) fn request(self: &Arc<Self>, address: IpAddr, now: Instant) -> Result<Counted, Refused> {
        let mut table = self.table();
        let (key, place) = self.place(&mut table.places, address, now);
        if place.requests >= self.requests_each {
            return Err(Refused::Crowd);
        }
        let full_at = place.full_at.max(now) + self.interval;
        let beyond = full_at.duration_since(now).saturating_sub(self.ahead);
        if !beyond.is_zero() {
            let seconds = u32::try_from(beyond.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
            return Err(Refused::Rate(seconds));
        }
        place.full_at = full_at;
        place.requests += 1;
        Ok(Counted { clients: Arc::clone(self), key, what: What::Request })
    }

    fn place<'a>(&self, places: &'a mut HashMap<Key, Place>, address: IpAddr, now: Instant) -> (Key, &'a mut Place) {
        let mut key = Key::of(address);
        if !places.contains_key(&key) && places.len() >= self.clients_max {
            // Who has nothing open and a full bucket is as good as new.
            places.retain(|_, place| place.connections > 0 || place.requests > 0 || place.full_at > now);
            if places.len() >= self.clients_max {
                key = Key::Others;
            }
        }
        let place = places.entry(key).or_insert(Place { full_at: now, connections: 0, requests: 0 });
        (key, place)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing in here panics between two changes.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(bounds: Bounds) -> Arc<Clients> {
        Clients::new(&bounds)
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn a_burst_passes_then_the_rate_counts_and_says_how_long_to_wait() {
        let clients = clients(Bounds { rate_per_s: 2, rate_burst: 3, ..Bounds::default() });
        let start = Instant::now();
        for _ in 0..3 {
            assert!(clients.request(address(1), start).is_ok());
        }
        assert_eq!(clients.request(address(1), start).err(), Some(Refused::Rate(1)));
        assert!(clients.request(address(2), start).is_ok(), "another address has its own bucket");
        assert!(clients.request(address(1), start + Duration::from_millis(500)).is_ok());
        assert!(clients.request(address(1), start + Duration::from_millis(500)).is_err());
    }

    #[test]
    fn what_is_dropped_is_no_longer_counted() {
        let clients = clients(Bounds {
            requests_per_client: 1,
            connections_per_client: 1,
            connections_max: 1,
            ..Bounds::default()
        });
        let now = Instant::now();
        let held = clients.request(address(1), now).unwrap();
        assert_eq!(clients.request(address(1), now).err(), Some(Refused::Crowd));
        drop(held);
        assert!(clients.request(address(1), now).is_ok());
        let held = clients.connect(address(1), now).unwrap();
        assert!(clients.connect(address(2), now).is_none(), "the sum has a bound too");
        drop(held);
        assert!(clients.connect(address(2), now).is_some());
    }

    #[test]
    fn the_table_never_grows_beyond_its_bound() {
        let bounds = Bounds { clients_max: 4, rate_per_s: 1, rate_burst: 2, ..Bounds::default() };
        let clients = clients(bounds);
        let now = Instant::now();
        let passed = (0..100).filter(|last| clients.request(address(*last), now).is_ok()).count();
        assert_eq!(passed, 4 + 2, "four places, and one that the others share");
        assert_eq!(clients.table().places.len(), 5);
        assert!(clients.request(address(200), now + Duration::from_secs(10)).is_ok());
        assert_eq!(clients.table().places.len(), 1, "idle places are given away");
    }

    #[test]
    fn a_host_with_a_whole_ipv6_network_is_one_client() {
        let of = |text: &str| Key::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
