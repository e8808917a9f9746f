//! The simulated site as a process of tests and the demo: started, asked, and ended with its [`SiteProcess`].

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{env, io, thread};

use thiserror::Error;

use super::client::ControlClient;
use super::preset::Preset;
use super::report::ReadyLine;

const BINARY: &str = "kalong-site";
/// All sockets are bound in well under a second; a machine that compiles beside it is slower.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// Tests take one of these networks; the demo's is not among them.
const FIRST_TEST_NETWORK: u8 = 100;
const TEST_NETWORKS: u8 = 100;
/// As much of the last words as is shown.
const LAST_WORDS: u64 = 4096;

#[derive(Clone, Debug)]
pub struct SiteOptions {
    pub preset: Preset,
    /// Second number of the devices' loopback addresses; two sites at once need two.
    pub network: u8,
    /// How long a device is away when it starts, where it is not as long as the facts say.
    pub boot: Option<Duration>,
    /// The program, where it is not beside ours.
    pub binary: Option<PathBuf>,
}

impl Default for SiteOptions {
    fn default() -> Self {
        Self { preset: Preset::default(), network: FIRST_TEST_NETWORK, boot: None, binary: None }
    }
}

/// Why there is no site.
#[derive(Debug, Error)]
pub enum SiteError {
    /// Its binary is not beside ours.
    #[error("{BINARY} is not beside {0}: run `cargo build -p kalong-e2e --bins` first")]
    Missing(PathBuf),
    /// It is there and does not start.
    #[error("starting {path} failed: {source}")]
    Start { path: PathBuf, source: io::Error },
    /// It ended before everything listened.
    #[error("the simulated site ended at once: {0}")]
    Ended(String),
    /// It did not say that it is ready.
    #[error("the simulated site was not ready within {} s", READY_WITHIN.as_secs())]
    Silent,
    #[error(
        "the simulated site said `{0}` instead of where its control port is; run `cargo build -p kalong-e2e --bins`"
    )]
    NotReady(String),
    /// The starting thread is gone.
    #[error("starting the simulated site was broken off")]
    Broken(#[from] tokio::task::JoinError),
}

/// A running site. Dropping it ends the process; the process also ends when ours does, however that comes.
#[derive(Debug)]
pub struct SiteProcess {
    child: Child,
    network: u8,
    ready: ReadyLine,
    control: ControlClient,
}

impl SiteProcess {
    /// Starts the process and waits until every device listens.
    ///
    /// # Errors
    /// See [`SiteError`].
    pub async fn start(options: SiteOptions) -> Result<Self, SiteError> {
        tokio::task::spawn_blocking(move || Self::start_blocking(&options)).await?
    }

    /// Starts it on a network of loopback addresses where nobody else listens: for tests, several of which run at once.
    ///
    /// # Errors
    /// See [`SiteError`].
    pub async fn start_on_free_network(mut options: SiteOptions) -> Result<Self, SiteError> {
        let first = u8::try_from(std::process::id() % u32::from(TEST_NETWORKS)).unwrap_or_default();
        for step in 0..TEST_NETWORKS {
            options.network = FIRST_TEST_NETWORK + (first + step) % TEST_NETWORKS;
            match Self::start(options.clone()).await {
                Err(SiteError::Ended(_)) => {}
                done => return done,
            }
        }
        Self::start(options).await
    }

    fn start_blocking(options: &SiteOptions) -> Result<Self, SiteError> {
        let path = match &options.binary {
            Some(path) => path.clone(),
            None => beside_ours()?,
        };
        let mut command = Command::new(&path);
        let control = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        command
            .args(["run", "--preset", options.preset.name(), "--attached"])
            .args(["--network", &options.network.to_string(), "--control", &control.to_string()])
            .args(options.boot.map(|boot| format!("--boot-millis={}", boot.as_millis())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().map_err(|source| SiteError::Start { path, source })?;
        // From here on the process ends with the guard, whatever goes wrong.
        let mut guard = EndsChild(Some(child));
        let ready = first_line(&mut guard)?;
        let ready: ReadyLine = serde_json::from_str(&ready).map_err(|_| SiteError::NotReady(ready.clone()))?;
        let address = ready.control.parse().map_err(|_| SiteError::NotReady(ready.control.clone()))?;
        let child = guard.0.take().ok_or(SiteError::Silent)?;
        Ok(Self { child, network: options.network, control: ControlClient::new(address), ready })
    }

    /// The client of its control port.
    pub fn control(&self) -> ControlClient {
        self.control
    }

    /// Second number of its devices' addresses.
    pub fn network(&self) -> u8 {
        self.network
    }

    /// Devices that listen, planned ones included.
    pub fn devices(&self) -> usize {
        self.ready.devices
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for SiteProcess {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

struct EndsChild(Option<Child>);

impl Drop for EndsChild {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            end(child);
        }
    }
}

fn end(child: &mut Child) {
    // It holds nothing that must be saved: killed and reaped, so that its addresses are free at once.
    let _ = child.kill();
    let _ = child.wait();
}

/// A test's binary lies in `deps`, one folder below the programs.
fn beside_ours() -> Result<PathBuf, SiteError> {
    let ours = env::current_exe().map_err(|source| SiteError::Start { path: BINARY.into(), source })?;
    let found = ours.ancestors().skip(1).take(2).map(|folder| folder.join(BINARY)).find(|path| path.is_file());
    found.ok_or(SiteError::Missing(ours))
}

fn first_line(guard: &mut EndsChild) -> Result<String, SiteError> {
    let child = guard.0.as_mut().ok_or(SiteError::Silent)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (say, hear) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let mut reader = stdout.map(BufReader::new);
        let read = reader.as_mut().map_or(Ok(0), |r| r.read_line(&mut line));
        let _ = say.send(if read.is_ok_and(|n| n > 0) { Some(line) } else { None });
    });
    let (complain, complaint) = mpsc::channel();
    // Reads on for the life of the process: a full pipe would stop it.
    thread::spawn(move || {
        let Some(mut stderr) = stderr else { return };
        let mut words = String::new();
        let _ = Read::by_ref(&mut stderr).take(LAST_WORDS).read_to_string(&mut words);
        let _ = complain.send(words);
        let _ = io::copy(&mut stderr, &mut io::sink());
    });
    match hear.recv_timeout(READY_WITHIN) {
        Ok(Some(line)) => Ok(line.trim().to_owned()),
        Ok(None) => Err(SiteError::Ended(complaint.recv_timeout(READY_WITHIN).unwrap_or_default().trim().to_owned())),
        Err(_) => Err(SiteError::Silent),
    }
}
