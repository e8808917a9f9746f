//! 2. New firmware for twelve cameras of Closed lanes, wanted by a person's patch; what `kubectl get devices` shows is true at every
//!    moment.

use std::time::{Duration, Instant};

use kalong_crds::condition::{ConditionType, Conditioned};

use super::rollout;
use super::settled::{is_ready, settled};
use super::timeline::Timeline;
use crate::demo::finding::Finding;
use crate::scenario::{LiveSite, ScenarioError, next_version};
use crate::site::layout::Placed;

/// How many cameras are changed, where the site has as many.
const CAMERAS: usize = 12;
/// Security counter of their releases, above those that they came with.
const COUNTER: i64 = 2;
/// Four rounds in the fullest lane, each with a transfer, a start and a soak of 5 s.
const ROLL_DEADLINE: Duration = Duration::from_secs(240);
/// Cameras are polled every 5 s; then the report and the status write.
const LAG: Duration = Duration::from_secs(7);
/// Between two looks of the person at the terminal.
const LOOK_EVERY: Duration = Duration::from_millis(700);

pub(super) async fn look(site: &mut LiveSite) -> Result<Finding, ScenarioError> {
    let mut finding = Finding::default();
    settled(site).await?;
    let cameras: Vec<Placed> = site.layout.cameras_of_closed_lanes().into_iter().take(CAMERAS).cloned().collect();
    let names: Vec<String> = cameras.iter().map(|camera| camera.name.clone()).collect();
    let releases = rollout::publish_all(site, &cameras, |model| next_version(model.version()), COUNTER).await?;
    let before = site.truth().await?;
    let timeline = Timeline::start(site.simulated.control(), names.clone());
    let begun = Instant::now();
    rollout::want(site, &cameras, &releases).await?;
    let rolled = site.devices.until("cameras with new firmware", ROLL_DEADLINE, &site.progress, |seen| {
        let done = cameras.iter().filter(|camera| {
            let version = releases.get(&camera.model.name).map_or("", |release| release.version.as_str());
            seen.get(&camera.name).is_some_and(|device| {
                let firmware = device.status.as_ref().and_then(|status| status.firmware.as_ref());
                is_ready(device.as_ref())
                    && device.is(ConditionType::FirmwareUpToDate)
                    && firmware.is_some_and(|firmware| firmware.running == version)
            })
        });
        let done = done.count();
        if done == cameras.len() { Ok(()) } else { Err(format!("{done} of {} proven", cameras.len())) }
    });
    // Whoever sits at a terminal meanwhile must never be told something untrue.
    let mut shown = ColumnCheck { names: names.clone(), ..ColumnCheck::default() };
    tokio::select! {
        rolled = rolled => rolled?,
        watched = watch(site, &mut shown) => watched?,
    }
    let took = begun.elapsed();
    shown.look(site).await?;
    timeline.covers(Instant::now()).await?;
    shown.hold_rows(&cameras, &timeline);
    shown.hold_statuses(site, &cameras, &timeline, begun);
    for lie in &shown.lies {
        finding.require(false, || lie.clone());
    }
    rollout::prove(site, &cameras, &releases, &before, &mut finding).await?;
    settled(site).await?;
    finding.say(format!("{} cameras run new, proven firmware after {:.1} s", cameras.len(), took.as_secs_f64()));
    finding.say(format!(
        "{} rows of `kubectl get devices` and {} statuses were all true",
        shown.rows.len(),
        shown.statuses
    ));
    finding.count("cameras", cameras.len());
    finding.seconds("rolloutSeconds", took);
    finding.count("rowsChecked", shown.rows.len());
    finding.count("statusesChecked", shown.statuses);
    Ok(finding)
}

