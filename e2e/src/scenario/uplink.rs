//! The lines between the boxes and the operator: every connection of an agent goes through here, can be counted and can be cut.
//!
//! A cut line is silent, as a cut cable is: nothing arrives, nobody is told. Connections that were open wait; new ones are taken
//! and lead nowhere. When the line is back, what waited goes on ([`Reconnect::Resume`]), or is torn down as a router without memory
//! does ([`Reconnect::Reset`]).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::failure::ScenarioError;
use super::meter::{Meter, Records};
use super::owner::owner;
use crate::cluster::free_loopback_port;

/// Between the start of an agent and our knowing its pid.
const OWNER_DEADLINE: Duration = Duration::from_secs(3);
const OWNER_POLL: Duration = Duration::from_millis(10);
/// The operator listens on this machine, or it does not.
const DIAL_DEADLINE: Duration = Duration::from_secs(2);
/// After an accept that failed, for want of file descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const PIECE: usize = 16 * 1024;

/// What becomes of connections that waited while their line was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// They go on where they stood, as over a cable that was plugged in again.
    Resume,
    /// They are torn down, as by a router that forgot them.
    Reset,
}

/// Where the two kinds of connections lead.
#[derive(Clone, Copy, Debug)]
pub struct Destinations {
    pub gateway: SocketAddr,
    pub https: SocketAddr,
}

/// The lines of all agents. They are gone when it is dropped.
pub struct UplinkProxy {
    state: Arc<State>,
    gateway: SocketAddr,
    https: SocketAddr,
    _tasks: JoinSet<()>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LineState {
    cut: bool,
    /// Rises when connections are torn down.
    torn: u64,
}

struct AgentLine {
    pid: u32,
    state: watch::Sender<LineState>,
    meter: Mutex<Meter>,
}

#[derive(Default)]
struct State {
    lines: Mutex<BTreeMap<String, Arc<AgentLine>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gateway,
    Https,
}

impl UplinkProxy {
    /// Listens on two free ports of loopback.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(destinations: Destinations) -> Result<Self, ScenarioError> {
        let state = Arc::new(State::default());
        let mut tasks = JoinSet::new();
        let mut ports = Vec::new();
        for (kind, target) in [(Kind::Gateway, destinations.gateway), (Kind::Https, destinations.https)] {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_loopback_port()?));
            let listener =
                TcpListener::bind(address).await.map_err(ScenarioError::file(format!("listening on {address}")))?;
            ports.push(address);
            tasks.spawn(accept(listener, kind, target, Arc::clone(&state)));
        }
        let [gateway, https] = *ports else { return Err(ScenarioError::shape("the uplink", "two listeners")) };
        Ok(Self { state, gateway, https, _tasks: tasks })
    }

    /// Where agents find the gateway.
    #[must_use]
    pub fn gateway(&self) -> SocketAddr {
        self.gateway
    }

    /// Where agents find enrolment and artifacts.
    #[must_use]
    pub fn https(&self) -> SocketAddr {
        self.https
    }

    /// Connections of this process are that agent's. Said again after the agent was started anew.
    pub fn knows(&self, agent: &str, pid: u32) {
        let mut lines = self.state.lines.lock();
        let (state, meter) = match lines.get(agent) {
            Some(old) => (old.state.clone(), old.meter.lock().clone()),
            None => (watch::Sender::new(LineState::default()), Meter::default()),
        };
        lines.insert(agent.to_owned(), Arc::new(AgentLine { pid, state, meter: Mutex::new(meter) }));
    }

    /// From now on nothing passes between this agent and the operator, in both directions.
    pub fn cut(&self, agent: &str) {
        self.change(agent, |line| line.cut = true);
    }

    pub fn reconnect(&self, agent: &str, how: Reconnect) {
        self.change(agent, |line| {
            line.cut = false;
            line.torn += u64::from(how == Reconnect::Reset);
        });
    }

    /// What passed on this agent's line to the gateway.
    #[must_use]
    pub fn meter(&self, agent: &str) -> Meter {
        self.state.lines.lock().get(agent).map(|line| line.meter.lock().clone()).unwrap_or_default()
    }

    /// The same of every agent.
    #[must_use]
    pub fn meters(&self) -> BTreeMap<String, Meter> {
        self.state.lines.lock().iter().map(|(name, line)| (name.clone(), line.meter.lock().clone())).collect()
    }

    fn change(&self, agent: &str, change: impl FnOnce(&mut LineState)) {
        if let Some(line) = self.state.lines.lock().get(agent) {
            line.state.send_modify(change);
        }
    }
}

