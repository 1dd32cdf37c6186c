//! The topics and their partitions: made whole or not at all, found by name or id.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use anyhow::Context;
use kafka_protocol::ResponseError;
use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::{
    clock,
    config::Config,
    disk::Disk,
    log::{self, Partition},
    topic_config::{Overrides, TopicConfig},
};

/// Kafka's own limit on names.
const NAME_BYTES_MAX: usize = 249;

pub(crate) struct Topic {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    current: RwLock<Arc<Current>>,
}

/// What can change while a topic lives; replaced as a whole.
pub(crate) struct Current {
    pub(crate) partitions: Vec<Arc<Partition>>,
    pub(crate) overrides: Overrides,
    pub(crate) config: TopicConfig,
}

/// The file that makes a directory a topic.
#[derive(Serialize, Deserialize)]
struct Description {
    id: Uuid,
    partitions: i32,
    overrides: Overrides,
}

/// Why an administrator's wish was not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: ResponseError,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(error: ResponseError, message: impl Into<String>) -> Self {
        Self {
            error,
            message: message.into(),
        }
    }
}

pub(crate) struct Topics {
    dir: PathBuf,
    /// Outside of `dir`, since any name in there could be a topic's.
    staging: PathBuf,
    disk: Disk,
    defaults: Config,
    by_name: RwLock<BTreeMap<String, Arc<Topic>>>,
    /// Held while topics are made, changed or deleted.
    changing: Mutex<()>,
}

impl Topic {
    pub(crate) fn current(&self) -> Arc<Current> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn partition(&self, index: i32) -> Option<Arc<Partition>> {
        self.current()
            .partitions
            .get(usize::try_from(index).ok()?)
            .cloned()
    }

    fn replace(&self, current: Current) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
    }
}

