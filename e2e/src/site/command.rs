//! The command line of `kalong-site`: run a simulated site, or write its manifests.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use std::{fs, io, thread};

use clap::{Args, Parser, Subcommand, ValueEnum};
use thiserror::Error;

use super::image::{self, Behaviour};
use super::manifests::{DEFAULT_ARTIFACTS, DEFAULT_NETWORK, Manifest, ManifestError, Render, manifests};
use super::plan::SitePlan;
use super::preset::{self, Counts};
use super::simulator::{self, DeviceTiming, Simulation, SimulationError};

#[derive(Parser)]
#[command(name = "kalong-site", about = "A simulated border gate whose devices speak their real protocols")]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lets every device of a site listen on loopback, until Ctrl-C.
    Run(Run),
    /// Writes the manifests of a site.
    Manifests(Write),
    /// Writes an image that a simulated device can run, or cannot.
    Image(Image),
}

#[derive(Args)]
struct Which {
    /// One of the presets.
    #[arg(long, value_enum, default_value = "l1")]
    preset: Preset,
    /// A JSON file with other counts than the presets'.
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    counts: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Preset {
    /// A small gate: 44 devices.
    L0,
    /// Mong Cai in phase 1: 311 devices.
    L1,
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    which: Which,
    /// Second number of the devices' addresses, 127.<NETWORK>.<agent>.<n>.
    #[arg(long, default_value_t = DEFAULT_NETWORK)]
    network: u8,
    /// Where the control port listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// Serial numbers and boot counts follow from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long a device is away when it starts, in milliseconds.
    #[arg(long, default_value_t = 800)]
    boot_millis: u64,
    /// End when standard input is closed, so that the site ends with whoever started it.
    #[arg(long)]
    attached: bool,
}

#[derive(Args)]
struct Write {
    #[command(flatten)]
    which: Which,
    /// Second number of the devices' addresses.
    #[arg(long, default_value_t = DEFAULT_NETWORK)]
    network: u8,
    /// Address of the server that has the images.
    #[arg(long, default_value = DEFAULT_ARTIFACTS)]
    artifacts: String,
    /// The folder to write to; files in it that are not of the site stay, except `*.yaml`, which are replaced.
    #[arg(long)]
    out: PathBuf,
    /// Write nothing and fail if the folder is not what would be written.
    #[arg(long)]
    check: bool,
}

#[derive(Args)]
struct Image {
    /// Name of the model that it is for.
    #[arg(long)]
    model: String,
    /// Its version.
    #[arg(long)]
    version: String,
    /// What is wrong with it, for example fails-selftest; may be given several times.
    #[arg(long = "behaviour", value_parser = image::behaviour)]
    behaviour: Vec<Behaviour>,
    /// Its length in bytes.
    #[arg(long, default_value_t = 300 * 1024)]
    size: usize,
    /// The file to write.
    #[arg(long)]
    out: PathBuf,
}

impl Image {
    fn go(self) -> Result<(), CommandError> {
        let image = image::build(&self.model, &self.version, &self.behaviour, self.size);
        fs::write(&self.out, image).map_err(|source| CommandError::File { path: self.out, source })
    }
}

/// Why the command did not succeed.
#[derive(Debug, Error)]
pub enum CommandError {
    /// The manifests.
    #[error(transparent)]
    Manifests(#[from] ManifestError),
    /// The simulation.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    /// A file or folder.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The counts.
    #[error("{path} is no file of counts: {source}")]
    Counts {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The ready line.
    #[error("the ready line could not be written: {0}")]
    Ready(#[source] serde_json::Error),
    /// The folder is not current.
    #[error("{} not current: {}. Run the same command without --check", folder.display(), files.join(", "))]
    Stale {
        /// Which folder.
        folder: PathBuf,
        /// Files that differ, are missing, or are too many.
        files: Vec<String>,
    },
}

impl CommandError {
    /// The word for logs.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Manifests(e) => e.category(),
            Self::Simulation(e) => e.category(),
            Self::File { .. } => "file",
            Self::Counts { .. } => "counts",
            Self::Ready(_) => "ready",
            Self::Stale { .. } => "stale",
        }
    }
}

/// The program `kalong-site`.
pub fn main() -> ExitCode {
    let done = match Line::parse().command {
        Command::Run(run) => run.go(),
        Command::Manifests(write) => write.go(),
        Command::Image(image) => image.go(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kalong-site: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Which {
    fn plan(&self) -> Result<SitePlan, CommandError> {
        let Some(path) = &self.counts else {
            return Ok(match self.preset {
                Preset::L0 => preset::l0(),
                Preset::L1 => preset::l1(),
            });
        };
        let text = fs::read(path).map_err(|source| CommandError::File { path: path.clone(), source })?;
        let counts: Counts =
            serde_json::from_slice(&text).map_err(|source| CommandError::Counts { path: path.clone(), source })?;
        Ok(counts.plan())
    }
}

impl Run {
    fn go(self) -> Result<(), CommandError> {
        let simulation = Simulation {
            plan: self.which.plan()?,
            network: self.network,
            control: self.control,
            seed: self.seed,
            timing: DeviceTiming { boot: Duration::from_millis(self.boot_millis), ..DeviceTiming::default() },
        };
        if self.attached {
            thread::spawn(end_with_parent);
        }
        // One thread is enough for devices that mostly wait, and leaves the other core to those who are tested.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| CommandError::File { path: "the runtime".into(), source })?;
        runtime.block_on(async {
            let site = simulator::start(simulation).await?;
            println!("{}", serde_json::to_string(&site.ready).map_err(CommandError::Ready)?);
            tokio::select! {
                () = site.serve() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            Ok(())
        })
    }
}

/// The pipe from whoever started us is closed by the system when they end, however that comes.
fn end_with_parent() {
    let mut rest = Vec::new();
    let _ = io::stdin().read_to_end(&mut rest);
    std::process::exit(0);
}

impl Write {
    fn go(self) -> Result<(), CommandError> {
        let render = Render { network: self.network, artifacts: self.artifacts, namespace: None };
        let files = manifests(&self.which.plan()?, &render)?;
        let stale = differences(&self.out, &files)?;
        if self.check {
            return if stale.is_empty() {
                Ok(())
            } else {
                Err(CommandError::Stale { folder: self.out, files: stale.into_iter().map(|(name, _)| name).collect() })
            };
        }
        for (name, text) in stale {
            let path = self.out.join(name);
            let failed = |source| CommandError::File { path: path.clone(), source };
            match text {
                None => fs::remove_file(&path).map_err(failed)?,
                Some(text) => {
                    if let Some(folder) = path.parent() {
                        fs::create_dir_all(folder).map_err(failed)?;
                    }
                    fs::write(&path, text).map_err(failed)?;
                }
            }
        }
        Ok(())
    }
}

/// Files that are not as they should be, with the text that they should have; none where they should not be at all.
fn differences(folder: &Path, files: &[Manifest]) -> Result<Vec<(String, Option<String>)>, CommandError> {
    let mut list = Vec::new();
    for file in files {
        if fs::read_to_string(folder.join(&file.path)).ok().as_deref() != Some(file.yaml.as_str()) {
            list.push((file.path.clone(), Some(file.yaml.clone())));
        }
    }
    for name in yaml_below(folder, folder)? {
        if files.iter().all(|f| f.path != name) {
            list.push((name, None));
        }
    }
    Ok(list)
}

fn yaml_below(root: &Path, folder: &Path) -> Result<Vec<String>, CommandError> {
    let failed = |source| CommandError::File { path: folder.to_owned(), source };
    let mut names = Vec::new();
    if !folder.exists() {
        return Ok(names);
    }
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            names.extend(yaml_below(root, &path)?);
        } else if path.extension().is_some_and(|e| e == "yaml")
            && let Ok(name) = path.strip_prefix(root)
        {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