async fn watch(site: &LiveSite, shown: &mut ColumnCheck) -> Result<(), ScenarioError> {
    loop {
        shown.look(site).await?;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What was shown, and what of it was not true.
#[derive(Default)]
struct ColumnCheck {
    /// The cameras that are looked at.
    names: Vec<String>,
    rows: Vec<Row>,
    statuses: usize,
    lies: Vec<String>,
}

/// A row of `kubectl get devices`, and when it was asked for and shown.
struct Row {
    name: String,
    running: String,
    previous: String,
    when: (Instant, Instant),
}

impl ColumnCheck {
    /// Runs `kubectl get devices` and keeps its rows.
    async fn look(&mut self, site: &LiveSite) -> Result<(), ScenarioError> {
        let asked = Instant::now();
        let names = self.names.iter().map(String::as_str);
        let table = site.cluster.kubectl(["-n", site.namespace(), "get", "devices"].into_iter().chain(names)).await?;
        let when = (asked, Instant::now());
        let rows = columns(&table)?.into_iter();
        self.rows.extend(rows.map(|(name, running, previous)| Row { name, running, previous, when }));
        Ok(())
    }

    /// Holds the rows against the devices.
    fn hold_rows(&mut self, cameras: &[Placed], timeline: &Timeline) {
        let rows = std::mem::take(&mut self.rows);
        for row in &rows {
            if let Some(camera) = cameras.iter().find(|camera| camera.name == row.name) {
                self.hold(camera, &row.running, &row.previous, row.when, timeline);
            }
        }
        self.rows = rows;
    }

    /// The same for every version of the objects that a watcher saw, however short it was.
    fn hold_statuses(&mut self, site: &LiveSite, cameras: &[Placed], timeline: &Timeline, since: Instant) {
        for camera in cameras {
            for sighting in site.devices.history(&camera.name).into_iter().filter(|sighting| sighting.at >= since) {
                let Some(firmware) = sighting.object.status.as_ref().and_then(|status| status.firmware.clone()) else {
                    self.lies.push(format!("{} had no firmware status for a moment", camera.name));
                    continue;
                };
                self.statuses += 1;
                let previous = firmware.previous.unwrap_or_default();
                self.hold(camera, &firmware.running, &previous, (sighting.at, sighting.at), timeline);
            }
        }
    }

    fn hold(
        &mut self,
        camera: &Placed,
        running: &str,
        previous: &str,
        (from, to): (Instant, Instant),
        timeline: &Timeline,
    ) {
        let name = &camera.name;
        let earliest = from.checked_sub(LAG).unwrap_or(from);
        if !timeline.ran(name, running, earliest, to) {
            self.lies.push(format!("{name} was shown to run `{running}`, which it did not at that moment"));
        }
        let new = running != camera.model.version();
        if new && previous != camera.model.version() {
            self.lies.push(format!("{name} runs {running} and was shown to have run `{previous}` before"));
        }
        // Before the change there is nothing before; after it, what ran before is what the device really left.
        if !new && !previous.is_empty() && !timeline.ever_ran(name, previous) {
            self.lies.push(format!("{name} was shown to have run `{previous}`, which it never did"));
        }
    }
}

/// Name, running and previous of each row. Columns begin where their headers do.
fn columns(table: &str) -> Result<Vec<(String, String, String)>, ScenarioError> {
    let mut lines = table.lines();
    let header = lines.next().unwrap_or_default();
    let column = |title: &str| {
        let start = header.find(title)?;
        let rest = header.get(start + title.len()..)?;
        let end = rest.find(|c: char| c != ' ').map(|more| start + title.len() + more);
        Some((start, end))
    };
    let (Some(name), Some(running), Some(previous)) = (column("NAME"), column("RUNNING"), column("PREVIOUS")) else {
        return Err(ScenarioError::Shape { what: "the table of `kubectl get devices`", why: header.to_owned() });
    };
    let cell = |line: &str, (start, end): (usize, Option<usize>)| {
        let end = end.unwrap_or(line.len()).min(line.len());
        let text = line.get(start.min(end)..end).unwrap_or_default().trim();
        if text == "<none>" { String::new() } else { text.to_owned() }
    };
    Ok(lines.map(|line| (cell(line, name), cell(line, running), cell(line, previous))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_read_where_their_headers_stand() {
        let table = "NAME   MODEL   RUNNING   PREVIOUS   HEALTH   READY\n\
                     cam-1  dome    1.4.3     1.4.2      OK       True\n\
                     cam-2  dome    1.4.2                OK       True\n\
                     cam-3  dome    <none>    <none>              False\n";
        let rows = columns(table).unwrap();
        let row =
            |name: &str, running: &str, previous: &str| (name.to_owned(), running.to_owned(), previous.to_owned());
        assert_eq!(rows, [row("cam-1", "1.4.3", "1.4.2"), row("cam-2", "1.4.2", ""), row("cam-3", "", "")]);
        assert!(columns("No resources found").is_err());
    }
}
