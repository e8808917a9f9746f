//! An object named by `Kind/name`, as in `blockedBy[].subject`, in `spec.requester` and on a command line.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::kinds::{Kind, UnknownKind};

/// Why a text names no object.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReferenceError {
    /// The part before the slash is no kind.
    #[error(transparent)]
    Kind(#[from] UnknownKind),
    /// Neither KIND/NAME nor KIND NAME.
    #[error("write KIND/NAME or KIND NAME, for example lane/bl2-out-01")]
    Form,
}

/// An object of a site, by kind and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Its kind.
    pub kind: Kind,
    /// Its name within the namespace.
    pub name: String,
}

impl Reference {
    /// The object of this kind and name.
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }

    /// Reads one word `KIND/NAME` or two words `KIND NAME` of a command line.
    pub fn of_words(words: &[String]) -> Result<Self, ReferenceError> {
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
        assert_eq!("pod/a".parse::<Reference>(), Err(ReferenceError::Kind(UnknownKind("pod".into()))));
        for bad in ["lane", "lane/", "lane/a/b"] {
            assert_eq!(bad.parse::<Reference>(), Err(ReferenceError::Form), "{bad}");
        }
    }
}
