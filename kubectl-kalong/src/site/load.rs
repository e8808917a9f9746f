//! Reads sites from the API server: one list a kind, all at once.

use std::collections::BTreeMap;

use kalong_crds::{
    BilateralLink, Crossing, Device, DeviceModel, EdgeAgent, FirmwareRelease, IGV, InspectionStation, Lane, LaneDrain,
    Phase,
};
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::Site;
use crate::cluster::{CallError, is, within};
use crate::kind::Kind;

/// Objects in one answer of the API server.
const PAGE: u32 = 500;

/// HTTP's word for a path that leads nowhere; a kind that is not installed is answered by plain text without a reason.
const NOT_FOUND: u16 = 404;
const NOT_INSTALLED: &str = "the kind is not installed";

/// How far to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// One namespace.
    Site(String),
    /// All that the API server shows.
    Everywhere,
}

/// A kind that could not be read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    pub(crate) kind: Kind,
    pub(crate) why: String,
}

/// The sites within reach by namespace, and what could not be read of them.
pub(crate) async fn load(client: &Client, reach: &Reach) -> Result<(Vec<Site>, Vec<Unread>), CallError> {
    let mut sites: BTreeMap<String, Site> = BTreeMap::new();
    if let Reach::Site(namespace) = reach {
        sites.insert(namespace.clone(), Site::new(namespace));
    }
    let mut unread = Vec::new();
    let (phases, crossings, lanes, drains, stations, igvs, links, agents, devices, models, releases) = futures::try_join!(
        list::<Phase>(client, reach),
        list::<Crossing>(client, reach),
        list::<Lane>(client, reach),
        list::<LaneDrain>(client, reach),
        list::<InspectionStation>(client, reach),
        list::<IGV>(client, reach),
        list::<BilateralLink>(client, reach),
        list::<EdgeAgent>(client, reach),
        list::<Device>(client, reach),
        list::<DeviceModel>(client, reach),
        list::<FirmwareRelease>(client, reach),
    )?;
    let mut desk = Desk { sites: &mut sites, unread: &mut unread };
    desk.take(Kind::Phase, phases, |site| &mut site.phases);
    desk.take(Kind::Crossing, crossings, |site| &mut site.crossings);
    desk.take(Kind::Lane, lanes, |site| &mut site.lanes);
    desk.take(Kind::LaneDrain, drains, |site| &mut site.drains);
    desk.take(Kind::InspectionStation, stations, |site| &mut site.stations);
    desk.take(Kind::IGV, igvs, |site| &mut site.igvs);
    desk.take(Kind::BilateralLink, links, |site| &mut site.links);
    desk.take(Kind::EdgeAgent, agents, |site| &mut site.agents);
    desk.take(Kind::Device, devices, |site| &mut site.devices);
    desk.take(Kind::DeviceModel, models, |site| &mut site.models);
    desk.take(Kind::FirmwareRelease, releases, |site| &mut site.releases);
    let mut sites: Vec<Site> = sites.into_values().collect();
    sites.iter_mut().for_each(Site::index);
    if unread.len() == Kind::ALL.len() && unread.iter().all(|u| u.why == NOT_INSTALLED) {
        return Err(CallError::NotInstalled);
    }
    if unread.len() == Kind::ALL.len() {
        return Err(CallError::Refused(
            "list Kalong's objects",
            unread.first().map(|u| u.why.clone()).unwrap_or_default(),
        ));
    }
    Ok((sites, unread))
}

/// A kind's objects, or why they may not or cannot be listed.
type Listed<K> = Result<Vec<K>, String>;

async fn list<K>(client: &Client, reach: &Reach) -> Result<Listed<K>, CallError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let api: Api<K> = match reach {
        Reach::Site(namespace) => Api::namespaced(client.clone(), namespace),
        Reach::Everywhere => Api::all(client.clone()),
    };
    let mut all = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let answer = match within(api.list(&page)).await {
            Ok(answer) => answer,
            Err(error) if is(&error, |s| s.code == NOT_FOUND) => return Ok(Err(NOT_INSTALLED.to_owned())),
            Err(error) if is(&error, |s| s.is_forbidden()) => return Ok(Err("you may not list it".to_owned())),
            Err(error) => return Err(CallError::of("list Kalong's objects")(error)),
        };
        all.extend(answer.items);
        match answer.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page.continue_token = Some(token),
            None => return Ok(Ok(all)),
        }
    }
}

/// Where lists are sorted into sites.
struct Desk<'a> {
    sites: &'a mut BTreeMap<String, Site>,
    unread: &'a mut Vec<Unread>,
}

impl Desk<'_> {
    fn take<K: ResourceExt>(&mut self, kind: Kind, listed: Listed<K>, place: fn(&mut Site) -> &mut Vec<K>) {
        match listed {
            Err(why) => self.unread.push(Unread { kind, why }),
            Ok(objects) => {
                for object in objects {
                    let namespace = object.namespace().unwrap_or_default();
                    let site = self.sites.entry(namespace).or_insert_with_key(|name| Site::new(name));
                    place(site).push(object);
                }
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    //! Sites from checked-in lists, as `kubectl get kalong -o json` prints them.

    use super::*;
    use serde_json::Value;

    /// The site of `tests/fixtures/<name>.json`.
    pub(crate) fn site(name: &str) -> Site {
        changed(name, |_| {})
    }

    /// The same, with some objects changed before they are read.
    pub(crate) fn changed(name: &str, change: impl Fn(&mut Value)) -> Site {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.json"));
        let mut list: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut site = Site::new("mong-cai");
        for item in list["items"].as_array_mut().unwrap() {
            change(item);
            fn put<K: DeserializeOwned>(item: &Value, list: &mut Vec<K>) {
                list.push(serde_json::from_value(item.clone()).unwrap_or_else(|e| panic!("{e}: {item}")));
            }
            match item["kind"].as_str().unwrap() {
                "Phase" => put(item, &mut site.phases),
                "Crossing" => put(item, &mut site.crossings),
                "Lane" => put(item, &mut site.lanes),
                "LaneDrain" => put(item, &mut site.drains),
                "InspectionStation" => put(item, &mut site.stations),
                "IGV" => put(item, &mut site.igvs),
                "BilateralLink" => put(item, &mut site.links),
                "EdgeAgent" => put(item, &mut site.agents),
                "Device" => put(item, &mut site.devices),
                "DeviceModel" => put(item, &mut site.models),
                "FirmwareRelease" => put(item, &mut site.releases),
                "Gone" => {}
                other => panic!("no place for {other}"),
            }
        }
        site.index();
        site
    }
}
