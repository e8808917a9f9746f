//! Down: what an agent must realise.

use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::digest::{CanonicalError, Rev, digest_of};
use super::order::{AgentOrder, DeviceOrder, IgvOrder, LaneOrder, LinkOrder};
use crate::units::Digest;

/// The kinds of items that an agent realises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ItemKind {
    /// The agent's own settings ([`super::order::AgentOrder`]).
    Agent,
    /// A device ([`super::order::DeviceOrder`]).
    Device,
    /// A lane ([`super::order::LaneOrder`]).
    Lane,
    /// An unmanned vehicle ([`super::order::IgvOrder`]).
    Igv,
    /// Our half of a link to the other country ([`super::order::LinkOrder`]).
    Link,
}

/// The spec of an item: what an agent needs to realise it.
pub trait ItemOrder: Serialize + DeserializeOwned {
    /// The kind of items that have such a spec.
    const KIND: ItemKind;

    /// Reads the spec of an item of this kind.
    fn read<'de, D: Deserializer<'de>>(kind: ItemKind, spec: D) -> Result<Self, D::Error> {
        if kind == Self::KIND {
            Self::deserialize(spec)
        } else {
            Err(D::Error::custom(format!("an order of kind {kind:?} was read as one of kind {:?}", Self::KIND)))
        }
    }
}

macro_rules! orders {
    ($($kind:ident: $order:ident),+) => {
        $(impl ItemOrder for $order {
            const KIND: ItemKind = ItemKind::$kind;
        })+
    };
}

orders!(Agent: AgentOrder, Device: DeviceOrder, Lane: LaneOrder, Igv: IgvOrder, Link: LinkOrder);

/// One thing to realise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Item {
    /// What kind of thing.
    pub kind: ItemKind,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// UID of the object; it tells an object from a later one of the same name.
    pub uid: String,
    /// Generation of the object.
    pub generation: i64,
    /// Digest over the canonical form of `spec` as it was sent. A model, release or permit that changes alters it within one generation.
    pub hash: Digest,
    /// The order, by kind.
    pub spec: Value,
}

impl Item {
    /// An item whose hash fits its spec.
    pub fn new<S: Serialize>(
        kind: ItemKind,
        namespace: &str,
        name: &str,
        uid: &str,
        generation: i64,
        order: &S,
    ) -> Result<Self, CanonicalError> {
        let spec = serde_json::to_value(order)?;
        let hash = digest_of(&spec)?;
        Ok(Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            generation,
            hash,
            spec,
        })
    }

    /// The order as the type of its kind.
    ///
    /// # Errors
    /// It is not of that type: operator and agent do not fit.
    pub fn order<O: ItemOrder>(&self) -> Result<O, serde_json::Error> {
        O::read(self.kind, &self.spec)
    }

    /// Whether the hash is the one of the spec as received.
    pub fn hash_fits(&self) -> bool {
        digest_of(&self.spec).is_ok_and(|hash| hash == self.hash)
    }
}

/// The end of a thing, made by a finalizer. Nothing else takes an item away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tombstone {
    /// UID of the object that ended.
    pub uid: String,
    /// Generation at which it ended.
    pub generation: i64,
}

/// The whole, or what changed since `base`. Applied when all parts of one `rev` are there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Desired {
    /// The set that this builds on; none means that this is the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Rev>,
    /// The set after applying it: adopted items only.
    pub rev: Rev,
    /// Number of this part, counted from 1.
    pub part: u32,
    /// Number of parts.
    pub parts: u32,
    /// Things that ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<Tombstone>,
    /// Things that are new or changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<Item>,
}

/// The digest over a set of desired items.
pub fn rev_of<'a>(items: impl IntoIterator<Item = &'a Item>) -> Rev {
    Rev::over(items.into_iter().map(|i| (i.uid.as_str(), i.generation, &i.hash)))
}
