//! The programs of the control plane: built once into the target folder, or taken from a folder that the user names.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::directories::{assets_directory, modules_directory};
use super::go::{Go, GoBuild, GoError};
use super::tools::{KUBE, MODULES, Tool, ToolModule};

/// The variable of Kubernetes' own test environments that names a folder with ready binaries.
pub const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";
/// As long as the longest build of another process may take.
const LOCK_DEADLINE: Duration = Duration::from_secs(45 * 60);
const LOCK_POLL: Duration = Duration::from_millis(250);
const LOCK_REPORT_EVERY: Duration = Duration::from_secs(10);

/// Where the programs come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AssetSource {
    /// `KUBEBUILDER_ASSETS` where it is set, otherwise built.
    #[default]
    Environment,
    /// Built from the Go modules of this repository, whatever the environment says.
    Built,
    /// Ready binaries in this folder.
    Directory(PathBuf),
}

/// Why the programs are not there.
#[derive(Debug, Error)]
pub enum AssetsError {
    /// A folder of ready binaries lacks one that cannot come from elsewhere.
    #[error("{folder} holds no {}: it must have etcd, kube-apiserver and kubectl (kube-controller-manager and helm are built when \
             they are missing). Name another folder, or none to have all built", missing.join(" and no "))]
    Incomplete {
        /// The folder that was named.
        folder: PathBuf,
        missing: Vec<&'static str>,
    },
    /// The toolchain is missing or the build failed.
    #[error(transparent)]
    Go(#[from] GoError),
    /// The target folder cannot be written.
    #[error("{action} {path} failed: {source}")]
    File { action: &'static str, path: PathBuf, source: std::io::Error },
    /// Another process builds and does not end.
    #[error("another process holds {path} and did not end its build within {} min: end it and try again", LOCK_DEADLINE.as_secs() / 60)]
    Locked { path: PathBuf },
}

/// The programs of the control plane, all present.
#[derive(Clone, Debug)]
pub struct Assets {
    paths: BTreeMap<Tool, PathBuf>,
}

impl Assets {
    /// Finds the programs, building what is missing. Blocks: a first build takes 10 to 14 min on 2 cores.
    ///
    /// Two processes never build at once: the second waits and says so. A build that is broken off leaves nothing
    /// that could be taken for a whole one.
    ///
    /// # Errors
    /// Go is missing or too old, a build fails, a named folder lacks a program.
    pub fn obtain(source: AssetSource, progress: &dyn Fn(&str)) -> Result<Self, AssetsError> {
        let given = match source {
            AssetSource::Built => None,
            AssetSource::Directory(folder) => Some(folder),
            AssetSource::Environment => {
                env::var_os(ASSETS_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from)
            }
        };
        let mut paths = given.as_deref().map(ready_binaries).transpose()?.unwrap_or_default();
        let wanted: Vec<Tool> = Tool::ALL.into_iter().filter(|tool| !paths.contains_key(tool)).collect();
        paths.extend(BuildDir::new(assets_directory(), modules_directory(), "go").provide(&wanted, progress)?);
        Ok(Self { paths })
    }

    /// The file of a tool.
    #[must_use]
    pub fn path(&self, tool: Tool) -> &Path {
        // `obtain` fills every tool; the bare name keeps this total and would be looked up on the path.
        self.paths.get(&tool).map_or_else(|| Path::new(tool.name()), PathBuf::as_path)
    }
}

/// What a user's folder has; etcd, kube-apiserver and kubectl must be there.
fn ready_binaries(folder: &Path) -> Result<BTreeMap<Tool, PathBuf>, AssetsError> {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let found: BTreeMap<_, _> =
        Tool::ALL.into_iter().map(|tool| (tool, folder.join(tool.name()))).filter(|(_, path)| path.is_file()).collect();
    let missing: Vec<_> = [Tool::Etcd, Tool::KubeApiServer, Tool::Kubectl]
        .into_iter()
        .filter(|tool| !found.contains_key(tool))
        .map(Tool::name)
        .collect();
    if missing.is_empty() { Ok(found) } else { Err(AssetsError::Incomplete { folder, missing }) }
}

/// The folder in which tools are built. Its name is that of the versions, so that a new pin never meets an old file.
struct BuildDir {
    root: PathBuf,
    bin: PathBuf,
    modules: PathBuf,
    go: &'static str,
}

impl BuildDir {
    fn new(root: PathBuf, modules: PathBuf, go: &'static str) -> Self {
        let bin = root.join(versions_name()).join("bin");
        Self { root, bin, modules, go }
    }

    fn provide(&self, wanted: &[Tool], progress: &dyn Fn(&str)) -> Result<BTreeMap<Tool, PathBuf>, AssetsError> {
        if !self.missing(wanted).is_empty() {
            create_directory(&self.bin)?;
            let _lock = self.lock(progress)?;
            // Looked at again: whoever held the lock may have built it.
            self.build_all(&self.missing(wanted), progress)?;
        }
        Ok(wanted.iter().map(|tool| (*tool, self.bin.join(tool.name()))).collect())
    }

    fn missing(&self, wanted: &[Tool]) -> Vec<Tool> {
        wanted.iter().copied().filter(|tool| !self.bin.join(tool.name()).is_file()).collect()
    }

    fn build_all(&self, missing: &[Tool], progress: &dyn Fn(&str)) -> Result<(), AssetsError> {
        if missing.is_empty() {
            return Ok(());
        }
        let go = Go::find(self.go, &self.modules.join(KUBE.folder))?;
        for module in MODULES {
            let tools: Vec<_> = missing.iter().copied().filter(|tool| tool.module().folder == module.folder).collect();
            if !tools.is_empty() {
                self.build(&go, module, &tools, progress)?;
            }
        }
        Ok(())
    }

    /// Builds beside the final place and moves each finished file over: a rename is whole or not at all.
    fn build(&self, go: &Go, module: &ToolModule, tools: &[Tool], progress: &dyn Fn(&str)) -> Result<(), AssetsError> {
        let partial = self.bin.with_file_name(format!("partial-{}", module.folder));
        if partial.exists() {
            remove_directory(&partial)?;
        }
        create_directory(&partial)?;
        let folder = self.modules.join(module.folder);
        let build = GoBuild { module, tools, folder: &folder, output: &partial };
        progress(&format!("building {} (once; {} on 2 cores from cold caches)", build.names(), module.cold_build));
        go.build(&build, progress)?;
        for tool in tools {
            let (from, to) = (partial.join(tool.name()), self.bin.join(tool.name()));
            fs::rename(&from, &to).map_err(|source| AssetsError::File { action: "moving", path: from, source })?;
        }
        remove_directory(&partial)
    }

    fn lock(&self, progress: &dyn Fn(&str)) -> Result<File, AssetsError> {
        let path = self.root.join("build.lock");
        let failed = |source| AssetsError::File { action: "locking", path: path.clone(), source };
        let file = File::create(&path).map_err(failed)?;
        let started = Instant::now();
        let mut reported = None;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
                Err(TryLockError::WouldBlock) if started.elapsed() > LOCK_DEADLINE => {
                    return Err(AssetsError::Locked { path });
                }
                Err(TryLockError::WouldBlock) => {
                    if reported.is_none_or(|at: Instant| at.elapsed() > LOCK_REPORT_EVERY) {
                        reported = Some(Instant::now());
                        progress(&format!(
                            "another process builds the control plane; waiting for it ({} s)",
                            started.elapsed().as_secs()
                        ));
                    }
                    thread::sleep(LOCK_POLL);
                }
            }
        }
    }
}

