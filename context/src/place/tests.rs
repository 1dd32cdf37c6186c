//! Small files of the format, made here: one network of each kind of record.

use super::*;

/// A value as the format writes it.
enum Value {
    Text(&'static str),
    Map(Vec<(&'static str, Value)>),
    List(Vec<Value>),
    Number(u8, u64),
}
use Value::{List, Map, Number, Text};

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Text(text) => {
                head(out, 2, text.len());
                out.extend(text.as_bytes());
            }
            Map(entries) => {
                head(out, 7, entries.len());
                for (key, value) in entries {
                    Text(key).write(out);
                    value.write(out);
                }
            }
            List(values) => {
                head(out, 11, values.len());
                values.iter().for_each(|value| value.write(out));
            }
            Number(kind, number) => {
                let bytes = number.to_be_bytes();
                let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(8);
                head(out, *kind, 8 - start);
                out.extend(&bytes[start..]);
            }
        }
    }
}

fn head(out: &mut Vec<u8>, kind: u8, size: usize) {
    assert!(size < 285);
    let (size, more) = if size < 29 {
        (size as u8, None)
    } else {
        (29, Some((size - 29) as u8))
    };
    if kind > 7 {
        out.extend([size, kind - 7]);
    } else {
        out.push(kind << 5 | size);
    }
    out.extend(more);
}

/// A file for IPv4 in which each record has a /8 of its own, from 1.0.0.0/8 on.
fn database(kind: &'static str, records: &[Value]) -> Vec<u8> {
    let mut section = Vec::new();
    let offsets: Vec<usize> = records
        .iter()
        .map(|record| {
            let offset = section.len();
            record.write(&mut section);
            offset
        })
        .collect();
    // The first eight bits as a full tree of 255 nodes, level by level.
    const NODES: usize = 255;
    let mut out = Vec::new();
    for node in 0..NODES {
        for child in [2 * node + 1, 2 * node + 2] {
            let value = match child.checked_sub(NODES) {
                None => child,
                Some(octet) => octet
                    .checked_sub(1)
                    .and_then(|record| offsets.get(record))
                    .map_or(NODES, |offset| NODES + 16 + offset),
            };
            out.extend(&(value as u32).to_be_bytes()[1..]);
        }
    }
    out.extend([0; 16]);
    out.extend(section);
    out.extend(b"\xab\xcd\xefMaxMind.com");
    Map(vec![
        ("binary_format_major_version", Number(5, 2)),
        ("binary_format_minor_version", Number(5, 0)),
        ("build_epoch", Number(9, 1_790_000_000)),
        ("database_type", Text(kind)),
        ("description", Map(vec![])),
        ("ip_version", Number(5, 4)),
        ("languages", List(vec![Text("en")])),
        ("node_count", Number(6, NODES as u64)),
        ("record_size", Number(5, 24)),
    ])
    .write(&mut out);
    out
}

fn names(name: &'static str) -> Value {
    Map(vec![(
        "names",
        Map(vec![("de", Text("anders")), ("en", Text(name))]),
    )])
}

