//! What all tests of this binary stand on: one cluster with Kalong's kinds in it, and one simulated gate whose devices are given out.

use std::collections::BTreeSet;
use std::path::PathBuf;

use kalong_crds::property::PropertyType;
use kalong_e2e::cluster::{ControlPlane, workspace_directory};
use kalong_e2e::scenario::{Binaries, Binary, Cluster, ProgressLog};
use kalong_e2e::site::layout::Placed;
use kalong_e2e::site::{ControlClient, Layout, Preset, SiteOptions, SiteProcess};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::kit::{SOON, until};

const CHART: &str = "charts/kalong-crds";
/// Devices that are asked for by name.
const RESERVED: [&str; 2] = ["tb-trad-1-entry-barrier", "tb-trad-1-plc"];
/// Models that are asked for by name.
const ASKED_BY_MODEL: [&str; 2] = ["barrier", "lane-plc"];

/// A cluster and what runs beside it.
pub struct Fixture {
    pub cluster: Cluster,
    /// Folder of the programs under proof, as they were when the tests began: somebody may build meanwhile.
    pub programs: PathBuf,
    simulated: SiteProcess,
    pub layout: Layout,
    taken: Mutex<BTreeSet<String>>,
}

/// The one that the tests share. It ends with the process: its supervisor and its simulator wait on pipes from it.
pub async fn fixture() -> &'static Fixture {
    static FIXTURE: OnceCell<Fixture> = OnceCell::const_new();
    FIXTURE
        .get_or_init(async || {
            let binaries = Binaries::obtain(&ProgressLog::to(|line| eprintln!("{line}"))).await.unwrap();
            let cluster = cluster("operator").await;
            let options = SiteOptions { preset: Preset::L0, ..SiteOptions::default() };
            let simulated = SiteProcess::start_on_free_network(options).await.unwrap();
            let layout = Layout::read(&Preset::L0.source()).unwrap();
            let programs = linked(binaries, cluster.directory().join("bin"));
            Fixture { cluster, programs, simulated, layout, taken: Mutex::new(RESERVED.map(str::to_owned).into()) }
        })
        .await
}

/// A new cluster with Kalong's kinds in it.
pub async fn cluster(name: &str) -> Cluster {
    let cluster = Cluster::own(ControlPlane::default_assets().await.unwrap(), name).await.unwrap();
    let chart = workspace_directory().join(CHART).display().to_string();
    cluster.helm(["install", "kalong-crds", &chart, "--wait"]).await.unwrap();
    until("the kinds are served", SOON, async || {
        cluster.kubectl(["get", "kalong", "-A"]).await.map_err(|e| e.to_string())
    })
    .await;
    cluster
}

impl Fixture {
    /// The simulator's own word on its devices.
    pub fn control(&self) -> ControlClient {
        self.simulated.control()
    }

    /// Second number of the devices' addresses.
    pub fn network(&self) -> u8 {
        self.simulated.network()
    }

    /// A device that no other test has, which anybody may speak to and which has a number to set.
    pub fn device(&self) -> &Placed {
        let plain = |d: &&Placed| {
            let settable = d.model.settings().any(|setting| setting.kind == PropertyType::Integer);
            !d.wants_login() && settable && !ASKED_BY_MODEL.contains(&d.model.name.as_str())
        };
        self.take(plain).unwrap_or_else(|| panic!("every simulated device is given out: use fewer"))
    }

    /// A device of this model that no other test has.
    pub fn device_of(&self, model: &str) -> &Placed {
        self.take(|d| d.model.name == model)
            .unwrap_or_else(|| panic!("every simulated {model} is given out: use fewer"))
    }

    /// This very device, for which no other test may have asked.
    pub fn device_named(&self, name: &str) -> &Placed {
        self.layout.devices.iter().find(|d| d.name == name).unwrap()
    }

    fn take(&self, fits: impl Fn(&&Placed) -> bool) -> Option<&Placed> {
        let mut taken = self.taken.lock();
        let found = self.layout.devices.iter().filter(fits).find(|d| !taken.contains(&d.name))?;
        taken.insert(found.name.clone());
        Some(found)
    }
}

/// File of a program under proof.
pub fn program(fixture: &Fixture, binary: Binary) -> PathBuf {
    fixture.programs.join(binary.name())
}

/// Gives the programs a second name, which stays when a build replaces the first.
fn linked(binaries: &Binaries, folder: PathBuf) -> PathBuf {
    std::fs::create_dir_all(&folder).unwrap();
    for binary in [Binary::Operator, Binary::EdgeAgent, Binary::Plugin] {
        std::fs::hard_link(binaries.path(binary), folder.join(binary.name())).unwrap();
    }
    folder
}
