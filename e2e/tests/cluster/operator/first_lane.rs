//! The page that a newcomer follows, followed: its manifests and its commands, as they are written.

use std::path::Path;
use std::time::Duration;

use kalong_crds::condition::{ConditionType, Conditioned};
use kalong_crds::{Crossing, Device, EdgeAgent, Lane};
use kalong_e2e::cluster::{Tool, workspace_directory};
use kalong_e2e::scenario::Program;
use serde_json::json;

use super::fixture::{Fixture, fixture};
use super::home::shared;
use super::site::TestSite;
use crate::kit::{SOON, holds, until};

const PAGE: &str = "docs/my-first-lane.md";
const COMMAND: Duration = Duration::from_secs(60);
/// Where the page puts the box's state: not ours to write to.
const STATE: &str = "/var/lib/kalong";

/// A block of the page: its language and its text.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    page.split("```").skip(1).step_by(2).filter_map(|block| block.split_once('\n')).collect()
}

/// A newcomer's shell, in a folder of its own, with the real kubectl and our programs on its path.
struct Shell<'a> {
    fixture: &'a Fixture,
    folder: std::path::PathBuf,
    state: String,
}

impl Shell<'_> {
    async fn run(&self, line: &str) -> Result<String, String> {
        let kubectl = self.fixture.cluster.tool(Tool::Kubectl).parent().unwrap();
        let path = [kubectl, self.fixture.programs.as_path(), Path::new("/usr/bin"), Path::new("/bin")];
        let line = format!("cd {} && {}", self.folder.display(), line.replace(STATE, &self.state));
        Program::new("/bin/sh")
            .args(["-c", &line])
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("KUBECONFIG", self.fixture.cluster.kubeconfig())
            .run(COMMAND)
            .await
            .map_err(|e| e.to_string())
    }
}

async fn first_lane_comes_to_be_as_its_page_says() {
    let fixture = fixture().await;
    let (home, _) = shared().await;
    let site: TestSite<'_> = home.site("mong-cai");
    let page = std::fs::read_to_string(workspace_directory().join(PAGE)).unwrap();
    // The page's gate is the first barrier of the small one, in the network of the checked-in manifests.
    let barrier = fixture.device_named("tb-trad-1-entry-barrier");
    let written = barrier.endpoint(fixture.layout.facts.network).to_string();
    assert!(page.contains(&written), "the page speaks of {written}, the first barrier of {}", fixture.layout.site());
    let page = page.replace(&written, &barrier.endpoint(fixture.network()).to_string());
    let blocks = blocks(&page);
    let manifests: Vec<&str> =
        blocks.iter().filter(|(language, _)| *language == "yaml").map(|(_, text)| *text).collect();
    let lines: Vec<String> = blocks
        .iter()
        .filter(|(language, _)| *language == "sh")
        .flat_map(|(_, text)| text.lines())
        .map(str::to_owned)
        .collect();
    let [model, agent, device, lane] = manifests[..] else { panic!("four manifests") };

    let folder = fixture.cluster.directory().join("newcomer");
    std::fs::create_dir_all(&folder).unwrap();
    for (file, text) in [("barrier-arm.yaml", model), ("my-box.yaml", agent), ("my-barrier.yaml", device)] {
        std::fs::write(folder.join(file), text).unwrap();
    }
    let shell = Shell { fixture, folder, state: site.state_of("my-box").display().to_string() };
    // As in the page, with the operator of this test.
    let operator = format!(" --operator-namespace {}", home.namespace);
    let mut refused = 0;
    for line in lines.iter().filter(|line| !line.starts_with("cargo ")) {
        if line.starts_with("kalong-edge-agent run") {
            site.run("my-box").await;
        } else if line.starts_with("kubectl kalong enrol") {
            let waits = |d: &Device| d.reason(ConditionType::Ready) == "NotEnrolled";
            let device = site.until::<Device>("my-barrier", "NotEnrolled", SOON, waits).await;
            let say = &device.condition(ConditionType::Ready).unwrap().message;
            assert!(say.contains("kubectl kalong enrol my-box"), "{say}");
            let command = shell.run(&(line.to_owned() + &operator)).await.unwrap();
            shell.run(command.trim()).await.unwrap();
        } else if line.starts_with("kubectl delete kdev") {
            let refusal = shell.run(line).await.unwrap_err();
            assert!(refusal.contains("in service"), "{refusal}");
            refused += 1;
        } else {
            let said = shell.run(line).await.unwrap_or_else(|e| panic!("{line}: {e}"));
            if line.contains("-o wide") {
                assert!(said.contains("RUNNING") && said.contains(barrier.model.version()), "{said}");
            }
        }
    }
    assert_eq!(refused, 1);

    // 4. What was changed is in the barrier; what the model forbids is not.
    let report = async || fixture.control().device(&barrier.name).await.unwrap();
    let opening = async || report().await.settings["openingTimeMillis"].clone();
    until("the barrier has the new time", SOON, async || holds(opening().await == 1800.into(), "")).await;
    site.ready::<Device>("my-barrier").await;
    site.patch::<Device>("my-barrier", json!({"spec": {"config": {"openingTimeMillis": 60}}})).await;
    site.stalled::<Device>("my-barrier", "InvalidConfig", SOON).await;
    assert_eq!(opening().await, 1800.into());
    site.patch::<Device>("my-barrier", json!({"spec": {"config": {"openingTimeMillis": 1800}}})).await;

    // 5. A lane of it, with a controller of the small gate.
    let plc = fixture.device_named("tb-trad-1-plc");
    site.model_of(plc).await;
    let mut controller = super::site::declared(fixture, plc, "my-box");
    controller.metadata.name = Some("my-plc".into());
    site.create(&controller).await;
    std::fs::write(shell.folder.join("my-lane.yaml"), lane).unwrap();
    shell.run("kubectl apply -f my-lane.yaml").await.unwrap();
    let open = site.ready::<Lane>("my-lane").await;
    assert!(open.is(ConditionType::Available), "{open:?}");
    site.ready::<Crossing>("my-crossing").await;

    // 6. Away with it.
    site.patch::<Lane>("my-lane", json!({"spec": {"admission": "Closed"}})).await;
    site.patch::<Device>("my-barrier", json!({"spec": {"admin": "Disabled"}})).await;
    let delete = lines.iter().find(|line| line.starts_with("kubectl delete kdev")).unwrap();
    shell.run(delete).await.unwrap();
    site.gone::<Device>("my-barrier").await;
    assert_eq!(opening().await, 1800.into(), "the barrier is left as it is");

    // The rest of it goes the same way, and nothing hangs.
    site.delete::<Lane>("my-lane").await.unwrap();
    site.gone::<Lane>("my-lane").await;
    site.delete::<Crossing>("my-crossing").await.unwrap();
    site.patch::<Device>("my-plc", json!({"spec": {"admin": "Disabled"}})).await;
    site.delete::<EdgeAgent>("my-box").await.unwrap();
    site.delete::<Device>("my-plc").await.unwrap();
    site.gone::<Device>("my-plc").await;
    site.gone::<EdgeAgent>("my-box").await;
    site.gone::<Crossing>("my-crossing").await;
}

crate::tests![first_lane_comes_to_be_as_its_page_says,];