impl Topics {
    pub(crate) fn open(data_dir: &Path, disk: &Disk, defaults: &Config) -> anyhow::Result<Self> {
        let (dir, staging) = (data_dir.join("topics"), data_dir.join("staging"));
        // Whatever is in there was about to be made or deleted when the broker ended.
        if staging.exists() {
            fs::remove_dir_all(&staging).with_context(|| format!("empty {}", staging.display()))?;
        }
        for dir in [&dir, &staging] {
            fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        }
        disk.sync_dir(data_dir)
            .with_context(|| format!("fsync {}", data_dir.display()))?;

        let mut by_name = BTreeMap::new();
        for entry in fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))? {
            let path = entry
                .with_context(|| format!("list {}", dir.display()))?
                .path();
            let topic = open_topic(&path, disk, defaults)
                .with_context(|| format!("open topic {}", path.display()))?;
            by_name.insert(topic.name.clone(), Arc::new(topic));
        }
        Ok(Self {
            dir,
            staging,
            disk: disk.clone(),
            defaults: defaults.clone(),
            by_name: RwLock::new(by_name),
            changing: Mutex::default(),
        })
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.by_name
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    pub(crate) fn by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        self.all().into_iter().find(|topic| topic.id == id)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        self.by_name
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    pub(crate) fn partition(&self, topic: &str, index: i32) -> Option<Arc<Partition>> {
        self.get(topic)?.partition(index)
    }

    /// Checks a wish for a new topic, and grants it unless `only_check`.
    pub(crate) fn create(
        &self,
        name: &str,
        partitions: i32,
        overrides: Overrides,
        only_check: bool,
    ) -> Result<Arc<Topic>, Refusal> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        check_name(name)?;
        if self.get(name).is_some() {
            return Err(Refusal::new(
                ResponseError::TopicAlreadyExists,
                format!("topic {name} exists already"),
            ));
        }
        self.check_room(partitions)?;
        let config = TopicConfig::new(&self.defaults, &overrides)
            .map_err(|message| Refusal::new(ResponseError::InvalidConfig, message))?;
        let mut topic = Topic {
            id: Uuid::new_v4(),
            name: name.to_owned(),
            current: RwLock::new(Arc::new(Current {
                partitions: Vec::new(),
                overrides,
                config,
            })),
        };
        if only_check {
            return Ok(Arc::new(topic));
        }
        self.make(&mut topic, partitions)
            .map_err(|error| storage_refusal(&format!("create topic {name}"), &error))?;
        let topic = Arc::new(topic);
        self.by_name
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), topic.clone());
        info!(
            topic.name = name,
            topic.partitions = partitions,
            "created topic {name}"
        );
        Ok(topic)
    }

    /// The topic appears under its name in one step, so that a crash leaves no half of it.
    fn make(&self, topic: &mut Topic, partitions: i32) -> io::Result<()> {
        let staged = self.staging.join(topic.id.to_string());
        let place = self.dir.join(&topic.name);
        let made = (|| {
            for index in 0..partitions {
                fs::create_dir_all(staged.join(index.to_string()))?;
            }
            self.describe(&staged, topic.id, partitions, &topic.current().overrides)?;
            fs::rename(&staged, &place)
        })();
        if let Err(error) = made {
            let _ = fs::remove_dir_all(&staged);
            return Err(error);
        }
        self.disk.sync_dir(&self.dir)?;
        let current = topic.current();
        topic.replace(Current {
            partitions: open_partitions(&place, &self.disk, 0..partitions)?,
            overrides: current.overrides.clone(),
            config: current.config.clone(),
        });
        Ok(())
    }

    pub(crate) fn delete(&self, name: &str) -> Result<(), Refusal> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(topic) = self.get(name) else {
            return Err(unknown(name));
        };
        let trash = self.staging.join(topic.id.to_string());
        fs::rename(self.dir.join(name), &trash)
            .and_then(|()| self.disk.sync_dir(&self.dir))
            .map_err(|error| storage_refusal(&format!("delete topic {name}"), &error))?;
        self.by_name
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
        for partition in &topic.current().partitions {
            partition.abandon();
        }
        if let Err(error) = fs::remove_dir_all(&trash) {
            warn!(
                "cannot remove {} before the next start: {error}",
                trash.display()
            );
        }
        info!(topic.name = name, "deleted topic {name}");
        Ok(())
    }

    /// Adds partitions up to `count`.
    pub(crate) fn grow(&self, name: &str, count: i32, only_check: bool) -> Result<(), Refusal> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let topic = self.get(name).ok_or_else(|| unknown(name))?;
        let current = topic.current();
        let now = current.partitions.len() as i32;
        if count <= now {
            let message =
                format!("topic {name} has {now} partitions already, {count} would not be more");
            return Err(Refusal::new(ResponseError::InvalidPartitions, message));
        }
        self.check_room(count - now)?;
        if only_check {
            return Ok(());
        }
        let place = self.dir.join(name);
        let grown = (|| {
            let mut partitions = current.partitions.clone();
            partitions.extend(open_partitions(&place, &self.disk, now..count)?);
            self.describe(&place, topic.id, count, &current.overrides)?;
            Ok(partitions)
        })();
        let partitions =
            grown.map_err(|error| storage_refusal(&format!("add partitions to {name}"), &error))?;
        topic.replace(Current {
            partitions,
            overrides: current.overrides.clone(),
            config: current.config.clone(),
        });
        Ok(())
    }

    /// Replaces the overrides of a topic by what `change` makes of them.
    pub(crate) fn configure(
        &self,
        name: &str,
        only_check: bool,
        change: impl FnOnce(Overrides) -> Result<Overrides, Refusal>,
    ) -> Result<(), Refusal> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let topic = self.get(name).ok_or_else(|| unknown(name))?;
        let current = topic.current();
        let overrides = change(current.overrides.clone())?;
        let config = TopicConfig::new(&self.defaults, &overrides)
            .map_err(|message| Refusal::new(ResponseError::InvalidConfig, message))?;
        if only_check {
            return Ok(());
        }
        self.describe(
            &self.dir.join(name),
            topic.id,
            current.partitions.len() as i32,
            &overrides,
        )
        .map_err(|error| storage_refusal(&format!("configure topic {name}"), &error))?;
        topic.replace(Current {
            partitions: current.partitions.clone(),
            overrides,
            config,
        });
        Ok(())
    }

    fn check_room(&self, more: i32) -> Result<(), Refusal> {
        if more < 1 {
            return Err(Refusal::new(
                ResponseError::InvalidPartitions,
                "a topic needs at least one partition",
            ));
        }
        let there: usize = self
            .all()
            .iter()
            .map(|topic| topic.current().partitions.len())
            .sum();
        if there + more as usize > self.defaults.partitions_max {
            let message = format!(
                "{more} more partitions would exceed the {} allowed",
                self.defaults.partitions_max
            );
            return Err(Refusal::new(ResponseError::PolicyViolation, message));
        }
        Ok(())
    }

    fn describe(
        &self,
        place: &Path,
        id: Uuid,
        partitions: i32,
        overrides: &Overrides,
    ) -> io::Result<()> {
        let description = Description {
            id,
            partitions,
            overrides: overrides.clone(),
        };
        self.disk.write_whole(
            &place.join("topic.json"),
            &serde_json::to_vec_pretty(&description)?,
        )
    }

    /// Applies retention to all partitions.
    pub(crate) fn retain(&self) {
        for topic in self.all() {
            let current = topic.current();
            for partition in &current.partitions {
                if let Err(error) = partition.retain(&current.config, clock::now()) {
                    error!(
                        "cannot apply retention to {}: {error}",
                        partition.dir().display()
                    );
                }
            }
        }
    }

    /// Leaves a snapshot of every partition.
    pub(crate) fn close(&self) -> anyhow::Result<()> {
        for topic in self.all() {
            for partition in &topic.current().partitions {
                partition
                    .close()
                    .with_context(|| format!("close {}", partition.dir().display()))?;
            }
        }
        Ok(())
    }
}

