//! The edge agent's process: arguments, composition, shutdown.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use kalong_crds::wire::digest::digest_of;
use kalong_crds::wire::reported::About;
use kalong_edge_agent::clock::ClockJudge;
use kalong_edge_agent::context::AgentContext;
use kalong_edge_agent::device::DeviceAccess;
use kalong_edge_agent::firmware::download::Downloads;
use kalong_edge_agent::lane::offline;
use kalong_edge_agent::realise::{Dispatcher, Rooms};
use kalong_edge_agent::reported::ReportedState;
use kalong_edge_agent::settings::{Command, EnrolArguments, LogFormat, RunArguments, Settings};
use kalong_edge_agent::store::Store;
use kalong_edge_agent::store::identity::AgentIdentity;
use kalong_edge_agent::uplink::enrol::{Ticket, enrol};
use kalong_edge_agent::uplink::session::{Uplink, UplinkStart};
use kalong_edge_agent::{driver, probe};
use tokio::signal::unix::{SignalKind, signal};

/// Folder of artifacts below the state folder.
const ARTIFACTS: &str = "artifacts";

type AnyError = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    // The one crypto provider of the process; a second call would be a mistake of ours, and changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = Settings::parse();
    // One thread: the devices of a gate are slow, and memory is a promise.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    match settings.command {
        Command::Probe(arguments) => runtime.block_on(probe::command(arguments)),
        Command::Enrol(arguments) => finish(runtime.block_on(join(arguments))),
        Command::Run(arguments) => finish(runtime.block_on(run(arguments))),
    }
}

fn finish(result: Result<(), AnyError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &AnyError) -> ExitCode {
    eprint!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprint!(": {cause}");
        source = cause.source();
    }
    eprintln!();
    ExitCode::FAILURE
}

async fn join(arguments: EnrolArguments) -> Result<(), AnyError> {
    make_private(&arguments.state)?;
    let ticket = Ticket {
        server: arguments.server,
        agent: arguments.agent,
        token: arguments.token,
        authority: arguments.ca,
        operator: arguments.operator_key,
    };
    let identity = enrol(ticket).await?;
    identity.save(&arguments.state)?;
    println!(
        "enrolled as {}; start it with: kalong-edge-agent run --state {}",
        identity.agent,
        arguments.state.display()
    );
    Ok(())
}

async fn run(arguments: RunArguments) -> Result<(), AnyError> {
    start_logs(&arguments);
    let mut end = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let folder = arguments.state;
    let identity = AgentIdentity::load(&folder)?;
    let opened = Store::open(&folder)?;
    tracing::info!(agent = %identity.agent, epoch = opened.epoch, version = env!("CARGO_PKG_VERSION"), "The agent starts.");
    let about = About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        orphans: opened.desired.orphans(),
        release_keys: digest_of(&identity.release_keys).ok(),
        ..About::default()
    };
    let reported = ReportedState::new(about, opened.desired.rev(), opened.fence);
    if opened.set_aside.is_some() {
        reported.ask_whole();
    }
    let downloads = Arc::new(Downloads::new(folder.join(ARTIFACTS), opened.store.clone())?);
    let clock = ClockJudge::new(identity.validity()?.from);
    let agent = Arc::new(AgentContext::new(identity.agent.clone(), opened.store, reported, clock));
    let access = DeviceAccess { sealing_secret: identity.sealing_secret()?, drivers: Arc::new(driver::connect) };
    let rooms = Rooms::new(&agent, downloads.clone(), identity.release_keys.clone(), access);
    let lanes = rooms.lanes.clone();
    let (dispatcher, sink) = Dispatcher::new(agent.clone(), rooms, opened.desired, opened.records, opened.durable);
    let dispatching = dispatcher.start().await;
    let watching = tokio::spawn(offline::enforce(agent.clone(), lanes));
    let start = UplinkStart { folder, identity, epoch: opened.epoch, fence: opened.fence };
    let uplink = tokio::spawn(Uplink::new(start, agent, downloads, sink).run());
    tokio::select! {
        _ = end.recv() => {}
        _ = interrupt.recv() => {}
        _ = dispatching => tracing::error!("The dispatcher ended by itself."),
        _ = watching => tracing::error!("The offline policy ended by itself."),
        _ = uplink => tracing::error!("The uplink ended by itself."),
    }
    // Nothing has to be saved: every change was durable before it was acted on.
    tracing::info!("The agent stops.");
    Ok(())
}

fn start_logs(arguments: &RunArguments) {
    let filter = tracing_subscriber::EnvFilter::try_new(&arguments.log)
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr);
    match arguments.log_format {
        LogFormat::Json => logs.json().init(),
        LogFormat::Text => logs.with_ansi(false).init(),
    }
}

fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