fn all_layouts() -> Vec<u8> {
    database(
        "Test-City",
        &[
            // ip-location-db's countries.
            Map(vec![("country_code", Text("DE"))]),
            // MaxMind's cities.
            Map(vec![
                ("city", names("Munich")),
                (
                    "country",
                    Map(vec![
                        ("geoname_id", Number(6, 2_921_044)),
                        ("iso_code", Text("DE")),
                    ]),
                ),
                (
                    "subdivisions",
                    List(vec![Map(vec![
                        ("iso_code", Text("BY")),
                        ("names", Map(vec![("en", Text("Bavaria"))])),
                    ])]),
                ),
            ]),
            // DB-IP's cities: no codes of regions.
            Map(vec![
                ("city", names("Lyon")),
                ("country", Map(vec![("iso_code", Text("FR"))])),
                ("subdivisions", List(vec![names("Auvergne-Rhone-Alpes")])),
            ]),
            // ip-location-db's cities.
            Map(vec![
                ("city", Text("Oslo")),
                ("country_code", Text("NO")),
                ("state1", Text("Oslo County")),
            ]),
            // IPinfo's countries.
            Map(vec![("country", Text("jp"))]),
            // Known by its owner only.
            Map(vec![(
                "registered_country",
                Map(vec![("iso_code", Text("US"))]),
            )]),
            // Not understood.
            Map(vec![("country_code", Number(5, 7))]),
        ],
    )
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join("places.mmdb");
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn place(places: &Places, address: &str) -> String {
    places.of(address.parse().unwrap()).to_string()
}

#[test]
fn each_layout_gives_its_country_region_and_city() {
    let places = Places::default();
    places.read(&Folder::new().write(&all_layouts())).unwrap();
    for _ in 0..2 {
        assert_eq!(place(&places, "1.2.3.4"), "DE\t\t");
        assert_eq!(place(&places, "2.2.3.4"), "DE\tDE-BY\tMunich");
        assert_eq!(place(&places, "3.2.3.4"), "FR\tAuvergne-Rhone-Alpes\tLyon");
        assert_eq!(place(&places, "4.2.3.4"), "NO\tOslo County\tOslo");
        assert_eq!(place(&places, "5.2.3.4"), "JP\t\t");
        assert_eq!(place(&places, "6.2.3.4"), "US\t\t");
        assert_eq!(place(&places, "7.2.3.4"), "");
        assert_eq!(place(&places, "8.2.3.4"), "");
        assert_eq!(place(&places, "::ffff:1.2.3.4"), "DE\t\t");
        // A file for IPv4 only.
        assert_eq!(place(&places, "2a00::1"), "");
    }
}

#[test]
fn a_place_met_before_is_the_same_text() {
    let places = Places::default();
    places.read(&Folder::new().write(&all_layouts())).unwrap();
    let [one, other] = ["2.0.0.1", "2.9.9.9"].map(|address| places.of(address.parse().unwrap()));
    assert!(Arc::ptr_eq(&one, &other));
}

#[test]
fn without_a_file_there_is_no_place() {
    assert_eq!(place(&Places::default(), "1.2.3.4"), "");
}

#[test]
fn addresses_outside_the_public_internet_have_no_place() {
    for address in [
        "0.1.2.3",
        "10.1.2.3",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "169.254.1.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "fd12::1",
        "ff02::1",
        "2001:db8::1",
        "3fff::1",
        "::ffff:10.0.0.1",
    ] {
        let address: IpAddr = address.parse().unwrap();
        assert!(!is_public(address.to_canonical()), "{address}");
    }
    for address in [
        "1.1.1.1",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.0.1",
        "172.32.0.1",
        "192.0.1.1",
        "198.17.0.1",
        "198.20.0.1",
        "223.255.255.255",
        "2001:4860::1",
        "2a00::1",
        "3fff:1000::1",
    ] {
        assert!(is_public(address.parse().unwrap()), "{address}");
    }
    let places = Places::default();
    // Up to 10.0.0.0/8, which such a file does not have.
    let records: Vec<Value> = (1..=10)
        .map(|_| Map(vec![("country_code", Text("DE"))]))
        .collect();
    let whole = database("Test", &records);
    places.read(&Folder::new().write(&whole)).unwrap();
    assert_eq!(place(&places, "1.0.0.1"), "DE\t\t");
    assert_eq!(place(&places, "10.0.0.1"), "");
}

#[test]
fn a_proxys_headers_give_a_place() {
    assert_eq!(
        of_headers(Some("de"), Some("BY"), Some("Munich")),
        "DE\tDE-BY\tMunich"
    );
    assert_eq!(of_headers(Some("DE"), Some("DE-BY"), None), "DE\tDE-BY\t");
    assert_eq!(
        of_headers(Some("DE"), Some("Bavaria"), None),
        "DE\tBavaria\t"
    );
    for unknown in ["XX", "T1", "", "Germany", "D\t", "ÄÖ"] {
        assert_eq!(
            of_headers(Some(unknown), Some("BY"), Some("x")),
            "",
            "{unknown:?}"
        );
    }
    assert_eq!(of_headers(None, None, Some("x")), "");
    let long = of_headers(Some("DE"), None, Some(&"ä\t".repeat(999)));
    assert!(
        long.len() < 99 && long.matches('\t').count() == 2,
        "{long:?}"
    );
}

#[test]
fn a_file_that_is_missing_or_of_another_kind_is_refused_by_name() {
    let folder = Folder::new();
    let refused = |path: &Path| Places::default().read(path).unwrap_err().to_string();
    let missing = refused(&folder.0.path().join("nowhere.mmdb"));
    assert!(missing.contains("nowhere.mmdb cannot be read"), "{missing}");
    assert!(refused(folder.0.path()).contains("is not a file"));
    let text = refused(&folder.write(b"country,code\n"));
    assert!(text.contains("is no whole database of places"), "{text}");
    assert!(refused(&folder.write(b"")).contains("is no whole database"));
    let networks = database(
        "GeoLite2-ASN",
        &[Map(vec![("autonomous_system_number", Number(6, 64_512))])],
    );
    let networks = refused(&folder.write(&networks));
    assert!(
        networks.contains(
            "places.mmdb has no countries in it: it is a database of the type \"GeoLite2-ASN\""
        ),
        "{networks}"
    );
}

#[test]
fn a_small_file_of_billions_of_networks_is_refused_at_once() {
    let mut shared = all_layouts();
    // Both children of each of the first 32 nodes are the next one: 2^32 ways to the last one's.
    for node in 0..32_u8 {
        let next = if node == 31 { 255 } else { node + 1 };
        shared[usize::from(node) * 6..][..6].copy_from_slice(&[0, 0, next, 0, 0, next]);
    }
    let folder = Folder::new();
    let path = folder.write(&shared);
    let fault = Places::default().read(&path).unwrap_err().to_string();
    assert!(
        fault.contains("more networks than its size allows"),
        "{fault}"
    );
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let whole = all_layouts();
    // Behind the marker of the metadata, a cut may leave a shorter text in a map that is whole.
    for end in 0..whole.len() {
        assert!(
            Database::new(whole[..end].to_vec()).is_err(),
            "cut at {end}"
        );
    }
}

#[test]
fn a_damaged_file_is_refused_or_gives_some_place_and_never_panics() {
    let whole = all_layouts();
    let mut used = 0;
    for at in 0..whole.len() {
        for bit in [1, 16, 128] {
            let mut damaged = whole.clone();
            damaged[at] ^= bit;
            if let Ok(database) = Database::new(damaged) {
                used += 1;
                for octet in 0..=255 {
                    let text = database.place(IpAddr::from([octet, 2, 3, 4]));
                    assert!(
                        text.is_empty() || text.matches('\t').count() == 2,
                        "{text:?}"
                    );
                }
            }
        }
    }
    assert!(used > 0, "some damage is in a name, and cannot be seen");
}

#[test]
fn a_changed_file_is_read_again_and_a_bad_one_keeps_what_was_there() {
    let folder = Folder::new();
    let country = |code| database("Test", &[Map(vec![("country_code", Text(code))])]);
    let path = folder.write(&country("DE"));
    let places = Places::default();
    places.read(&path).unwrap();
    assert!(!places.read_if_changed(&path).unwrap());

    // Replaced as operators do: another file is moved into its place.
    let replace = |bytes: &[u8]| {
        let aside = folder.0.path().join("aside");
        fs::write(&aside, bytes).unwrap();
        fs::rename(&aside, &path).unwrap();
    };
    replace(&country("FR"));
    assert!(places.read_if_changed(&path).unwrap());
    assert_eq!(place(&places, "1.2.3.4"), "FR\t\t");

    replace(&country("NO")[..900]);
    places.read_if_changed(&path).unwrap_err();
    assert_eq!(place(&places, "1.2.3.4"), "FR\t\t");
    // Said once.
    assert!(!places.read_if_changed(&path).unwrap());

    fs::remove_file(&path).unwrap();
    places.read_if_changed(&path).unwrap_err();
    assert!(!places.read_if_changed(&path).unwrap());
    assert_eq!(place(&places, "1.2.3.4"), "FR\t\t");

    replace(&country("NO"));
    assert!(places.read_if_changed(&path).unwrap());
    assert_eq!(place(&places, "1.2.3.4"), "NO\t\t");
}

#[test]
fn a_file_that_cannot_be_fetched_is_said_with_what_to_do() {
    let cache = tempfile::tempdir().unwrap();
    let refused = fetched(Some(cache.path()), Path::new("/nowhere/npm")).unwrap_err();
    let refused = refused.to_string();
    assert!(
        refused.contains("to fetch the file of countries"),
        "{refused}"
    );
    assert!(
        refused.contains("set WEIR_INGEST__GEO__DATABASE"),
        "{refused}"
    );
}
