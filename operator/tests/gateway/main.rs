//! The gateway against clients of every temper, over loopback and real mTLS. Each test names what must hold.

#[cfg(test)]
mod connections;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod site;
#[cfg(test)]
mod uplink;
