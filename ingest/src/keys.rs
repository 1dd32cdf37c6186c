//! Write keys: who may send events of which site, and from where. Off unless sites are listed.
//!
//! A key is random and long, so its SHA-256 says nothing about it and needs no salt. Secret keys
//! are kept nowhere; a public key is in every page, so it may be listed as it is.

mod caller;
mod config;
mod file;
mod public;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{bail, ensure};
use event::SiteId;

pub use config::{KeysConfig, SiteKeys};
pub use infra::http::Origin;
pub use infra::keys::{KeyHash, hash};
pub use public::PublicKey;

pub(crate) use caller::{Caller, Denied};
pub(crate) use file::read_again_on_hangup;

/// For each site the public key that its pages may show: the first one that is listed as it is, not
/// as its hash. Reads the file of keys, too.
///
/// # Errors
/// If the file cannot be read, or a site is listed twice.
pub fn public_keys(config: &KeysConfig) -> anyhow::Result<HashMap<SiteId, String>> {
    let mut shown = HashMap::new();
    for (site_id, site) in Keys::load(config)?.sites {
        if let Some(key) = site.public_keys.iter().find_map(PublicKey::readable) {
            shown.insert(site_id, key.to_owned());
        }
    }
    Ok(shown)
}

/// The keys in force. Clones share them.
#[derive(Clone)]
pub(crate) struct KeyRing(Arc<RwLock<Arc<Keys>>>);

impl KeyRing {
    /// `None`: no key is asked for.
    ///
    /// # Errors
    /// If the file cannot be read, or a site is listed twice.
    pub(crate) fn new(config: &KeysConfig) -> anyhow::Result<Option<Self>> {
        if config.sites.is_empty() && config.file.is_none() {
            ensure!(
                !config.unlisted_sites_open,
                "ingest.keys.unlisted_sites_open needs sites that are listed, in ingest.keys.sites or ingest.keys.file"
            );
            return Ok(None);
        }
        let keys = Arc::new(Keys::load(config)?);
        Ok(Some(Self(Arc::new(RwLock::new(keys)))))
    }

    /// Those of this moment; a request is judged by one set of keys from its start to its end.
    fn current(&self) -> Arc<Keys> {
        // The place of one pointer is whole at every step, so a poisoned lock is still right.
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns how many sites have keys now. On an error the old keys stay.
    fn load_again(&self, config: &KeysConfig) -> anyhow::Result<usize> {
        let keys = Arc::new(Keys::load(config)?);
        let sites = keys.sites.len();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(sites)
    }
}

/// One set of keys.
struct Keys {
    sites: HashMap<SiteId, SiteKeys>,
    unlisted_sites_open: bool,
}

/// What a key is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    /// No key is asked for.
    Open,
    /// From the site's origins.
    Public,
    /// From anywhere.
    Secret,
}

impl Keys {
    fn load(config: &KeysConfig) -> anyhow::Result<Self> {
        let mut sites = HashMap::new();
        let from_file = match &config.file {
            Some(path) => file::read(path)?,
            None => Vec::new(),
        };
        for site in config.sites.iter().cloned().chain(from_file) {
            match sites.entry(site.site_id.clone()) {
                Entry::Vacant(place) => drop(place.insert(site)),
                Entry::Occupied(place) => match &config.file {
                    Some(path) => bail!(
                        "site {} is listed twice in ingest.keys.sites and {}",
                        place.key(),
                        path.display()
                    ),
                    None => bail!("site {} is listed twice in ingest.keys.sites", place.key()),
                },
            }
        }
        Ok(Self {
            sites,
            unlisted_sites_open: config.unlisted_sites_open,
        })
    }
}

impl SiteKeys {
    fn grant(&self, key: &KeyHash) -> Option<Grant> {
        match (
            key.is_among(&self.secret_keys),
            key.is_among(self.public_keys.iter().map(PublicKey::hash)),
        ) {
            (true, _) => Some(Grant::Secret),
            (false, true) => Some(Grant::Public),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_by_its_hash_and_grants_what_its_list_says() {
        let site = SiteKeys {
            site_id: "shop".parse().unwrap(),
            origins: Vec::new(),
            public_keys: vec![hash("p1").into(), "wp_2".parse().unwrap()],
            secret_keys: vec![hash("s")],
        };
        assert_eq!(site.grant(&hash("p1")), Some(Grant::Public));
        assert_eq!(site.grant(&hash("wp_2")), Some(Grant::Public));
        assert_eq!(site.grant(&hash("s")), Some(Grant::Secret));
        assert_eq!(site.grant(&hash("")), None);
        assert_eq!(site.grant(&hash("P1")), None);
    }

    #[test]
    fn the_key_that_pages_show_is_the_first_one_listed_as_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let in_file = "[[sites]]\nsite_id = 'blog'\npublic_keys = ['wp_blog']\n";
        std::fs::write(file.path(), in_file).unwrap();
        let site = |site_id: &str, public_keys| SiteKeys {
            site_id: site_id.parse().unwrap(),
            origins: Vec::new(),
            public_keys,
            secret_keys: vec![hash("ws_s")],
        };
        let key = |text: &str| text.parse::<PublicKey>().unwrap();
        let config = KeysConfig {
            file: Some(file.path().to_owned()),
            sites: vec![
                site(
                    "shop",
                    vec![hash("wp_old").into(), key("wp_1"), key("wp_2")],
                ),
                site("api", vec![hash("wp_api").into()]),
                site("none", Vec::new()),
            ],
            ..KeysConfig::default()
        };
        let mut shown: Vec<(String, String)> = public_keys(&config)
            .unwrap()
            .into_iter()
            .map(|(site_id, key)| (site_id.to_string(), key))
            .collect();
        shown.sort();
        let expected = [("blog", "wp_blog"), ("shop", "wp_1")];
        assert_eq!(
            shown,
            expected.map(|(site, key)| (site.to_owned(), key.to_owned()))
        );
    }

    #[test]
    fn a_site_listed_twice_is_refused_by_its_name() {
        let site = SiteKeys {
            site_id: "shop".parse().unwrap(),
            origins: Vec::new(),
            public_keys: vec![hash("p").into()],
            secret_keys: Vec::new(),
        };
        let config = KeysConfig {
            sites: vec![site.clone(), site],
            ..KeysConfig::default()
        };
        let refused = KeyRing::new(&config).err().unwrap().to_string();
        assert!(refused.contains("site shop is listed twice"), "{refused}");
    }
}
