//! The Go toolchain: is it there, is it new enough, and one build with it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::tools::{Tool, ToolModule};

/// The oldest Go that builds Kubernetes 1.37 and etcd 3.7.
const OLDEST_GO: (u32, u32) = (1, 26);
/// A cold build takes 10 to 14 min on 2 cores; a slow network may fetch 1 GB of modules.
const BUILD_DEADLINE: Duration = Duration::from_secs(40 * 60);
const REPORT_EVERY: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
/// For the last lines of a program that has ended.
const LAST_LINES: Duration = Duration::from_secs(2);
const KEPT_LINES: usize = 30;

/// Why a tool could not be built.
#[derive(Debug, Error)]
pub enum GoError {
    /// No `go` on the path.
    #[error(
        "Go is missing: the test control plane is built with it once. Install Go {}.{} or newer (https://go.dev/dl) so that \
         `go version` answers, or point KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver, kube-controller-manager, \
         kubectl and helm", OLDEST_GO.0, OLDEST_GO.1
    )]
    Missing(#[source] std::io::Error),
    /// The Go on the path is too old.
    #[error(
        "Go is too old: found {found}, needed is {}.{} or newer. Install it from https://go.dev/dl and put it first in PATH",
        OLDEST_GO.0, OLDEST_GO.1
    )]
    TooOld {
        /// What `go env GOVERSION` said.
        found: String,
    },
    /// `go` could not be run.
    #[error("running `go` in {folder} failed: {source}")]
    Run { folder: PathBuf, source: std::io::Error },
    /// The compiler or the download failed.
    #[error("`go build` of {tools} failed ({status}); the end of its output:\n{output}")]
    Build {
        tools: String,
        status: ExitStatus,
        /// The last lines that it printed.
        output: String,
    },
    /// The build did not end.
    #[error("`go build` of {tools} did not end within {} min; the end of its output:\n{output}", BUILD_DEADLINE.as_secs() / 60)]
    Deadline {
        tools: String,
        /// The last lines that it printed.
        output: String,
    },
}

/// A Go that is new enough.
#[derive(Debug)]
pub(super) struct Go {
    program: OsString,
}

impl Go {
    /// Asks the `go` on the path for its version, inside `folder`: a toolchain that Go fetches for the module counts.
    pub(super) fn find(program: impl Into<OsString>, folder: &Path) -> Result<Self, GoError> {
        let program = program.into();
        let mut found = go_version(&program, folder, None)?;
        if parse_version(&found).is_none() {
            // With GOTOOLCHAIN=local an old Go refuses even this question in a module that needs a newer one.
            found = go_version(&program, &std::env::temp_dir(), Some("local"))?;
        }
        match parse_version(&found) {
            Some(version) if version >= OLDEST_GO => Ok(Self { program }),
            _ => Err(GoError::TooOld { found: if found.is_empty() { "an unknown version".into() } else { found } }),
        }
    }

    /// Builds tools of one module into `output`, a folder that exists.
    pub(super) fn build(&self, build: &GoBuild<'_>, progress: &dyn Fn(&str)) -> Result<(), GoError> {
        let mut running =
            RunningBuild { build, started: Instant::now(), modules: build.module.modules(), packages: None };
        // Fetches the modules too, and says how much there is to compile: with -v the build says each package once.
        running.packages = Some(running.run(self.list(build), progress)?.packages);
        running.run(self.compile(build), progress)?;
        Ok(())
    }

    fn list(&self, build: &GoBuild<'_>) -> Command {
        let mut command = self.command(build);
        command.args(["list", "-mod=readonly", "-deps"]).args(build.tools.iter().map(|tool| tool.package()));
        command
    }

