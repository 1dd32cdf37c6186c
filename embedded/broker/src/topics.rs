//! The topics: their partitions, their settings, and how they come and go on disk.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use tracing::info;
use uuid::Uuid;

use crate::config::Config;
use crate::file;
use crate::log::{Limits, PartitionLog, sync_directory};

const META: &str = "topic";
/// A folder on its way out; found at start it goes on going.
const DELETED: &str = ".deleted-";
const NAME_BYTES_MAX: usize = 249;

/// Settings of a topic that differ from the broker's.
pub(crate) type TopicConfig = BTreeMap<String, String>;

/// Settings a topic can have, and what they are where it has none.
pub(crate) const SETTINGS: [&str; 8] = [
    "cleanup.policy",
    "compression.type",
    "max.message.bytes",
    "message.timestamp.type",
    "min.insync.replicas",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
];

#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    #[error("topic {0} exists")]
    Exists(String),
    #[error("{0:?} is not a topic's name: 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 . _ -")]
    Name(String),
    #[error("{0} partitions are not between 1 and {1}")]
    Partitions(i32, i32),
    #[error("{0}")]
    Setting(String),
    #[error("the disk refused: {0}")]
    Disk(#[from] io::Error),
}

pub(crate) struct Topic {
    pub(crate) id: Uuid,
    pub(crate) partitions: Vec<Arc<PartitionLog>>,
    directory: PathBuf,
    settings: RwLock<TopicConfig>,
    defaults: Defaults,
}

/// What the broker sets for topics that set nothing.
#[derive(Debug, Clone, Copy)]
struct Defaults {
    segment_bytes: u64,
    batch_bytes_max: u64,
    retention_ms: i64,
    retention_bytes: i64,
}

#[derive(Serialize, Deserialize)]
struct Meta {
    id: Uuid,
    partitions: i32,
    settings: TopicConfig,
}

pub(crate) struct Topics {
    directory: PathBuf,
    defaults: Defaults,
    partitions_default: i32,
    partitions_max: i32,
    by_name: RwLock<BTreeMap<String, Arc<Topic>>>,
}

impl Topics {
    pub(crate) fn open(config: &Config, now_ms: i64) -> io::Result<Self> {
        let directory = config.data_dir.join("topics");
        fs::create_dir_all(&directory)?;
        let defaults = Defaults {
            segment_bytes: config.segment_bytes,
            batch_bytes_max: config.batch_bytes_max,
            retention_ms: i64::try_from(config.retention.as_millis()).unwrap_or(i64::MAX),
            retention_bytes: config
                .retention_bytes
                .map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        };
        let mut by_name = BTreeMap::new();
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let meta = if name.starts_with(DELETED) {
                None
            } else {
                file::read_checked(&path.join(META))?
            };
            match meta {
                Some(meta) => {
                    let meta = serde_json::from_slice(&meta)?;
                    by_name.insert(name, Arc::new(Topic::open(path, meta, defaults, now_ms)?));
                }
                // Half deleted, or half made: its creation was never answered.
                _ => {
                    info!("removing what is left of {}", path.display());
                    fs::remove_dir_all(&path)?;
                }
            }
        }
        Ok(Self {
            directory,
            defaults,
            partitions_default: config.partitions_default,
            partitions_max: config.partitions_max,
            by_name: RwLock::new(by_name),
        })
    }

    /// `partitions` of -1 means the broker's default.
    pub(crate) fn create(
        &self,
        name: &str,
        partitions: i32,
        settings: TopicConfig,
        now_ms: i64,
    ) -> Result<Arc<Topic>, CreateError> {
        check_name(name)?;
        check_settings(&settings).map_err(CreateError::Setting)?;
        let partitions = if partitions == -1 {
            self.partitions_default
        } else {
            partitions
        };
        if !(1..=self.partitions_max).contains(&partitions) {
            return Err(CreateError::Partitions(partitions, self.partitions_max));
        }
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        if by_name.contains_key(name) {
            return Err(CreateError::Exists(name.to_owned()));
        }
        let directory = self.directory.join(name);
        fs::create_dir_all(&directory)?;
        let meta = Meta {
            id: Uuid::new_v4(),
            partitions,
            settings,
        };
        file::write_checked(
            &directory.join(META),
            &serde_json::to_vec(&meta).map_err(io::Error::from)?,
        )?;
        sync_directory(&self.directory)?;
        let topic = Arc::new(Topic::open(directory, meta, self.defaults, now_ms)?);
        by_name.insert(name.to_owned(), topic.clone());
        Ok(topic)
    }

    /// Whether there was such a topic.
    pub(crate) fn delete(&self, name: &str) -> io::Result<bool> {
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        let Some(topic) = by_name.get(name) else {
            return Ok(false);
        };
        // Aside first: a crash half way through removing must not leave half a topic.
        let aside = self.directory.join(format!("{DELETED}{}", topic.id));
        fs::rename(self.directory.join(name), &aside)?;
        sync_directory(&self.directory)?;
        by_name.remove(name);
        fs::remove_dir_all(&aside)?;
        Ok(true)
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.by_name
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    pub(crate) fn partition(
        &self,
        name: &str,
        index: i32,
    ) -> Option<(Arc<Topic>, Arc<PartitionLog>)> {
        let topic = self.get(name)?;
        let log = topic.partitions.get(usize::try_from(index).ok()?)?.clone();
        Some((topic, log))
    }

    pub(crate) fn all(&self) -> Vec<(String, Arc<Topic>)> {
        let by_name = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        by_name
            .iter()
            .map(|(name, topic)| (name.clone(), topic.clone()))
            .collect()
    }
}

