//! The kinds, and how people name an object on a command line.

use std::fmt;
use std::str::FromStr;

use kalong_crds::{
    BilateralLink, Crossing, Device, DeviceModel, EdgeAgent, FirmwareRelease, IGV, InspectionStation, Lane, LaneDrain,
    Phase,
};
use kube::{CustomResourceExt, Resource};
use serde::{Serialize, Serializer};

macro_rules! kinds {
    ($($kind:ident),+) => {
        /// A kind of `kalong.dev`.
        #[allow(clippy::upper_case_acronyms, reason = "the kind is written so in the API")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Kind { $($kind),+ }

        impl Kind {
            /// Every kind, from the programme down to the instrument.
            pub(crate) const ALL: &[Self] = &[$(Self::$kind),+];

            /// The kind as it stands in the API.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$kind => stringify!($kind)),+ }
            }

            /// Every word by which kubectl knows the kind, in lower case.
            fn words(self) -> Vec<String> {
                match self {
                    $(Self::$kind => {
                        let mut words = vec![$kind::kind(&()).to_lowercase(), $kind::plural(&()).to_lowercase()];
                        words.extend($kind::shortnames().iter().map(|word| (*word).to_owned()));
                        words
                    })+
                }
            }
        }
    };
}

kinds!(
    Phase,
    Crossing,
    Lane,
    LaneDrain,
    InspectionStation,
    IGV,
    BilateralLink,
    EdgeAgent,
    Device,
    DeviceModel,
    FirmwareRelease
);

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let lower = text.to_lowercase();
        // kubectl takes `lanes.kalong.dev` and `lanes.v1alpha1.kalong.dev` too.
        let word = lower.split('.').next().unwrap_or_default();
        let known = |kind: &&Self| kind.words().iter().any(|w| w == word);
        Self::ALL.iter().find(known).copied().ok_or_else(|| ReferenceError::Kind(text.to_owned()))
    }
}

/// What is wrong with the name of an object.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ReferenceError {
    /// No kind of Kalong.
    #[error("`{0}` is no kind of Kalong: `kubectl api-resources --api-group kalong.dev` lists them")]
    Kind(String),
    /// Neither KIND/NAME nor KIND NAME.
    #[error("write KIND/NAME or KIND NAME, for example lane/bl2-out-01")]
    Form,
}

/// An object of the site, by kind and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Reference {
    pub(crate) kind: Kind,
    pub(crate) name: String,
}

impl Reference {
    /// This kind and name.
    pub(crate) fn new(kind: Kind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }

    /// What one or two words of a command line name.
    pub(crate) fn of_words(words: &[String]) -> Result<Self, ReferenceError> {
        match words {
            [one] => one.parse(),
            [kind, name] if !kind.contains('/') && !name.contains('/') => Ok(Self::new(kind.parse()?, name.as_str())),
            _ => Err(ReferenceError::Form),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        match text.split_once('/') {
            Some((kind, name)) if !name.is_empty() && !name.contains('/') => Ok(Self::new(kind.parse()?, name)),
            _ => Err(ReferenceError::Form),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_named_as_for_kubectl() {
        let lane = Reference::new(Kind::Lane, "bl2-out-01");
        for text in ["Lane/bl2-out-01", "lane/bl2-out-01", "lanes/bl2-out-01", "lanes.kalong.dev/bl2-out-01"] {
            assert_eq!(text.parse::<Reference>().unwrap(), lane, "{text}");
        }
        assert_eq!(Reference::of_words(&["lane".into(), "bl2-out-01".into()]).unwrap(), lane);
        assert_eq!("xing/a".parse::<Reference>().unwrap().kind, Kind::Crossing);
        assert_eq!("IGV/a".parse::<Reference>().unwrap().to_string(), "IGV/a");
        assert_eq!("pod/a".parse::<Reference>(), Err(ReferenceError::Kind("pod".into())));
        for bad in ["lane", "lane/", "lane/a/b"] {
            assert_eq!(bad.parse::<Reference>(), Err(ReferenceError::Form), "{bad}");
        }
    }

    #[test]
    fn every_kind_of_the_schema_is_here() {
        let kinds: Vec<String> = kalong_crds::schema::crds().unwrap().into_iter().map(|c| c.spec.names.kind).collect();
        assert_eq!(kinds.len(), Kind::ALL.len());
        for kind in kinds {
            assert_eq!(kind.parse::<Kind>().unwrap().as_str(), kind);
        }
    }
}