    fn compile(&self, build: &GoBuild<'_>) -> Command {
        let mut command = self.command(build);
        command.args(["build", "-v", "-mod=readonly", "-trimpath", "-buildvcs=false"]);
        command.arg("-ldflags").arg(build.module.linker_flags()).arg("-o");
        match build.tools {
            // etcd's package ends in `v3`, which would be the name of the file.
            [one] => command.arg(build.output.join(one.name())),
            _ => command.arg(build.output),
        };
        command.args(build.tools.iter().map(|tool| tool.package()));
        command
    }

    fn command(&self, build: &GoBuild<'_>) -> Command {
        let mut command = Command::new(&self.program);
        // No C compiler needed, and a static program. A go.work of the user must not join our module.
        command.current_dir(build.folder).env("CGO_ENABLED", "0").env("GOWORK", "off").env("GOFLAGS", "");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// One build on its way: the two commands that it takes, and how much there is of what they count.
struct RunningBuild<'a> {
    build: &'a GoBuild<'a>,
    started: Instant,
    /// Modules that the go.mod names; those that no package needs are not fetched.
    modules: usize,
    /// None while they are being counted. Those that Go has in its cache are not compiled again.
    packages: Option<usize>,
}

impl RunningBuild<'_> {
    /// Runs a command to its end, and returns what it printed.
    fn run(&self, mut command: Command, progress: &dyn Fn(&str)) -> Result<Printed, GoError> {
        let failed = |source| GoError::Run { folder: self.build.folder.to_owned(), source };
        let mut child = command.spawn().map_err(failed)?;
        let (listed, output) = (Output::collect(child.stdout.take()), Output::collect(child.stderr.take()));
        let status = wait(&mut child, || {
            progress(&format!("building {}: {}", self.build.names(), self.far(&output.seen())));
        })
        .map_err(failed)?;
        let tools = self.build.names();
        match status {
            Some(status) if status.success() => {
                output.settle();
                listed.settle();
                Ok(listed.seen())
            }
            Some(status) => Err(GoError::Build { tools, status, output: output.tail() }),
            None => Err(GoError::Deadline { tools, output: output.tail() }),
        }
    }

    /// How far it is of how much.
    fn far(&self, seen: &Printed) -> String {
        let what = match self.packages {
            None if seen.downloads == 0 => "looking what is missing".to_owned(),
            None => format!("{} of at most {} Go modules fetched", seen.downloads, self.modules),
            Some(all) if seen.packages < all => format!("{} of {all} packages compiled", seen.packages),
            Some(all) => format!("all {all} packages compiled, linking"),
        };
        let seconds = self.started.elapsed().as_secs();
        format!("{what} ({} min {} s)", seconds / 60, seconds % 60)
    }
}

/// What to build, and where to.
#[derive(Debug)]
pub(super) struct GoBuild<'a> {
    pub(super) module: &'a ToolModule,
    pub(super) tools: &'a [Tool],
    pub(super) folder: &'a Path,
    pub(super) output: &'a Path,
}

impl GoBuild<'_> {
    pub(super) fn names(&self) -> String {
        let names: Vec<_> = self.tools.iter().map(|tool| tool.name()).collect();
        format!("{} {}", names.join(", "), self.module.version())
    }
}

/// Waits for the end, or kills at the deadline and returns none.
fn wait(child: &mut Child, report: impl Fn()) -> Result<Option<ExitStatus>, std::io::Error> {
    let started = Instant::now();
    let mut reported = started;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() > BUILD_DEADLINE {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        if reported.elapsed() > REPORT_EVERY {
            reported = Instant::now();
            report();
        }
        thread::sleep(POLL);
    }
}

fn go_version(program: &OsString, folder: &Path, toolchain: Option<&str>) -> Result<String, GoError> {
    let mut command = Command::new(program);
    command.args(["env", "GOVERSION"]).current_dir(folder).env("GOWORK", "off").stdin(Stdio::null());
    if let Some(toolchain) = toolchain {
        command.env("GOTOOLCHAIN", toolchain);
    }
    let output = command.output().map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound if folder.is_dir() => GoError::Missing(source),
        _ => GoError::Run { folder: folder.to_owned(), source },
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// `go1.26.8` or `go1.27rc1` to (1, 26) or (1, 27).
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix("go")?.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor: String = numbers.next()?.chars().take_while(char::is_ascii_digit).collect();
    Some((major, minor.parse().ok()?))
}

