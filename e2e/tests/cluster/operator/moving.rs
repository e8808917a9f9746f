//! A device that is given to another box is taken from the old one.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, SocketAddrV4};

use kalong_crds::blocked::BlockCode;
use kalong_crds::condition::{ConditionType, Conditioned};
use kalong_crds::{Device, EdgeAgent};
use serde_json::json;

use super::fixture::fixture;
use super::home::shared_site;
use crate::kit::{SOON, holds, until};

/// Whether this process has a connection to this address.
pub fn talks(pid: u32, to: SocketAddr) -> bool {
    const ESTABLISHED: &str = "01";
    let SocketAddr::V4(to) = to else { return false };
    let to = as_the_kernel_writes(to);
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let inodes: BTreeSet<String> = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.len() > 9 && words[2] == to && words[3] == ESTABLISHED)
        .map(|words| format!("socket:[{}]", words[9]))
        .collect();
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let mut targets = files.filter_map(Result::ok).filter_map(|file| fs::read_link(file.path()).ok());
    targets.any(|target| inodes.contains(target.to_string_lossy().as_ref()))
}

fn as_the_kernel_writes(address: SocketAddrV4) -> String {
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}

async fn device_that_moves_is_taken_from_its_old_box_and_served_by_the_new_one() {
    let fixture = fixture().await;
    let site = shared_site("moves").await;
    let placed = fixture.device_of("barrier");
    let endpoint = SocketAddr::V4(placed.endpoint(fixture.network()));
    site.working_box("old").await;
    site.working_box("new").await;
    site.device(placed, "old").await;
    site.ready::<Device>(&placed.name).await;
    let (old, new) = (site.process_of("old").pid(), site.process_of("new").pid());
    until("the old box reads it", SOON, async || holds(talks(old, endpoint), "")).await;
    let before = fixture.control().device(&placed.name).await.unwrap().counts;

    site.patch::<Device>(&placed.name, json!({"spec": {"agentRef": "new"}})).await;
    site.ready::<Device>(&placed.name).await;
    until("only the new box reads it", SOON, async || {
        let (old, new) = (talks(old, endpoint), talks(new, endpoint));
        holds(new && !old, format!("old {old}, new {new}"))
    })
    .await;
    for name in ["old", "new"] {
        site.until::<EdgeAgent>(name, "in sync, without orphans", SOON, |a| {
            a.is(ConditionType::Synced) && a.status.as_ref().is_some_and(|s| s.orphans.is_empty())
        })
        .await;
    }
    let after = fixture.control().device(&placed.name).await.unwrap().counts;
    assert_eq!(after.setting_writes, before.setting_writes, "it holds already what is declared");
    let change = site.change(placed).await;
    site.holds(placed, &change).await;

    // The box that has it now is away when it is given back: the other one is not told before that one let go of it.
    site.stop_box("new").await;
    site.silent("new").await;
    site.patch::<Device>(&placed.name, json!({"spec": {"agentRef": "old"}})).await;
    site.until::<Device>(&placed.name, "waiting for the box that still has it", SOON, |device| {
        let blocked = device.status.as_ref().map(|s| s.blocked_by.as_slice()).unwrap_or_default();
        blocked.iter().any(|b| b.code == BlockCode::AgentUnreachable && b.subject == "EdgeAgent/new")
    })
    .await;
    assert!(!talks(old, endpoint), "never two boxes at one device");
    site.run("new").await;
    site.ready::<Device>(&placed.name).await;
    let new = site.process_of("new").pid();
    site.until::<EdgeAgent>("new", "in sync, without orphans", SOON, |a| {
        a.is(ConditionType::Connected)
            && a.is(ConditionType::Synced)
            && a.status.as_ref().is_some_and(|s| s.orphans.is_empty())
    })
    .await;
    until("only the old box reads it", SOON, async || {
        let (old, new) = (talks(old, endpoint), talks(new, endpoint));
        holds(old && !new, format!("old {old}, new {new}"))
    })
    .await;
    site.holds(placed, &change).await;
}

crate::tests![device_that_moves_is_taken_from_its_old_box_and_served_by_the_new_one,];