impl Topic {
    fn open(directory: PathBuf, meta: Meta, defaults: Defaults, now_ms: i64) -> io::Result<Self> {
        let partitions = (0..meta.partitions)
            .map(|index| {
                PartitionLog::open(&directory.join(index.to_string()), now_ms).map(Arc::new)
            })
            .collect::<io::Result<_>>()?;
        let settings = RwLock::new(meta.settings);
        Ok(Self {
            id: meta.id,
            partitions,
            directory,
            settings,
            defaults,
        })
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            segment_bytes: self.number("segment.bytes", self.defaults.segment_bytes),
            batch_bytes_max: usize::try_from(
                self.number("max.message.bytes", self.defaults.batch_bytes_max),
            )
            .unwrap_or(usize::MAX),
        }
    }

    pub(crate) fn retention_ms(&self) -> Option<i64> {
        Some(self.number("retention.ms", self.defaults.retention_ms)).filter(|age| *age >= 0)
    }

    pub(crate) fn retention_bytes(&self) -> Option<u64> {
        u64::try_from(self.number("retention.bytes", self.defaults.retention_bytes)).ok()
    }

    /// Every setting: its value, and whether the topic itself sets it.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String, bool)> {
        let own = self.settings.read().unwrap_or_else(PoisonError::into_inner);
        let default = |name: &str| match name {
            "cleanup.policy" => "delete".to_owned(),
            "compression.type" => "producer".to_owned(),
            "max.message.bytes" => self.defaults.batch_bytes_max.to_string(),
            "message.timestamp.type" => "CreateTime".to_owned(),
            "min.insync.replicas" => "1".to_owned(),
            "retention.bytes" => self.defaults.retention_bytes.to_string(),
            "retention.ms" => self.defaults.retention_ms.to_string(),
            _ => self.defaults.segment_bytes.to_string(),
        };
        SETTINGS
            .iter()
            .map(|name| match own.get(*name) {
                Some(value) => (*name, value.clone(), true),
                None => (*name, default(name), false),
            })
            .collect()
    }

    /// Sets (`Some`) or unsets (`None`) settings, for good.
    pub(crate) fn alter(
        &self,
        changes: BTreeMap<String, Option<String>>,
    ) -> Result<(), CreateError> {
        let mut own = self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let mut settings = own.clone();
        for (name, value) in changes {
            match value {
                Some(value) => settings.insert(name, value),
                None => settings.remove(&name),
            };
        }
        check_settings(&settings).map_err(CreateError::Setting)?;
        let partitions = i32::try_from(self.partitions.len()).expect("partitions have a limit");
        let meta = Meta {
            id: self.id,
            partitions,
            settings,
        };
        let bytes = serde_json::to_vec(&meta).map_err(io::Error::from)?;
        file::write_checked(&self.directory.join(META), &bytes)?;
        *own = meta.settings;
        Ok(())
    }

    fn number<N: std::str::FromStr>(&self, name: &str, default: N) -> N {
        let own = self.settings.read().unwrap_or_else(PoisonError::into_inner);
        own.get(name)
            .and_then(|value| value.parse().ok())
            .unwrap_or(default)
    }
}

fn check_name(name: &str) -> Result<(), CreateError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    // A leading dot is this broker's own mark for folders that are no topics.
    if name.is_empty()
        || name.len() > NAME_BYTES_MAX
        || name.starts_with('.')
        || !name.bytes().all(allowed)
    {
        let shown = name.chars().take(NAME_BYTES_MAX).collect();
        return Err(CreateError::Name(shown));
    }
    Ok(())
}

fn check_settings(settings: &TopicConfig) -> Result<(), String> {
    for (name, value) in settings {
        let number = |min: i64| value.parse::<i64>().is_ok_and(|number| number >= min);
        let right = match name.as_str() {
            "cleanup.policy" => value == "delete",
            "compression.type" => value == "producer",
            "message.timestamp.type" => value == "CreateTime",
            "min.insync.replicas" => value == "1",
            "retention.bytes" | "retention.ms" => number(-1),
            "max.message.bytes" => number(1),
            "segment.bytes" => number(1024),
            _ => return Err(format!("{name} is no setting of this broker's topics")),
        };
        if !right {
            return Err(format!("{name} cannot be {value:?} here"));
        }
    }
    Ok(())
}

/// A producer id is handed out once, also across crashes: ids are reserved in blocks.
pub(crate) struct ProducerIds {
    path: PathBuf,
    next: i64,
    reserved: i64,
}

impl ProducerIds {
    const BLOCK: i64 = 1000;

    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join("producer-ids");
        let bytes = file::read_checked(&path)?;
        let reserved = bytes
            .and_then(|bytes| Some(i64::from_be_bytes(bytes.try_into().ok()?)))
            .unwrap_or_default();
        Ok(Self {
            path,
            next: reserved,
            reserved,
        })
    }

    pub(crate) fn next(&mut self) -> io::Result<i64> {
        if self.next == self.reserved {
            let reserved = self.reserved + Self::BLOCK;
            file::write_checked(&self.path, &reserved.to_be_bytes())?;
            self.reserved = reserved;
        }
        self.next += 1;
        Ok(self.next)
    }
}