/// What a command prints, counted, and its end; read beside it so that the pipe never fills.
#[derive(Default)]
struct Output {
    seen: Arc<Mutex<Printed>>,
    reader: Option<thread::JoinHandle<()>>,
}

#[derive(Clone, Default)]
struct Printed {
    packages: usize,
    downloads: usize,
    tail: VecDeque<String>,
}

impl Output {
    fn collect(pipe: Option<impl Read + Send + 'static>) -> Self {
        let seen = Arc::<Mutex<Printed>>::default();
        let notes = Arc::clone(&seen);
        let reader = pipe.map(|pipe| {
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    notes.lock().unwrap_or_else(PoisonError::into_inner).take(line);
                }
            })
        });
        Self { seen, reader }
    }

    /// Waits until the last line was read: the program may end before its reader comes to it. Not for ever, since a process that the
    /// program left behind may hold the pipe.
    fn settle(&self) {
        let begun = Instant::now();
        while self.reader.as_ref().is_some_and(|reader| !reader.is_finished()) && begun.elapsed() < LAST_LINES {
            thread::sleep(POLL);
        }
    }

    fn seen(&self) -> Printed {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tail(&self) -> String {
        self.settle();
        Vec::from(self.seen().tail).join("\n")
    }
}

impl Printed {
    fn take(&mut self, line: String) {
        if line.starts_with("go: downloading ") {
            self.downloads += 1;
        } else if !line.contains(' ') {
            // A package is a line of its path alone, where it is listed and where it is compiled: counted, but no news in an error.
            self.packages += 1;
            return;
        }
        if self.tail.len() == KEPT_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }
}

/// Does as files in the folder say in which it runs. Checked in and never written, since a program that some thread still holds
/// open for writing cannot be run.
#[cfg(test)]
pub(super) const FAKE_GO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cluster/fake-go.sh");

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn missing_go_is_named_with_what_to_do() {
        let error = Go::find("/nonexistent/go", &std::env::temp_dir()).unwrap_err();
        assert!(matches!(error, GoError::Missing(_)));
        assert!(error.to_string().contains("Install Go 1.26"), "{error}");
    }

    #[test]
    fn old_go_is_named_with_its_version() {
        let folder = super::super::directories::target_directory().join("kalong/test/old-go");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("version"), "go1.24.3\n").unwrap();
        let error = Go::find(FAKE_GO, &folder).unwrap_err();
        assert!(error.to_string().contains("found go1.24.3, needed is 1.26"), "{error}");
    }

    #[test]
    fn progress_says_how_far_it_is_of_how_much() {
        let folder = std::env::temp_dir();
        let build =
            GoBuild { module: &super::super::tools::ETCD, tools: &[Tool::Etcd], folder: &folder, output: &folder };
        let work = |packages| RunningBuild { build: &build, started: Instant::now(), modules: 60, packages };
        let seen = |downloads, packages| Printed { downloads, packages, ..Printed::default() };
        let said = |packages, seen: Printed| work(packages).far(&seen);
        assert_eq!(said(None, seen(7, 0)), "7 of at most 60 Go modules fetched (0 min 0 s)");
        assert_eq!(said(Some(731), seen(0, 12)), "12 of 731 packages compiled (0 min 0 s)");
        assert_eq!(said(Some(731), seen(0, 731)), "all 731 packages compiled, linking (0 min 0 s)");
    }

    #[test]
    fn versions_are_read_as_go_writes_them() {
        assert_eq!(parse_version("go1.26.8"), Some((1, 26)));
        assert_eq!(parse_version("go1.27rc1"), Some((1, 27)));
        assert_eq!(parse_version("devel"), None);
    }
}
