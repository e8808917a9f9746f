//! What only the simulator knows of a site: a file beside its manifests. `e2e/sites/README.md` documents every key; an unknown
//! key is an error, and so is a name that the site does not have.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use kalong_crds::lane::Service;
use kalong_crds::property::Property;
use kalong_crds::units::Value;
use kube::ResourceExt;
use serde::Deserialize;
use thiserror::Error;

use super::gitops::{Manifest, SiteObjects};
use super::model;
use super::traffic::TrafficPace;

/// The facts of one site.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SimulatorFacts {
    /// Second number of the loopback addresses in the manifests; a run replaces it by its own.
    pub network: u8,
    /// Where the images of the releases in the manifests are, without a slash at the end; a run replaces it by its own.
    pub artifacts: String,
    /// Serial numbers, boot counts follow from it.
    pub seed: u64,
    pub timing: TimingFacts,
    /// Last day of the calibration that instruments show, where their model has one.
    pub calibrated_until: String,
    /// Who comes to lanes, by service.
    pub traffic: BTreeMap<Service, TrafficPace>,
    /// Vehicles that are switched off when the site starts, by name.
    #[serde(default)]
    pub switched_off: BTreeSet<String>,
    /// Instruments by the name of their DeviceModel.
    pub models: BTreeMap<String, ModelFacts>,
}

/// How long things take, in milliseconds.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TimingFacts {
    /// A device is away for so long when it starts.
    pub boot_millis: u64,
    /// Writing an image takes so long.
    pub flash_millis: u64,
    /// The self-test takes so long.
    pub self_test_millis: u64,
}

/// What leaves the factory as an instrument of one model.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelFacts {
    /// Name of the FirmwareRelease that it runs; absent where its protocol tells no version.
    pub firmware: Option<String>,
    /// Its settings: a value for each that can be written, but the lane's admission.
    #[serde(default)]
    pub factory: BTreeMap<String, Value>,
    /// What its other properties show, always.
    #[serde(default)]
    pub shows: BTreeMap<String, Value>,
}

/// Why facts do not describe their site.
#[derive(Debug, Error)]
pub enum FactsError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    /// The file is no YAML of this form.
    #[error("{path}: {message}")]
    Parse { path: PathBuf, message: String },
    /// A name that the site does not have.
    #[error("the facts name {what} `{name}`, which the site does not have: remove it")]
    Unknown { what: &'static str, name: String },
    /// Something of the site of which nothing is said.
    #[error("the facts say nothing of {what} `{name}`: add it")]
    Missing { what: &'static str, name: String },
    /// A value that the property does not take.
    #[error("the facts say `{value}` for `{property}` of {model}, which that property cannot be")]
    Value { model: String, property: String, value: Value },
}

impl TimingFacts {
    /// How long a device is away when it starts.
    pub fn boot(self) -> Duration {
        Duration::from_millis(self.boot_millis)
    }

    /// How long writing an image takes.
    pub fn flash(self) -> Duration {
        Duration::from_millis(self.flash_millis)
    }

    /// How long the self-test takes.
    pub fn self_test(self) -> Duration {
        Duration::from_millis(self.self_test_millis)
    }
}

impl SimulatorFacts {
    /// Reads the file, which need not fit a site yet.
    ///
    /// # Errors
    /// It is missing, or has another form.
    pub fn read(path: &Path) -> Result<Self, FactsError> {
        let text = fs::read_to_string(path).map_err(|source| FactsError::Read { path: path.to_owned(), source })?;
        serde_saphyr::from_str(&text)
            .map_err(|error| FactsError::Parse { path: path.to_owned(), message: error.to_string() })
    }

    /// These files as a run applies them: in its own network of loopback addresses, and with images on its own server.
    #[must_use]
    pub fn for_run(&self, files: Vec<Manifest>, network: u8, artifacts: &str) -> Vec<Manifest> {
        let (here, there) = (format!("127.{}.", self.network), format!("127.{network}."));
        let of_run = |yaml: &str| yaml.replace(&here, &there).replace(&self.artifacts, artifacts);
        files.into_iter().map(|file| Manifest { yaml: of_run(&file.yaml), path: file.path }).collect()
    }

    /// Whether they name all that this site has and nothing else.
    ///
    /// # Errors
    /// The first thing that is missing, unknown, or of a value that its property cannot be.
    pub fn check(&self, site: &SiteObjects) -> Result<(), FactsError> {
        for vehicle in &self.switched_off {
            let known = SiteObjects::named(&site.vehicles, vehicle).is_some();
            known.then_some(()).ok_or_else(|| unknown("the vehicle", vehicle))?;
        }
        let services: BTreeSet<&Service> = site.lanes.iter().map(|lane| &lane.spec.service).collect();
        same("traffic of the service", services.into_iter(), self.traffic.keys(), |s| format!("{s:?}"))?;
        let names: Vec<String> = site.models.iter().map(ResourceExt::name_any).collect();
        same("the model", names.iter(), self.models.keys(), String::clone)?;
        for model in &site.models {
            let name = model.name_any();
            let Some(facts) = self.models.get(&name) else { continue };
            facts.check_properties(&name, "the setting", model::settings(&model.spec), &facts.factory)?;
            facts.check_properties(&name, "the reading", model::readings(&model.spec), &facts.shows)?;
            facts.check_firmware(&name, site)?;
        }
        Ok(())
    }
}

impl ModelFacts {
    fn check_properties<'a>(
        &self,
        model: &str,
        what: &'static str,
        properties: impl Iterator<Item = &'a Property>,
        values: &BTreeMap<String, Value>,
    ) -> Result<(), FactsError> {
        let properties: BTreeMap<&String, &Property> = properties.map(|p| (&p.name, p)).collect();
        same(what, properties.keys().copied(), values.keys(), |name| format!("{model}.{name}"))?;
        for (name, value) in values {
            if properties.get(name).is_some_and(|property| property.misfit(value).is_some()) {
                let (model, property) = (model.to_owned(), name.clone());
                return Err(FactsError::Value { model, property, value: value.clone() });
            }
        }
        Ok(())
    }

    fn check_firmware(&self, model: &str, site: &SiteObjects) -> Result<(), FactsError> {
        let Some(firmware) = &self.firmware else { return Ok(()) };
        let release = SiteObjects::named(&site.releases, firmware);
        let fits = release.is_some_and(|release| release.spec.models.iter().any(|m| m.as_str() == model));
        if fits { Ok(()) } else { Err(unknown("the release of this model", firmware)) }
    }
}

fn unknown(what: &'static str, name: impl Into<String>) -> FactsError {
    FactsError::Unknown { what, name: name.into() }
}

/// Both lists have the same names.
fn same<'a, T: Ord + 'a>(
    what: &'static str,
    site: impl Iterator<Item = &'a T>,
    facts: impl Iterator<Item = &'a T>,
    name: impl Fn(&T) -> String,
) -> Result<(), FactsError> {
    let (site, facts): (BTreeSet<&T>, BTreeSet<&T>) = (site.collect(), facts.collect());
    if let Some(extra) = facts.difference(&site).next() {
        return Err(unknown(what, name(extra)));
    }
    match site.difference(&facts).next() {
        Some(missing) => Err(FactsError::Missing { what, name: name(missing) }),
        None => Ok(()),
    }
}