/// `kube-v1.37.0-etcd-v3.7.1-helm-v4.2.4-<digest>`: legible, and other for any change of a dependency or a flag.
fn versions_name() -> String {
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    let mut name = String::new();
    for module in MODULES {
        digest.update(module.manifest.as_bytes());
        digest.update(module.sums.as_bytes());
        digest.update(module.linker_flags().as_bytes());
        name.push_str(&format!("{}-{}-", module.folder, module.version()));
    }
    digest.update(env::consts::OS.as_bytes());
    digest.update(env::consts::ARCH.as_bytes());
    let digest: String = digest.finish().as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    name + &digest
}

fn create_directory(path: &Path) -> Result<(), AssetsError> {
    fs::create_dir_all(path).map_err(|source| AssetsError::File { action: "creating", path: path.to_owned(), source })
}

fn remove_directory(path: &Path) -> Result<(), AssetsError> {
    fs::remove_dir_all(path).map_err(|source| AssetsError::File { action: "removing", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use parking_lot::Mutex;

    use super::super::directories::target_directory;
    use super::super::go::FAKE_GO;
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = target_directory().join("kalong/test").join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// A build folder with a Go that writes a word where a program should be.
    fn build_dir(name: &str) -> BuildDir {
        let root = scratch(name);
        let modules = root.join("modules");
        for module in MODULES {
            fs::create_dir_all(modules.join(module.folder)).unwrap();
            fs::write(modules.join(module.folder).join("version"), "go1.26.0\n").unwrap();
        }
        BuildDir::new(root, modules, FAKE_GO)
    }

    fn builds(build_dir: &BuildDir) -> usize {
        fs::read_to_string(build_dir.modules.join("etcd/builds")).unwrap_or_default().lines().count()
    }

    #[test]
    fn broken_off_build_is_never_taken_for_a_whole_one() {
        let build_dir = build_dir("broken-off");
        let fails = build_dir.modules.join("etcd/fails");
        fs::write(&fails, "").unwrap();
        let error = build_dir.provide(&[Tool::Etcd], &|_| {}).unwrap_err();
        assert!(error.to_string().contains("the compiler gave up"), "{error}");
        assert_eq!(build_dir.missing(&[Tool::Etcd]), [Tool::Etcd]);

        fs::remove_file(fails).unwrap();
        let etcd = build_dir.provide(&[Tool::Etcd], &|_| {}).unwrap();
        assert_eq!(fs::read_to_string(&etcd[&Tool::Etcd]).unwrap(), "whole\n");
    }

    #[test]
    fn built_program_is_not_built_again() {
        let build_dir = build_dir("again");
        build_dir.provide(&[Tool::Etcd], &|_| {}).unwrap();
        build_dir.provide(&[Tool::Etcd], &|line| panic!("{line}")).unwrap();
        assert_eq!(builds(&build_dir), 1);
    }

    #[test]
    fn second_process_waits_says_so_and_builds_nothing() {
        let build_dir = build_dir("second");
        create_directory(&build_dir.bin).unwrap();
        let first = build_dir.lock(&|_| {}).unwrap();
        let (said, heard) = mpsc::channel();
        let said = Mutex::new(said);
        thread::scope(|scope| {
            let second =
                scope.spawn(|| build_dir.provide(&[Tool::Etcd], &|line| said.lock().send(line.to_owned()).unwrap()));
            let line = heard.recv_timeout(Duration::from_secs(30)).unwrap();
            assert!(line.contains("another process builds the control plane"), "{line}");
            fs::write(build_dir.bin.join("etcd"), "by the first").unwrap();
            drop(first);
            second.join().unwrap().unwrap();
        });
        assert_eq!(builds(&build_dir), 0);
    }

    #[test]
    fn folder_without_a_program_is_refused_with_its_name() {
        let empty = scratch("no-assets");
        let error = Assets::obtain(AssetSource::Directory(empty), &|_| {}).unwrap_err();
        assert!(error.to_string().contains("holds no etcd and no kube-apiserver and no kubectl"), "{error}");
    }

    #[test]
    fn folder_of_built_tools_carries_the_versions() {
        assert!(versions_name().starts_with("kube-v1.37.0-etcd-v3.7.1-helm-v4.2.4-"));
    }
}
