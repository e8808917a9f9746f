//! The first report of a device counts: what it says is never said again, since nothing changes.

use std::time::Duration;

use kalong_e2e::scenario::LiveSite;
use kalong_e2e::site::report::HealthOrders;

use super::after::settled;

const DEADLINE: Duration = Duration::from_secs(120);
/// Every so many devices are ill from the start.
const EVERY: usize = 3;

/// What is wrong with some of the devices before any box has looked at them.
pub fn ailing(site: &LiveSite) -> HealthOrders {
    let able = site.layout.live().filter(|device| !device.model.is_weighbridge());
    able.step_by(EVERY)
        .filter_map(|device| Some((device.name.clone(), vec![device.model.spec.health_codes.first()?.name.clone()])))
        .collect()
}

pub async fn counts(site: &mut LiveSite) {
    let ailing = ailing(site);
    assert!(ailing.len() > 90, "{} devices are ill", ailing.len());
    settled(site).await;
    let shown = site.devices.until("first reports", DEADLINE, &site.progress, |seen| {
        let shows = |name: &String, codes: &Vec<String>| {
            let health = seen.get(name).and_then(|device| device.status.as_ref()?.health.as_ref());
            health.is_some_and(|health| health.codes == *codes)
        };
        let missing: Vec<_> = ailing.iter().filter(|(name, codes)| !shows(name, codes)).map(|(name, _)| name).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{} are missing: {missing:?}", missing.len())) }
    });
    shown.await.unwrap();
    for (name, device) in site.devices.present() {
        let codes = device.status.as_ref().and_then(|status| status.health.clone()).unwrap_or_default().codes;
        assert_eq!(codes, ailing.get(&name).cloned().unwrap_or_default(), "{name}");
    }
}
