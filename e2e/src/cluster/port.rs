//! Free ports on loopback.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};

use thiserror::Error;

/// Below the ports of well-known development servers there is too little room.
const LOWEST: u16 = 10_000;
/// Where the system does not say from where on it gives ports to outgoing connections.
const EPHEMERAL: u16 = 32_768;
const ATTEMPTS: usize = 64;

#[derive(Debug, Error)]
#[error("no free port on 127.0.0.1 between {lowest} and {highest} after {ATTEMPTS} tries: end what listens there")]
pub struct PortError {
    lowest: u16,
    highest: u16,
}

/// A port on 127.0.0.1 that nobody listens on, below those that the system gives to outgoing connections: a server that is
/// stopped and started again would otherwise find its port taken by some client's connection.
///
/// # Errors
/// All are taken.
pub fn free_loopback_port() -> Result<u16, PortError> {
    let highest = first_ephemeral().max(LOWEST + 1);
    let span = u64::from(highest - LOWEST);
    for attempt in 0..ATTEMPTS {
        // The hasher's keys are random: two processes that start at once try other ports.
        let offset = RandomState::new().hash_one(attempt) % span;
        let port = u16::try_from(offset).map_or(LOWEST, |offset| LOWEST + offset);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(PortError { lowest: LOWEST, highest })
}

fn first_ephemeral() -> u16 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .filter(|first| *first > LOWEST)
        .unwrap_or(EPHEMERAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_port_can_be_bound() {
        let port = free_loopback_port().unwrap();
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}
