//! What the API server showed of one kind, from the first object on: every version that a watcher sees, with its time.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::{Api, Resource, ResourceExt};
use kube_runtime::watcher;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout_at};

use super::failure::ScenarioError;
use super::progress::ProgressLog;

/// After a watch that failed: the API server is away, and we want to see it come back.
const RETRY: Duration = Duration::from_millis(200);

/// One version of one object.
#[derive(Clone, Debug)]
pub struct Sighting<K> {
    pub at: Instant,
    /// Its resource version, which rises with every change of anything.
    pub version: u64,
    /// What was seen; the last one before a deletion is seen twice.
    pub object: Arc<K>,
    pub deleted: bool,
}

/// Objects of one kind by name.
pub type Present<K> = BTreeMap<String, Arc<K>>;

pub struct Journal<K> {
    notes: Arc<Mutex<JournalState<K>>>,
    changed: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

struct JournalState<K> {
    listed: bool,
    present: Present<K>,
    history: BTreeMap<String, Vec<Sighting<K>>>,
    /// Names of the list that is being received after a start or a gap.
    relisted: Vec<String>,
}

impl<K> Drop for Journal<K> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<K> Journal<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    #[must_use]
    pub fn start(api: Api<K>) -> Self {
        let notes = Arc::new(Mutex::new(JournalState {
            listed: false,
            present: BTreeMap::new(),
            history: BTreeMap::new(),
            relisted: Vec::new(),
        }));
        let (sender, changed) = watch::channel(0);
        let shared = Arc::clone(&notes);
        let task = tokio::spawn(async move {
            let mut stream = watcher::watcher(api, watcher::Config::default()).boxed();
            while let Some(event) = stream.next().await {
                match event {
                    Ok(event) => {
                        shared.lock().note(event);
                        sender.send_modify(|count| *count += 1);
                    }
                    // Not the default backoff: it would grow to half a minute while the API server is away.
                    Err(_) => sleep(RETRY).await,
                }
            }
        });
        Self { notes, changed, task }
    }

    #[must_use]
    pub fn present(&self) -> Present<K> {
        self.notes.lock().present.clone()
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<K>> {
        self.notes.lock().present.get(name).cloned()
    }

    /// Every version of this object that was seen, oldest first.
    #[must_use]
    pub fn history(&self, name: &str) -> Vec<Sighting<K>> {
        self.notes.lock().history.get(name).cloned().unwrap_or_default()
    }

    /// Every version of every object that was seen since then.
    #[must_use]
    pub fn since(&self, when: Instant) -> Vec<Sighting<K>> {
        let notes = self.notes.lock();
        notes.history.values().flatten().filter(|sighting| sighting.at >= when).cloned().collect()
    }

    /// Waits until `look` is content. Until then it says what is missing, which is shown and is in the error.
    ///
    /// # Errors
    /// [`ScenarioError::Deadline`].
    pub async fn until<T>(
        &self,
        what: &str,
        within: Duration,
        progress: &ProgressLog,
        mut look: impl FnMut(&Present<K>) -> Result<T, String>,
    ) -> Result<T, ScenarioError> {
        let deadline = tokio::time::Instant::now() + within;
        let mut changed = self.changed.clone();
        loop {
            changed.borrow_and_update();
            let missing = {
                let notes = self.notes.lock();
                match look(&notes.present) {
                    Ok(found) if notes.listed => return Ok(found),
                    Ok(_) => "nothing was listed yet".to_owned(),
                    Err(missing) => missing,
                }
            };
            progress.now_and_then(&format!("{what}: {missing}"));
            if !matches!(timeout_at(deadline, changed.changed()).await, Ok(Ok(()))) {
                return Err(ScenarioError::Deadline { what: what.to_owned(), within, seen: missing });
            }
        }
    }
}

impl<K: Resource + Clone> JournalState<K> {
    fn note(&mut self, event: watcher::Event<K>) {
        match event {
            watcher::Event::Init => self.relisted.clear(),
            watcher::Event::InitApply(object) => {
                self.relisted.push(object.name_any());
                self.see(object, false);
            }
            watcher::Event::InitDone => {
                self.listed = true;
                let listed = std::mem::take(&mut self.relisted);
                let gone: Vec<_> = self.present.keys().filter(|name| !listed.contains(name)).cloned().collect();
                for object in gone.iter().filter_map(|name| self.present.get(name).cloned()).collect::<Vec<_>>() {
                    self.see(object.as_ref().clone(), true);
                }
            }
            watcher::Event::Apply(object) => self.see(object, false),
            watcher::Event::Delete(object) => self.see(object, true),
        }
    }

    fn see(&mut self, object: K, deleted: bool) {
        let (name, version) = (object.name_any(), version(&object));
        let object = Arc::new(object);
        let history = self.history.entry(name.clone()).or_default();
        // A list after a gap shows again what was seen before it.
        if deleted || history.last().is_none_or(|last| last.version != version) {
            history.push(Sighting { at: Instant::now(), version, object: Arc::clone(&object), deleted });
        }
        if deleted {
            self.present.remove(&name);
        } else {
            self.present.insert(name, object);
        }
    }
}

/// The resource version as a number: comparable since Kubernetes 1.35.
pub fn version<K: Resource>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or_default()
}
