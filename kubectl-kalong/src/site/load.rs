//! Reads sites from the API server: one list a kind, all at once.

use std::collections::BTreeMap;

use kalong_crds::{ApiObject, Kind, for_each_kind};
use kalong_rules::snapshot::Tabled;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::{Listing, Site};
use crate::cluster::{CallError, is, within};

/// Objects in one answer of the API server.
const PAGE: u32 = 500;

/// HTTP's word for a path that leads nowhere; a kind that is not installed is answered by plain text without a reason.
const NOT_FOUND: u16 = 404;
const NOT_INSTALLED: &str = "the kind is not installed";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Site(String),
    /// All that the API server shows.
    Everywhere,
}

/// A kind that could not be read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skipped {
    pub(crate) kind: Kind,
    pub(crate) why: String,
}

/// The sites in scope by namespace, and what could not be read of them.
pub(crate) async fn load(client: &Client, scope: &Scope) -> Result<(Vec<Site>, Vec<Skipped>), CallError> {
    let mut sites: BTreeMap<String, Site> = BTreeMap::new();
    if let Scope::Site(namespace) = scope {
        sites.insert(namespace.clone(), Site::new(namespace));
    }
    let mut skipped = Vec::new();
    macro_rules! load_each {
        ($($kind:ident { $list:ident $($facts:tt)* })+) => {
            let ($($list,)+) = futures::try_join!($(list::<kalong_crds::$kind>(client, scope)),+)?;
            $(take($list, &mut sites, &mut skipped, |site| &mut site.$list);)+
        };
    }
    for_each_kind!(load_each);
    let sites: Vec<Site> = sites.into_values().collect();
    if skipped.len() == Kind::ALL.len() && skipped.iter().all(|u| u.why == NOT_INSTALLED) {
        return Err(CallError::NotInstalled);
    }
    if skipped.len() == Kind::ALL.len() {
        return Err(CallError::Refused(
            "list Kalong's objects",
            skipped.first().map(|u| u.why.clone()).unwrap_or_default(),
        ));
    }
    Ok((sites, skipped))
}

/// A kind's objects, or why they may not or cannot be listed.
type Listed<K> = Result<Vec<K>, String>;

async fn list<K: ApiObject>(client: &Client, scope: &Scope) -> Result<Listed<K>, CallError> {
    let api: Api<K> = match scope {
        Scope::Site(namespace) => Api::namespaced(client.clone(), namespace),
        Scope::Everywhere => Api::all(client.clone()),
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

/// Sorts the objects of one kind into their sites.
fn take<K: Tabled>(
    listed: Listed<K>,
    sites: &mut BTreeMap<String, Site>,
    skipped: &mut Vec<Skipped>,
    list: fn(&mut Site) -> &mut Listing<K>,
) {
    match listed {
        Err(why) => skipped.push(Skipped { kind: K::KIND, why }),
        Ok(objects) => {
            for object in objects {
                let namespace = object.namespace().unwrap_or_default();
                let site = sites.entry(namespace).or_insert_with_key(|name| Site::new(name));
                site.push(object, list);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    //! Sites from checked-in lists, as `kubectl get kalong -o json` prints them.

    use super::*;
    use serde_json::Value;

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
            fn put<K: Tabled>(item: &Value, site: &mut Site, list: fn(&mut Site) -> &mut Listing<K>) {
                site.push(serde_json::from_value(item.clone()).unwrap_or_else(|e| panic!("{e}: {item}")), list);
            }
            macro_rules! put_each {
                ($($kind:ident { $list:ident $($facts:tt)* })+) => {
                    match item["kind"].as_str().unwrap() {
                        $(stringify!($kind) => put(item, &mut site, |site| &mut site.$list),)+
                        "Gone" => {}
                        other => panic!("no place for {other}"),
                    }
                };
            }
            for_each_kind!(put_each);
        }
        site
    }
}
