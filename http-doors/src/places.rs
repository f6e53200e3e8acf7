//! Who has a place: so many connections in all, so many of one address. A connection that becomes a WebSocket gives its
//! place among all back (WebSockets are counted on their own) and keeps that of its address until it ends.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What counts as one address: an IPv4 address, or the 64 bits of an IPv6 network that one customer is given.
pub fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        other => other,
    }
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All are taken: HTTP status 503.
    All,
    /// The address has all that one may have: 429.
    OfAddress,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// See the module.
#[derive(Debug)]
pub struct Places {
    most: usize,
    per_address: usize,
    // A std mutex: held for a few operations on a map, never across an await.
    taken: Mutex<Taken>,
}

impl Places {
    /// So many in all, so many of one address.
    pub fn new(most: usize, per_address: usize) -> Places {
        Places { most, per_address, taken: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection of `address`.
    ///
    /// # Errors
    /// Why there is none.
    pub fn take(this: &Arc<Places>, address: IpAddr) -> Result<Place, Full> {
        let address = group(address);
        let mut taken = this.lock();
        if taken.by_address.get(&address).is_some_and(|n| *n >= this.per_address) {
            return Err(Full::OfAddress);
        }
        if taken.all >= this.most {
            return Err(Full::All);
        }
        taken.all += 1;
        *taken.by_address.entry(address).or_default() += 1;
        Ok(Place(OfAll(Arc::clone(this)), OfAddress(Arc::clone(this), address)))
    }
}

/// Given back when it is dropped.
#[derive(Debug)]
pub struct Place(OfAll, OfAddress);

impl Place {
    /// That among all, and that of the address.
    pub fn split(self) -> (OfAll, OfAddress) {
        (self.0, self.1)
    }
}

/// A place among all.
#[derive(Debug)]
pub struct OfAll(Arc<Places>);

impl Drop for OfAll {
    fn drop(&mut self) {
        self.0.lock().all -= 1;
    }
}

/// A place of an address.
#[derive(Debug)]
pub struct OfAddress(Arc<Places>, IpAddr);

impl Drop for OfAddress {
    fn drop(&mut self) {
        let mut taken = self.0.lock();
        if let Some(n) = taken.by_address.get_mut(&self.1) {
            *n -= 1;
            if *n == 0 {
                taken.by_address.remove(&self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_address_takes_its_share_and_never_the_places_of_others() {
        let places = Arc::new(Places::new(4, 2));
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let one: Vec<Place> = (0..2).map(|_| Places::take(&places, ip("127.0.0.1")).unwrap()).collect();
        assert_eq!(Places::take(&places, ip("::ffff:127.0.0.1")).unwrap_err(), Full::OfAddress);
        // Addresses of one IPv6 network are one.
        let two: Vec<Place> = ["2001:db8::1", "2001:db8::ffff:2"].map(|a| Places::take(&places, ip(a)).unwrap()).into();
        assert_eq!(Places::take(&places, ip("2001:db8::3")).unwrap_err(), Full::OfAddress);
        assert_eq!(Places::take(&places, ip("2001:db8:0:1::3")).unwrap_err(), Full::All);
        drop(one);
        // A WebSocket gives one back and keeps the other.
        let (all, of_address) = Places::take(&places, ip("127.0.0.1")).unwrap().split();
        drop(all);
        let taken = || {
            let taken = places.lock();
            (taken.all, taken.by_address.len())
        };
        assert_eq!(taken(), (2, 2));
        drop((of_address, two));
        assert_eq!(taken(), (0, 0));
    }
}
