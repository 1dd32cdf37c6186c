//! Country, region and city: by the address and a file of the MaxMind DB format, or by the headers of
//! a CDN.

mod database;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use npm_package::Package;
use serde::{Deserialize, Serialize};

pub use npm_package::FetchError;

use crate::text;
use database::Database;

/// The `ingest.geo` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether places are looked up, and the file of countries fetched
    /// (`WEIR_INGEST__GEO__ENABLED=false`).
    pub enabled: bool,
    /// A file of the MaxMind DB format with countries or cities, used instead of the fetched one and
    /// read again when it changes (`WEIR_INGEST__GEO__DATABASE`).
    pub database: Option<PathBuf>,
    /// How often `database` is looked at for a change (`WEIR_INGEST__GEO__CHECK_EVERY=1m`).
    #[serde(with = "humantime_serde")]
    pub check_every: Duration,
    /// A header in which a proxy or CDN before the edge sends the country, as `CF-IPCountry`. Where it
    /// is set, addresses are not looked up (`WEIR_INGEST__GEO__COUNTRY_HEADER`).
    pub country_header: Option<String>,
    /// The same for the region, as `CF-Region-Code` (`WEIR_INGEST__GEO__REGION_HEADER`).
    pub region_header: Option<String>,
    /// The same for the city, as `CF-IPCity` (`WEIR_INGEST__GEO__CITY_HEADER`).
    pub city_header: Option<String>,
    /// Folder the file of countries is fetched into, that of the engine, default `~/.cache/weir`
    /// (`WEIR_ENGINE__CACHE_DIR`).
    #[serde(skip)]
    pub cache_dir: Option<PathBuf>,
    /// The npm program that fetches it, that of the engine (`WEIR_ENGINE__NPM`).
    #[serde(skip)]
    pub npm: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            database: None,
            check_every: Duration::from_secs(60),
            country_header: None,
            region_header: None,
            city_header: None,
            cache_dir: None,
            npm: PathBuf::from("npm"),
        }
    }
}

/// A file of cities has 60 to 130 MB; it is held in memory, since a mapped file that is cut while in
/// use ends the process.
pub const DATABASE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Why a file gives no places, in one line that names it.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("the database of places {path} cannot be read: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the database of places {0} is not a file")]
    NotAFile(PathBuf),
    #[error("the database of places {path} has {bytes} bytes, more than {DATABASE_BYTES_MAX}")]
    Large { path: PathBuf, bytes: u64 },
    #[error("{path} is no whole database of places in the MaxMind DB format: {fault}")]
    Format { path: PathBuf, fault: String },
    #[error("{path} has no countries in it: it is a database of the type {kind:?}")]
    Kind { path: PathBuf, kind: String },
}

/// Finds places. One of these serves a whole process; it may begin without a file.
#[derive(Debug, Default)]
pub struct Places {
    database: RwLock<Option<Arc<Database>>>,
    /// What the file looked like when it was last read, well or not.
    seen: Mutex<Option<Seen>>,
}

/// What changes when a file is replaced or written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    bytes: u64,
    inode: u64,
    modified: Option<SystemTime>,
}

impl Places {
    /// Country, region and city, joined by TAB; empty where the country is not known, for an address
    /// that is not of the public Internet, and while there is no file. A region is an ISO 3166-2 code
    /// where the file has codes, else a name.
    ///
    /// A look-up takes 0.15 µs and allocates nothing for a record it has met before.
    pub fn of(&self, address: IpAddr) -> Arc<str> {
        let address = address.to_canonical();
        if !is_public(address) {
            return nowhere();
        }
        // A thread that panicked has replaced the file or not.
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        match &*database {
            Some(database) => database.place(address),
            None => nowhere(),
        }
    }

    /// Reads a file and uses it from now on. It blocks for as long as the file takes to read
    /// and check: 0.1 s for the countries of the world.
    ///
    /// # Errors
    /// If it is missing, cut short, too large, or of another kind; what was used before stays.
    pub fn read(&self, path: &Path) -> Result<(), PlaceError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = look(path).ok();
        let database = Arc::new(open(path)?);
        *self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(database);
        Ok(())
    }

    /// Reads the file again if it has changed since it was last read, and says whether it has. One that
    /// was refused is not read again before it changes once more.
    ///
    /// # Errors
    /// As [`Places::read`].
    pub fn read_if_changed(&self, path: &Path) -> Result<bool, PlaceError> {
        let now = look(path).ok();
        if *self.seen.lock().unwrap_or_else(PoisonError::into_inner) == now {
            return Ok(false);
        }
        self.read(path).map(|()| true)
    }
}

