//! The objects of one kind, by name and by what they name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::keys::{Relation, SiteObject};

/// The objects of one kind. Each change costs as much as that one object names, however many others there are.
#[derive(Clone, Debug, PartialEq)]
pub struct Table<K> {
    objects: BTreeMap<Arc<str>, Arc<K>>,
    /// The names of the objects that name `value` in this way. No set is empty.
    index: HashMap<Relation, HashMap<String, BTreeSet<Arc<str>>>>,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), index: HashMap::new() }
    }
}

impl<K> Table<K> {
    /// The object of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<K>> {
        self.objects.get(name)
    }

    /// Every object, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<K>> {
        self.objects.values()
    }

    /// The objects that name `value` in this way, in the order of their names.
    pub fn by(&self, relation: Relation, value: &str) -> impl Iterator<Item = &Arc<K>> {
        let names = self.index.get(&relation).and_then(|values| values.get(value));
        names.into_iter().flatten().filter_map(|name| self.objects.get(name))
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

impl<K: SiteObject> Table<K> {
    /// Adds the object, or puts it in the place of an earlier version, which is returned.
    pub fn upsert(&mut self, object: Arc<K>) -> Option<Arc<K>> {
        let name: Arc<str> = object.name().into();
        let old = self.objects.insert(name.clone(), object.clone());
        let (before, after) = (old.as_ref().map(|old| old.keys()).unwrap_or_default(), object.keys());
        if before != after {
            self.forget(&name, &before);
            for (relation, value) in after {
                self.index.entry(relation).or_default().entry(value.to_owned()).or_default().insert(name.clone());
            }
        }
        old
    }

    /// Removes the object of this name, and returns it.
    pub fn remove(&mut self, name: &str) -> Option<Arc<K>> {
        let old = self.objects.remove(name)?;
        self.forget(name, &old.keys());
        Some(old)
    }

    fn forget(&mut self, name: &str, keys: &[(Relation, &str)]) {
        for (relation, value) in keys {
            let Some(values) = self.index.get_mut(relation) else { continue };
            let Some(names) = values.get_mut(*value) else { continue };
            names.remove(name);
            if names.is_empty() {
                values.remove(*value);
            }
            if values.is_empty() {
                self.index.remove(relation);
            }
        }
    }
}

impl<K: SiteObject> FromIterator<Arc<K>> for Table<K> {
    fn from_iter<I: IntoIterator<Item = Arc<K>>>(objects: I) -> Self {
        let mut table = Self::default();
        for object in objects {
            table.upsert(object);
        }
        table
    }
}
