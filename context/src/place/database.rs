//! A file of the MaxMind DB format in memory, and the layouts of records that are understood.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use maxminddb::{Reader, WithinOptions};
use quick_cache::sync::Cache;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{PlaceError, nowhere, pack};

/// Records whose text is kept. A file of countries has 250; one of cities has more than visitors come
/// from in a while. They take 12 MB at most.
const TEXTS_MAX: usize = 65_536;

pub(super) struct Database {
    reader: Reader<Vec<u8>>,
    /// By the record's offset in the file.
    texts: Cache<usize, Arc<str>>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Database")
            .field("metadata", self.reader.metadata())
            .finish_non_exhaustive()
    }
}

/// What is wrong with a file, without its name.
pub(super) enum Fault {
    Format(String),
    Kind(String),
}

impl Fault {
    pub(super) fn of(self, path: &Path) -> PlaceError {
        let path = path.to_owned();
        match self {
            Self::Format(fault) => PlaceError::Format { path, fault },
            Self::Kind(kind) => PlaceError::Kind { path, kind },
        }
    }
}

impl Database {
    pub(super) fn new(bytes: Vec<u8>) -> Result<Self, Fault> {
        let format = |error: maxminddb::MaxMindDbError| Fault::Format(error.to_string());
        let reader = Reader::from_source(bytes).map_err(format)?;
        // The whole tree and all records: else a damaged part is found by the first visitor who lives
        // there. (`Reader::verify` also wants a description, which good files lack.)
        // A tree has a network more than it has nodes. One whose branches share theirs could have 2^128.
        let networks_max = reader.metadata().node_count as usize * 4 + 1024;
        let mut offsets = HashSet::new();
        let mut has_countries = false;
        let options = WithinOptions::default().include_networks_without_data();
        for (number, found) in reader.networks(options).map_err(format)?.enumerate() {
            if number > networks_max {
                return Err(Fault::Format(
                    "its tree has more networks than its size allows".into(),
                ));
            }
            let found = found.map_err(format)?;
            if let Some(offset) = found.offset()
                && offsets.insert(offset)
            {
                // A record of another layout is no damage.
                found.decode::<IgnoredAny>().map_err(format)?;
                let record: Option<Record> = found.decode().ok().flatten();
                has_countries |= record.is_some_and(|record| !record.pack().is_empty());
            }
        }
        if !has_countries {
            return Err(Fault::Kind(reader.metadata().database_type.clone()));
        }
        Ok(Self {
            reader,
            texts: Cache::new(TEXTS_MAX),
        })
    }

    /// Empty too where the file's part for this address cannot be read.
    pub(super) fn place(&self, address: IpAddr) -> Arc<str> {
        let Ok(found) = self.reader.lookup(address) else {
            return nowhere();
        };
        let Some(offset) = found.offset() else {
            return nowhere();
        };
        if let Some(text) = self.texts.get(&offset) {
            return text;
        }
        let record: Option<Record> = found.decode().ok().flatten();
        let text: Arc<str> = record.map_or_else(nowhere, |record| record.pack().into());
        self.texts.insert(offset, text.clone());
        text
    }
}

/// Of MaxMind and DB-IP, whose records nest (`country.iso_code`), and of the ip-location-db project
/// and IPinfo, whose records are flat (`country_code`, `country`).
#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    country: Option<Or<'a, Country<'a>>>,
    registered_country: Option<Country<'a>>,
    country_code: Option<&'a str>,
    #[serde(default)]
    subdivisions: Vec<Region<'a>>,
    state1: Option<&'a str>,
    region: Option<&'a str>,
    city: Option<Or<'a, City<'a>>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Or<'a, T> {
    Text(&'a str),
    Map(T),
}

#[derive(Deserialize)]
struct Country<'a> {
    iso_code: Option<&'a str>,
}

#[derive(Deserialize)]
struct Region<'a> {
    iso_code: Option<&'a str>,
    #[serde(borrow)]
    names: Option<Names<'a>>,
}

#[derive(Deserialize)]
struct City<'a> {
    #[serde(borrow)]
    names: Option<Names<'a>>,
}

#[derive(Deserialize)]
struct Names<'a> {
    en: Option<&'a str>,
}

impl Record<'_> {
    fn pack(&self) -> String {
        let country = match &self.country {
            _ if self.country_code.is_some() => self.country_code,
            Some(Or::Text(code)) => Some(*code),
            Some(Or::Map(country)) => country.iso_code,
            None => None,
        };
        // Where an address is used is not known of some networks of the air, only whose it is.
        let country = country.or(self
            .registered_country
            .as_ref()
            .and_then(|own| own.iso_code));
        let region = self
            .subdivisions
            .first()
            .and_then(|region| region.iso_code.or(region.names.as_ref()?.en))
            .or(self.state1)
            .or(self.region);
        let city = match &self.city {
            Some(Or::Text(name)) => Some(*name),
            Some(Or::Map(city)) => city.names.as_ref().and_then(|names| names.en),
            None => None,
        };
        pack(country, region, city)
    }
}
