//! Which process is at the other end of a loopback connection: how the uplink tells one agent from another, although all of them
//! dial the same address and what they say is encrypted.

use std::fs;
use std::net::SocketAddr;

/// The one of these processes that owns the socket bound to `peer` and connected to `local`.
pub(super) fn owner<'a>(
    peer: SocketAddr,
    local: SocketAddr,
    candidates: impl IntoIterator<Item = (&'a str, u32)>,
) -> Option<&'a str> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let (from, to) = (hex(peer)?, hex(local)?);
    let inode = table.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let connected = words.next() == Some(from.as_str()) && words.next() == Some(to.as_str());
        // After the two addresses: state, queues, timer, retransmits, user, timeout, inode.
        if connected { words.nth(6).map(str::to_owned) } else { None }
    })?;
    let socket = format!("socket:[{inode}]");
    candidates.into_iter().find(|(_, pid)| holds(*pid, &socket)).map(|(name, _)| name)
}

fn holds(pid: u32, socket: &str) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files
        .filter_map(Result::ok)
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|target| target.as_os_str() == socket)
}

/// As the kernel writes it: the address as a number of the machine's byte order, then the port.
fn hex(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    let number = u32::from_ne_bytes(address.ip().octets());
    Some(format!("{number:08X}:{:04X}", address.port()))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn connection_of_this_process_is_found_and_of_no_other() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let ours = TcpStream::connect(local).unwrap();
        let peer = ours.local_addr().unwrap();
        let me = std::process::id();
        assert_eq!(owner(peer, local, [("init", 1), ("us", me)]), Some("us"));
        assert_eq!(owner(peer, local, [("init", 1)]), None);
    }
}
