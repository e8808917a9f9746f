//! The edge agent's process: arguments, composition, shutdown.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use kalong_crds::wire::digest::digest_of;
use kalong_crds::wire::reported::About;
use kalong_edge_agent::clock::ClockJudge;
use kalong_edge_agent::firmware::download::Downloads;
use kalong_edge_agent::realise::{Parts, Realiser, Site, offline};
use kalong_edge_agent::settings::{Command, Enrol, LogFormat, Run, Settings};
use kalong_edge_agent::store::Store;
use kalong_edge_agent::store::identity::Identity;
use kalong_edge_agent::uplink::enrol::{Ticket, enrol};
use kalong_edge_agent::uplink::report::Image;
use kalong_edge_agent::uplink::session::Uplink;
use kalong_edge_agent::{driver, probe};
use tokio::signal::unix::{SignalKind, signal};

/// Folder of artifacts below the state folder.
const ARTIFACTS: &str = "artifacts";

type Failure = Box<dyn std::error::Error>;

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

fn finish(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &Failure) -> ExitCode {
    eprint!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprint!(": {cause}");
        source = cause.source();
    }
    eprintln!();
    ExitCode::FAILURE
}

async fn join(arguments: Enrol) -> Result<(), Failure> {
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

async fn run(arguments: Run) -> Result<(), Failure> {
    start_logs(&arguments);
    let mut end = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let folder = arguments.state;
    let identity = Identity::load(&folder)?;
    let opened = Store::open(&folder)?;
    tracing::info!(agent = %identity.agent, epoch = opened.epoch, version = env!("CARGO_PKG_VERSION"), "the box starts");
    let about = About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        orphans: opened.holdings.orphans(),
        release_keys: digest_of(&identity.release_keys).ok(),
        ..About::default()
    };
    let image = Image::new(about, opened.holdings.rev(), opened.fence);
    if opened.set_aside.is_some() {
        image.ask_whole();
    }
    let site = Arc::new(Site::new(Parts {
        agent: identity.agent.clone(),
        downloads: Arc::new(Downloads::new(folder.join(ARTIFACTS), opened.store.clone())?),
        store: opened.store,
        image,
        release_keys: identity.release_keys.clone(),
        sealing: identity.sealing_secret()?,
        clock: ClockJudge::new(identity.life()?.from),
        drivers: Arc::new(driver::connect),
    }));
    let (realiser, teller) = Realiser::new(site.clone(), opened.holdings, opened.records, opened.memories);
    let realising = realiser.start().await;
    let watching = tokio::spawn(offline::watch(site.clone()));
    let uplink = tokio::spawn(Uplink::new(site, folder, identity, opened.epoch, opened.fence, teller).run());
    tokio::select! {
        _ = end.recv() => {}
        _ = interrupt.recv() => {}
        _ = realising => tracing::error!("realising ended by itself"),
        _ = watching => tracing::error!("the offline policy ended by itself"),
        _ = uplink => tracing::error!("the uplink ended by itself"),
    }
    // Nothing has to be saved: every change was durable before it was acted on.
    tracing::info!("the box stops");
    Ok(())
}

fn start_logs(arguments: &Run) {
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