fn open_topic(dir: &Path, disk: &Disk, defaults: &Config) -> anyhow::Result<Topic> {
    let name = dir
        .file_name()
        .and_then(|name| name.to_str())
        .context("its name is not text")?;
    let file = fs::read(dir.join("topic.json")).context("read topic.json")?;
    let description: Description = serde_json::from_slice(&file).context(
        "parse topic.json, which names the topic's id and partitions: put it back from a copy, or move the topic's folder away to go on without its records",
    )?;
    let config = TopicConfig::new(defaults, &description.overrides).map_err(anyhow::Error::msg)?;
    let partitions = open_partitions(dir, disk, 0..description.partitions)?;
    let current = Current {
        partitions,
        overrides: description.overrides,
        config,
    };
    Ok(Topic {
        id: description.id,
        name: name.to_owned(),
        current: RwLock::new(Arc::new(current)),
    })
}

fn open_partitions(
    dir: &Path,
    disk: &Disk,
    indexes: std::ops::Range<i32>,
) -> io::Result<Vec<Arc<Partition>>> {
    let partitions: io::Result<_> = indexes
        .map(|index| log::open(disk, &dir.join(index.to_string())).map(Arc::new))
        .collect();
    disk.sync_dir(dir)?;
    partitions
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let good = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(allowed)
        && name != "."
        && name != "..";
    if good {
        return Ok(());
    }
    let message = format!(
        "a topic name has 1 to {NAME_BYTES_MAX} letters, digits, dots, dashes or underscores"
    );
    Err(Refusal::new(ResponseError::InvalidTopicException, message))
}

fn unknown(name: &str) -> Refusal {
    Refusal::new(
        ResponseError::UnknownTopicOrPartition,
        format!("there is no topic {name}"),
    )
}

fn storage_refusal(attempt: &str, error: &io::Error) -> Refusal {
    error!("cannot {attempt}: {error}");
    Refusal::new(
        ResponseError::KafkaStorageError,
        format!("cannot {attempt}: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(dir: &Path) -> Topics {
        Topics::open(dir, &Disk::default(), &Config::default()).unwrap()
    }

    #[test]
    fn a_topic_and_its_overrides_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let overrides = Overrides::from([("retention.ms".to_owned(), "77".to_owned())]);
        let id = topics(dir.path())
            .create("events", 3, overrides.clone(), false)
            .unwrap()
            .id;
        topics(dir.path()).grow("events", 5, false).unwrap();

        let topic = topics(dir.path()).get("events").unwrap();
        assert_eq!((topic.id, topic.current().partitions.len()), (id, 5));
        assert_eq!(topic.current().overrides, overrides);
    }

    #[test]
    fn a_topic_made_anew_is_empty_and_has_another_id() {
        let dir = tempfile::tempdir().unwrap();
        let topics = topics(dir.path());
        let first = topics.create("events", 1, Overrides::new(), false).unwrap();
        topics.delete("events").unwrap();
        assert!(topics.get("events").is_none());
        let second = topics.create("events", 1, Overrides::new(), false).unwrap();
        assert_ne!(first.id, second.id);
    }

    #[test]
    fn a_topic_whose_description_is_empty_stops_the_start_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let first = topics(dir.path());
        first.create("events", 1, Overrides::new(), false).unwrap();
        let place = dir.path().join("topics/events");
        fs::write(place.join("topic.json"), b"").unwrap();
        let opened = Topics::open(dir.path(), &Disk::default(), &Config::default());
        let said = format!("{:#}", opened.err().unwrap());
        assert!(said.contains(&place.display().to_string()), "{said}");
        assert!(said.contains("move the topic's folder away"), "{said}");
    }

    #[test]
    fn names_that_would_leave_the_directory_are_refused() {
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for name in ["", ".", "..", "a/b", "a\0b", "ä", &long] {
            assert_eq!(
                check_name(name).unwrap_err().error,
                ResponseError::InvalidTopicException,
                "{name:?}"
            );
        }
        assert!(check_name(&"x".repeat(NAME_BYTES_MAX)).is_ok());
        assert!(check_name("a.b_C-9").is_ok());
    }

    #[test]
    fn the_number_of_partitions_is_limited() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            partitions_max: 4,
            ..Config::default()
        };
        let topics = Topics::open(dir.path(), &Disk::default(), &config).unwrap();
        topics.create("a", 3, Overrides::new(), false).unwrap();
        assert_eq!(
            topics
                .create("b", 2, Overrides::new(), false)
                .err()
                .unwrap()
                .error,
            ResponseError::PolicyViolation
        );
        assert!(topics.create("b", 1, Overrides::new(), false).is_ok());
        assert_eq!(
            topics
                .create("c", 0, Overrides::new(), false)
                .err()
                .unwrap()
                .error,
            ResponseError::InvalidPartitions
        );
    }
}
