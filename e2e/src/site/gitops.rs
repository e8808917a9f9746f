//! A site as it stands in Git: the files of its folder in the order of its kustomization, and the objects in them.

use std::path::{Path, PathBuf};
use std::{fs, io};

use k8s_openapi::api::core::v1::Namespace;
use kalong_crds::{
    BilateralLink, Crossing, Device, DeviceModel, EdgeAgent, FirmwareRelease, IGV, InspectionStation, Lane, Phase,
};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

const KUSTOMIZATION: &str = "kustomization.yaml";
/// The authors' public keys within a site's folder, for `--release-keys`. No object of the cluster.
pub const KEY_DOCUMENT: &str = "demo-keys/release-keys.json";

/// Why a site cannot be read.
#[derive(Debug, Error)]
pub enum GitopsError {
    /// A file that cannot be read.
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    /// A file that is no YAML, or an object that is not of its kind.
    #[error("{path}: {message}")]
    Parse {
        /// The file, below the site's folder.
        path: String,
        message: String,
    },
    /// A kind that no site has.
    #[error("{path}: an object of kind `{kind}` does not belong to a site")]
    Kind {
        /// The file, below the site's folder.
        path: String,
        kind: String,
    },
}

/// A file that the kustomization lists, or the kustomization itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Path below the site's folder, with slashes.
    pub path: String,
    pub yaml: String,
}

/// Which objects a kustomization gathers; whatever else it does is kustomize's concern.
#[derive(Deserialize)]
struct Kustomization {
    resources: Vec<String>,
}

/// The files of a site: its kustomization first, then what that lists.
///
/// # Errors
/// A file is missing, or the kustomization is none.
pub fn read(folder: &Path) -> Result<Vec<Manifest>, GitopsError> {
    let manifest = |path: &str| {
        let file = folder.join(path);
        let yaml = fs::read_to_string(&file).map_err(|source| GitopsError::Read { path: file, source })?;
        Ok(Manifest { path: path.to_owned(), yaml })
    };
    let first = manifest(KUSTOMIZATION)?;
    let listed: Kustomization = serde_saphyr::from_str(&first.yaml).map_err(|error| parse_error(&first, error))?;
    let mut files = vec![first];
    for path in &listed.resources {
        files.push(manifest(path)?);
    }
    Ok(files)
}

/// The objects of a site, each kind in the order of the files.
#[derive(Clone, Debug, Default)]
pub struct SiteObjects {
    /// Name of the namespace, which is the site.
    pub site: String,
    pub models: Vec<DeviceModel>,
    pub releases: Vec<FirmwareRelease>,
    pub phases: Vec<Phase>,
    pub crossings: Vec<Crossing>,
    pub lanes: Vec<Lane>,
    pub agents: Vec<EdgeAgent>,
    pub devices: Vec<Device>,
    pub stations: Vec<InspectionStation>,
    pub vehicles: Vec<IGV>,
    /// Links to the other side.
    pub links: Vec<BilateralLink>,
}

impl SiteObjects {
    /// The objects in these files.
    ///
    /// # Errors
    /// One is of a kind that no site has, or not of its kind's form.
    pub fn parse(files: &[Manifest]) -> Result<Self, GitopsError> {
        let mut objects = Self::default();
        for file in files.iter().filter(|file| file.path != KUSTOMIZATION) {
            let documents: Vec<Value> =
                serde_saphyr::from_multiple(&file.yaml).map_err(|error| parse_error(file, error))?;
            for document in documents {
                objects.take(file, document)?;
            }
        }
        Ok(objects)
    }

    fn take(&mut self, file: &Manifest, document: Value) -> Result<(), GitopsError> {
        let kind = document.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        match kind.as_str() {
            "Namespace" => self.site = typed::<Namespace>(file, document)?.name_any(),
            "DeviceModel" => self.models.push(typed(file, document)?),
            "FirmwareRelease" => self.releases.push(typed(file, document)?),
            "Phase" => self.phases.push(typed(file, document)?),
            "Crossing" => self.crossings.push(typed(file, document)?),
            "Lane" => self.lanes.push(typed(file, document)?),
            "EdgeAgent" => self.agents.push(typed(file, document)?),
            "Device" => self.devices.push(typed(file, document)?),
            "InspectionStation" => self.stations.push(typed(file, document)?),
            "IGV" => self.vehicles.push(typed(file, document)?),
            "BilateralLink" => self.links.push(typed(file, document)?),
            _ => return Err(GitopsError::Kind { path: file.path.clone(), kind }),
        }
        Ok(())
    }

    /// The object of this name, among those of one kind.
    pub fn named<'a, K: Resource>(list: &'a [K], name: &str) -> Option<&'a K> {
        list.iter().find(|object| object.meta().name.as_deref() == Some(name))
    }

    /// All of them as `kubectl apply -f` takes them, without the namespace.
    ///
    /// # Errors
    /// An object cannot be written as JSON.
    pub fn list(&self) -> Result<Value, serde_json::Error> {
        let mut items = Vec::new();
        add(&mut items, &self.models)?;
        add(&mut items, &self.releases)?;
        add(&mut items, &self.phases)?;
        add(&mut items, &self.crossings)?;
        add(&mut items, &self.lanes)?;
        add(&mut items, &self.agents)?;
        add(&mut items, &self.devices)?;
        add(&mut items, &self.stations)?;
        add(&mut items, &self.vehicles)?;
        add(&mut items, &self.links)?;
        Ok(serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items}))
    }
}

fn typed<T: DeserializeOwned>(file: &Manifest, document: Value) -> Result<T, GitopsError> {
    serde_json::from_value(document).map_err(|error| parse_error(file, error))
}

fn parse_error(file: &Manifest, error: impl ToString) -> GitopsError {
    GitopsError::Parse { path: file.path.clone(), message: error.to_string() }
}

fn add<T: Serialize>(items: &mut Vec<Value>, objects: &[T]) -> Result<(), serde_json::Error> {
    for object in objects {
        let mut value = serde_json::to_value(object)?;
        // What people write has no status.
        value.as_object_mut().map(|fields| fields.remove("status"));
        items.push(value);
    }
    Ok(())
}
