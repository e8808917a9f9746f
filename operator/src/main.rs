//! `kalong-operator`: runs the control plane, or generates files from its types.

use std::process::ExitCode;

use clap::Parser;
use kalong_crds::Category;
use kalong_operator::settings::{Arguments, Command, RunArguments};
use kalong_operator::{generate, logging, run};

/// Exit code for wrong arguments, or a generated file that is not current.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    // Only fails when a provider is there already, which then is the one to use.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let result = match Arguments::parse().command {
        Command::Run(arguments) => operate(*arguments),
        Command::Crds(arguments) => generate::crds(&arguments).map(|()| 0).map_err(|e| e.to_string()),
        Command::Schema(arguments) => generate::schemas(&arguments).map(|()| 0).map_err(|e| e.to_string()),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            eprintln!("kalong-operator: {message}");
            ExitCode::from(FAILED)
        }
    }
}

fn operate(arguments: RunArguments) -> Result<u8, String> {
    let settings = arguments.validate().map_err(|e| e.to_string())?;
    logging::start(&settings.log).map_err(|e| e.to_string())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| e.to_string())?;
    let code = match runtime.block_on(run::run(settings)) {
        Ok(end) => end.code(),
        Err(error) => {
            tracing::error!(category = error.category(), %error, "The operator cannot run.");
            FAILED
        }
    };
    // Tasks that are left after the shutdown must not delay the exit.
    runtime.shutdown_background();
    Ok(code)
}
