//! The command line of `kalong-site`: run a simulated site, and make firmware for it.

use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::{fs, io, thread};

use clap::{Args, Parser, Subcommand};
use thiserror::Error;

use super::facts::SimulatorFacts;
use super::gitops::{self, SiteObjects};
use super::image::{self, Behaviour};
use super::layout::{Layout, LayoutError};
use super::preset::{Preset, SiteSource};
use super::release::{ReleaseMakeError, ReleaseOf, release};
use super::scale::{TooLarge, multiplied};
use super::simulator::{self, Simulation, SimulationError};

#[derive(Parser)]
#[command(name = "kalong-site", about = "A simulated border gate whose devices speak their real protocols")]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lets every device of a site listen on loopback, until Ctrl-C.
    Run(RunArgs),
    /// Prints the objects of a site as a list for `kubectl apply -f -`.
    List(ListArgs),
    /// Prints a release that the demo's authors signed.
    Release(ReleaseArgs),
    /// Writes an image that a simulated device can run, or cannot.
    Image(ImageArgs),
}

#[derive(Args)]
struct SiteArgs {
    /// One of the example sites.
    #[arg(long, value_enum, default_value = "l1")]
    preset: Preset,
    /// The folder of another site's kustomization.
    #[arg(long, value_name = "DIR", requires = "facts", conflicts_with = "preset")]
    gitops: Option<PathBuf>,
    /// The facts of that site: see e2e/sites/README.md.
    #[arg(long, value_name = "FILE", requires = "gitops")]
    facts: Option<PathBuf>,
    /// Copies of the site, all told, for benchmarks.
    #[arg(long, default_value_t = 1)]
    times: usize,
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// Second number of the devices' addresses, 127.<NETWORK>.<agent>.<n>; that of the site's manifests by default.
    #[arg(long)]
    network: Option<u8>,
    /// Where the control port listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// Serial numbers and boot counts follow from it; the facts' own by default.
    #[arg(long)]
    seed: Option<u64>,
    /// How long a device is away when it starts, in milliseconds; the facts' own by default.
    #[arg(long)]
    boot_millis: Option<u64>,
    /// End when standard input is closed, so that the site ends with whoever started it.
    #[arg(long)]
    attached: bool,
}

#[derive(Args)]
struct ListArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// Second number of the devices' addresses; that of the site's manifests by default.
    #[arg(long)]
    network: Option<u8>,
    /// Address of the server that has the images; that of the site's manifests by default.
    #[arg(long)]
    artifacts: Option<String>,
}

#[derive(Args)]
struct ReleaseArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// Name of the model that it is for.
    #[arg(long)]
    model: String,
    /// Its version.
    #[arg(long)]
    version: String,
    /// Its security counter.
    #[arg(long, default_value_t = 1)]
    counter: i64,
    /// What is wrong with its image, for example fails-selftest; may be given several times.
    #[arg(long = "behaviour", value_parser = image::behaviour)]
    behaviour: Vec<Behaviour>,
}

#[derive(Args)]
struct ImageArgs {
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

/// Why the command did not succeed.
#[derive(Debug, Error)]
pub enum SiteCommandError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Too many copies of it.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    #[error(transparent)]
    Release(#[from] ReleaseMakeError),
    /// A model that the site does not have.
    #[error("the site has no model `{0}`")]
    Model(String),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("the answer could not be written: {0}")]
    Json(#[from] serde_json::Error),
}

pub fn main() -> ExitCode {
    let done = match CommandLine::parse().command {
        Command::Run(run) => run.go(),
        Command::List(list) => list.go(),
        Command::Release(release) => release.go(),
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

impl SiteArgs {
    fn source(&self) -> SiteSource {
        match (&self.gitops, &self.facts) {
            (Some(gitops), Some(facts)) => SiteSource { gitops: gitops.clone(), facts: facts.clone() },
            _ => self.preset.source(),
        }
    }

    fn layout(&self) -> Result<Layout, SiteCommandError> {
        let site = Layout::read(&self.source())?;
        if self.times <= 1 {
            return Ok(site);
        }
        Ok(Layout::of(multiplied(&site.objects, self.times)?, site.facts)?)
    }
}

impl RunArgs {
    fn go(self) -> Result<(), SiteCommandError> {
        let mut layout = self.site.layout()?;
        layout.facts.seed = self.seed.unwrap_or(layout.facts.seed);
        layout.facts.timing.boot_millis = self.boot_millis.unwrap_or(layout.facts.timing.boot_millis);
        let network = self.network.unwrap_or(layout.facts.network);
        let simulation = Simulation { layout, network, control: self.control };
        if self.attached {
            thread::spawn(end_with_parent);
        }
        // One thread is enough for devices that mostly wait, and leaves the other core to those who are tested.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| SiteCommandError::File { path: "the runtime".into(), source })?;
        runtime.block_on(async {
            let site = simulator::start(simulation).await?;
            println!("{}", serde_json::to_string(&site.ready)?);
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

impl ListArgs {
    fn go(self) -> Result<(), SiteCommandError> {
        let source = self.site.source();
        let facts = SimulatorFacts::read(&source.facts).map_err(LayoutError::from)?;
        let files = gitops::read(&source.gitops).map_err(LayoutError::from)?;
        let artifacts = self.artifacts.unwrap_or_else(|| facts.artifacts.clone());
        let files = facts.for_run(files, self.network.unwrap_or(facts.network), &artifacts);
        let objects = SiteObjects::parse(&files).map_err(LayoutError::from)?;
        println!("{}", multiplied(&objects, self.site.times)?.list()?);
        Ok(())
    }
}

impl ReleaseArgs {
    fn go(self) -> Result<(), SiteCommandError> {
        let layout = self.site.layout()?;
        let model = layout.model(&self.model).ok_or(SiteCommandError::Model(self.model))?;
        let wanted = ReleaseOf { model, version: &self.version, counter: self.counter, behaviour: &self.behaviour };
        let release = release(&wanted, &layout.facts.artifacts)?;
        println!("{}", serde_json::to_string_pretty(&release.object(layout.site()))?);
        Ok(())
    }
}

impl ImageArgs {
    fn go(self) -> Result<(), SiteCommandError> {
        let image = image::build(&self.model, &self.version, &self.behaviour, self.size);
        fs::write(&self.out, image).map_err(|source| SiteCommandError::File { path: self.out, source })
    }
}