async fn accept(listener: TcpListener, kind: Kind, target: SocketAddr, state: Arc<State>) {
    let mut connections = JoinSet::new();
    let Ok(local) = listener.local_addr() else { return };
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let state = Arc::clone(&state);
                    connections.spawn(async move {
                        let line = state.line_of(peer, local, kind).await;
                        carry(stream, target, kind, line).await;
                    });
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

impl State {
    /// The line that a connection belongs to; none for a box that enrols, which is no agent yet.
    async fn line_of(&self, peer: SocketAddr, local: SocketAddr, kind: Kind) -> Option<Arc<AgentLine>> {
        let begun = Instant::now();
        loop {
            let lines = self.lines.lock().clone();
            if let Some(name) = owner(peer, local, lines.iter().map(|(name, line)| (name.as_str(), line.pid))) {
                return lines.get(name).cloned();
            }
            if kind == Kind::Https || begun.elapsed() > OWNER_DEADLINE {
                return None;
            }
            sleep(OWNER_POLL).await;
        }
    }
}

/// Carries one connection to its end.
async fn carry(stream: TcpStream, target: SocketAddr, kind: Kind, line: Option<Arc<AgentLine>>) {
    let Some(line) = line else {
        if let (Kind::Https, Ok(Ok(mut there)), mut stream) =
            (kind, timeout(DIAL_DEADLINE, TcpStream::connect(target)).await, stream)
        {
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut there).await;
        }
        return;
    };
    let mut state = line.state.subscribe();
    let torn = state.borrow().torn;
    // A connection that is made while the line is cut leads nowhere until the line is back.
    if state.wait_for(|now| !now.cut || now.torn != torn).await.map_or(true, |now| now.torn != torn) {
        return;
    }
    let Ok(Ok(there)) = timeout(DIAL_DEADLINE, TcpStream::connect(target)).await else { return };
    // Small messages must not wait for company: the agent's own socket does not either.
    let _ = (stream.set_nodelay(true), there.set_nodelay(true));
    let counted = (kind == Kind::Gateway).then(|| Arc::clone(&line));
    if let Some(line) = &counted {
        let mut meter = line.meter.lock();
        meter.sessions += 1;
        meter.open += 1;
        meter.since = Some(Instant::now());
    }
    let (from_agent, to_agent) = stream.into_split();
    let (from_operator, to_operator) = there.into_split();
    let up = pump(from_agent, to_operator, line.state.subscribe(), torn, |bytes, records| {
        if let Some(line) = &counted {
            let mut meter = line.meter.lock();
            meter.bytes_up += length(bytes);
            meter.messages_up += records.messages_in(bytes);
            meter.last_up = Some(Instant::now());
        }
    });
    let down = pump(from_operator, to_agent, line.state.subscribe(), torn, |bytes, _| {
        if let Some(line) = &counted {
            line.meter.lock().bytes_down += length(bytes);
        }
    });
    // When one side is done, both are: no protocol here half-closes.
    tokio::select! {
        () = up => {}
        () = down => {}
    }
    if let Some(line) = &counted {
        let mut meter = line.meter.lock();
        meter.open = meter.open.saturating_sub(1);
    }
}

/// Moves bytes one way until one side ends or the connection is torn down; stands still while the line is cut.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<LineState>,
    torn: u64,
    mut seen: impl FnMut(&[u8], &mut Records),
) {
    let (mut piece, mut records) = (vec![0; PIECE], Records::default());
    loop {
        let read = tokio::select! {
            biased;
            gone = state.wait_for(|now| now.cut || now.torn != torn) => {
                if gone.is_err() {
                    return;
                }
                None
            }
            read = from.read(&mut piece) => Some(read),
        };
        // Even what was read in the moment of the cut is held back until the line is there again.
        let through = state.wait_for(|now| !now.cut || now.torn != torn).await.is_ok_and(|now| now.torn == torn);
        if !through {
            return;
        }
        match read {
            None => {}
            Some(Ok(count)) if count > 0 => {
                let bytes = piece.get(..count).unwrap_or_default();
                if to.write_all(bytes).await.is_err() {
                    return;
                }
                seen(bytes, &mut records);
            }
            Some(_) => return,
        }
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An operator that sends back what it gets, and an uplink to it on which this process is the agent `a`.
    async fn echoing() -> (UplinkProxy, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let uplink = UplinkProxy::start(Destinations { gateway: address, https: address }).await.unwrap();
        uplink.knows("a", std::process::id());
        (uplink, tasks)
    }

    async fn answer(stream: &mut TcpStream, within: Duration) -> Option<u8> {
        timeout(within, stream.read_u8()).await.ok().and_then(Result::ok)
    }

    const SOON: Duration = Duration::from_secs(5);
    const SILENCE: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn cut_line_is_silent_and_goes_on_where_it_stood() {
        let (uplink, _echo) = echoing().await;
        let mut stream = TcpStream::connect(uplink.gateway()).await.unwrap();
        stream.write_all(&[1]).await.unwrap();
        assert_eq!(answer(&mut stream, SOON).await, Some(1));
        uplink.cut("a");
        stream.write_all(&[2]).await.unwrap();
        assert_eq!(answer(&mut stream, SILENCE).await, None);
        uplink.reconnect("a", Reconnect::Resume);
        assert_eq!(answer(&mut stream, SOON).await, Some(2));
        let meter = uplink.meter("a");
        assert_eq!((meter.sessions, meter.open, meter.bytes_up, meter.bytes_down), (1, 1, 2, 2));
    }

    #[tokio::test]
    async fn torn_line_ends_old_connections_and_takes_new_ones() {
        let (uplink, _echo) = echoing().await;
        let mut old = TcpStream::connect(uplink.gateway()).await.unwrap();
        old.write_all(&[1]).await.unwrap();
        assert_eq!(answer(&mut old, SOON).await, Some(1));
        uplink.cut("a");
        let mut during = TcpStream::connect(uplink.gateway()).await.unwrap();
        during.write_all(&[2]).await.unwrap();
        assert_eq!(answer(&mut during, SILENCE).await, None);
        uplink.reconnect("a", Reconnect::Reset);
        assert!(timeout(SOON, old.read_u8()).await.unwrap().is_err(), "the old connection has ended");
        let mut new = TcpStream::connect(uplink.gateway()).await.unwrap();
        new.write_all(&[3]).await.unwrap();
        assert_eq!(answer(&mut new, SOON).await, Some(3));
    }
}