/// The path of the file of countries that comes from the ip-location-db project (CC0-1.0, made of the
/// registries' own data, 8 MB): the one in `cache`, by default `~/.cache/weir`, or a new one, which
/// `npm` fetches once. Blocks for as long as that takes; without it there are no places, and nothing
/// else waits for it.
///
/// # Errors
/// [`FetchError`], which says what to do.
pub fn fetched(cache: Option<&Path>, npm: &Path) -> Result<PathBuf, FetchError> {
    let package = Package {
        what: "the file of countries",
        instead: "set WEIR_INGEST__GEO__DATABASE to a file of your own, or WEIR_INGEST__GEO__ENABLED=false",
        name: "@ip-location-db/geo-whois-asn-country-mmdb".into(),
        version: "2.3.2026061719".into(),
        integrity: "sha512-xemBDNQl4mCYDuVbqe3jKGKsVDykZGkfvebhtOh/3VGLadq8vsp7t7ontpMUt3hH7sAGT0eLDyJ99SV+0waxZg==".into(),
        file: "geo-whois-asn-country.mmdb",
        packed_bytes: 7_610_169,
        unpacked_bytes: 7_841_291,
    };
    npm_package::ensure(&package, cache, npm)
}

/// The place by the values of a proxy's headers; as [`Places::of`], and empty without a country.
/// Proxies send `XX` for unknown and `T1` for Tor, which are no countries.
pub fn of_headers(country: Option<&str>, region: Option<&str>, city: Option<&str>) -> String {
    pack(country, region, city)
}

fn nowhere() -> Arc<str> {
    Arc::default()
}

const NAME_BYTES_MAX: usize = 80;

/// `region` may be a code with its country, a code without, or a name.
fn pack(country: Option<&str>, region: Option<&str>, city: Option<&str>) -> String {
    let country = country.unwrap_or("").trim();
    let is_a_code = country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_alphabetic());
    let country = country.to_ascii_uppercase();
    if !is_a_code || matches!(country.as_str(), "XX" | "ZZ") {
        return String::new();
    }
    let region = text::one_line(region.unwrap_or(""), NAME_BYTES_MAX);
    let is_a_code = !region.is_empty()
        && region.len() <= 3
        && region
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    let region = if is_a_code {
        format!("{country}-{region}").into()
    } else {
        region
    };
    let city = text::one_line(city.unwrap_or(""), NAME_BYTES_MAX);
    [country.as_str(), &region, &city].join("\t")
}

/// Whether an address can be of a client on the public Internet, by IANA's registries of special
/// addresses.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            !(address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_documentation()
                || matches!(a, 0 | 224..)
                || (a == 100 && b & 0b1100_0000 == 64)
                || (a == 198 && b & 0b1111_1110 == 18)
                || (a == 192 && b == 0 && c == 0))
        }
        // 2000::/3 is all that is given out; 2001:db8::/32 and 3fff::/20 are for documents.
        IpAddr::V6(address) => {
            let [a, b, ..] = address.segments();
            a & 0xe000 == 0x2000 && !(a == 0x2001 && b == 0x0db8) && !(a == 0x3fff && b < 0x1000)
        }
    }
}

fn look(path: &Path) -> io::Result<Seen> {
    let found = fs::metadata(path)?;
    Ok(Seen {
        bytes: found.len(),
        inode: found.ino(),
        modified: found.modified().ok(),
    })
}

fn open(path: &Path) -> Result<Database, PlaceError> {
    let unread = |source| PlaceError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unread)?;
    let found = file.metadata().map_err(unread)?;
    if !found.is_file() {
        return Err(PlaceError::NotAFile(path.to_owned()));
    }
    if found.len() > DATABASE_BYTES_MAX {
        return Err(PlaceError::Large {
            path: path.to_owned(),
            bytes: found.len(),
        });
    }
    let mut bytes = Vec::with_capacity(found.len() as usize);
    // It may grow while it is read.
    file.take(DATABASE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(unread)?;
    Database::new(bytes).map_err(|fault| fault.of(path))
}

#[cfg(test)]
mod tests;
