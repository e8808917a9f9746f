//! The promises on the box's program: one static file, little memory, little work when nothing happens.
//!
//! The program is built as it is shipped. It serves the whole of Mong Cai phase 1, with a heartbeat ten times as frequent as by
//! default. Processor time is counted by the kernel for the process, so a busy machine changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use kalong_crds::Device;
use kalong_crds::condition::{ConditionType, Conditioned};
use kalong_e2e::cluster::{target_directory, workspace_directory};
use kalong_e2e::scenario::{Binary, LiveSite, Present};
use tokio::time::sleep;

use crate::faults::bench::Bench;
use crate::schedule::Test;

/// Resident memory of a box that serves at most 60 devices, in kibibytes.
const MEMORY_KIB: u64 = 12 * 1024;
/// Processor time of a box of ordinary size, as a share of one core.
const IDLE_SHARE: f64 = 0.005;
/// Devices of a box of ordinary size.
const ORDINARY: usize = 30;
/// The same for the largest box, which visits 16 of its 58 devices every second. It was seen between 0.4 and 0.6 %: what else the
/// machine does changes what a visit costs.
const LARGEST_SHARE: f64 = 0.0075;
/// How long processor time is counted: four polls of the slowest devices. The kernel counts in hundredths of a second, which is a
/// tenth of the least bound.
const IDLE: Duration = Duration::from_secs(20);
/// Two polls of the slowest devices.
const EVERY_DEVICE: Duration = Duration::from_secs(10);
const READY_DEADLINE: Duration = Duration::from_secs(180);

/// The box's program as it is shipped, built once.
fn static_program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build)
}

/// Builds with what the other tests leave of the processors: none of them waits for it but its own.
fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new("nice");
    command.args(["-n", "19"]).arg(cargo);
    // Cargo says for which package it runs us; the build inside is as a person starts it, so that both share what is built.
    let ours = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_TARGET_TMPDIR"];
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| ours.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)))
    {
        command.env_remove(name);
    }
    let built = command.arg("box").current_dir(workspace_directory()).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    target_directory().join("box").join("kalong-edge-agent")
}

/// Whether an ELF program asks for a dynamic loader: it has a program header of type PT_INTERP.
fn asks_for_a_loader(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let number =
        |at: usize, bytes: usize| elf[at..at + bytes].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let (headers, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|n| number(usize::try_from(headers + n * size).unwrap(), 4) == u64::from(PT_INTERP))
}

/// Processor time in seconds: user and system, as the kernel counts it in hundredths.
fn processor_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in brackets may hold spaces; the fields after it are counted from the third.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

async fn box_is_one_static_program() {
    let program = tokio::task::spawn_blocking(static_program).await.unwrap();
    assert!(!asks_for_a_loader(&std::fs::read(program).unwrap()), "{} is not static", program.display());
    assert!(
        asks_for_a_loader(&std::fs::read("/bin/sh").unwrap()),
        "the judge of static programs cannot tell one that is not"
    );
}

crate::tests![built: box_is_one_static_program];

/// On the site that was under faults, with its boxes exchanged for those that are shipped.
pub fn tests(bench: &Arc<Bench>) -> Vec<Test> {
    let bench = Arc::clone(bench);
    let measured = move || bench.run(async |site| box_takes_little_memory_and_little_work(site).await);
    vec![Test::new(module_path!(), "box_takes_little_memory_and_little_work", measured)]
}

async fn box_takes_little_memory_and_little_work(site: &mut LiveSite) {
    ship(site, tokio::task::spawn_blocking(static_program).await.unwrap()).await;
    let pids: BTreeMap<&String, u32> = site.agents.iter().map(|(name, agent)| (name, agent.child().pid())).collect();
    let before: BTreeMap<_, f64> = pids.iter().map(|(name, pid)| (*name, processor_seconds(*pid))).collect();
    let counted = Instant::now();
    // Time is what is measured here, not what is waited for.
    sleep(IDLE).await;
    let seconds = counted.elapsed().as_secs_f64();
    let mut complaints = Vec::new();
    for (name, pid) in &pids {
        let (share, memory) = ((processor_seconds(*pid) - before[*name]) / seconds, resident_kib(*pid));
        let figures = format!("{name}: {memory} KiB resident, {:.2} % of a core", share * 100.0);
        eprintln!("{figures}");
        let devices = site.layout.live().filter(|device| device.agent == **name).count();
        let bound = if devices <= ORDINARY { IDLE_SHARE } else { LARGEST_SHARE };
        if memory >= MEMORY_KIB || share >= bound {
            complaints.push(figures);
        }
    }
    assert!(complaints.is_empty(), "over {MEMORY_KIB} KiB or its share of a core: {complaints:#?}");
}

/// Starts every box anew as this program, and waits until each has read all of its devices and told what it read.
async fn ship(site: &mut LiveSite, program: &Path) {
    let names: Vec<String> = site.agents.keys().cloned().collect();
    for name in &names {
        site.agents[name].stop().await.unwrap();
    }
    let place = site.binaries.path(Binary::EdgeAgent);
    std::fs::remove_file(&place).unwrap();
    std::fs::copy(program, &place).unwrap();
    let started = Instant::now();
    for name in &names {
        site.restart_agent(name).await.unwrap();
    }
    site.heard_since(started).await.unwrap();
    site.devices.until("devices", READY_DEADLINE, &site.progress, all_ready).await.unwrap();
    sleep(EVERY_DEVICE).await;
}

fn all_ready(seen: &Present<Device>) -> Result<(), String> {
    let ready = seen.values().filter(|d| d.is(ConditionType::Ready)).count();
    if ready == seen.len() && ready > 300 { Ok(()) } else { Err(format!("{ready} of {} Ready", seen.len())) }
}
