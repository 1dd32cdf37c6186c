//! Configuration: defaults, then `weir.toml`, then `WEIR_<SERVICE>__<FIELD>` from the environment.
//! A key nobody knows stops the start, so a misspelt one never passes for a default.

use std::fmt;
use std::path::Path;

use figment::providers::{Env, Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata};
use secrecy::{ExposeSecret, SecretString};
use serde::de::{self, DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The file read when none is named; it need not exist.
pub const FILE: &str = "weir.toml";

/// Why the configuration was refused; one line a fault, each naming the key and where it stands.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(Vec<String>);

/// A setting that an earlier weir had and this one has not. Where it is still set, the start names it
/// and what to set now.
#[derive(Debug, Clone, Copy)]
pub struct Gone {
    /// `section.field` as in `weir.toml`, or a section that is gone as a whole.
    pub setting: &'static str,
    /// What to do about it, as the end of a sentence: "set `query.timeout`".
    pub instead: &'static str,
}

/// Reads a configuration whose every struct is `#[serde(default, deny_unknown_fields)]`.
///
/// # Errors
/// [`ConfigError`] for an unknown key, one that is `gone`, a value of the wrong kind, or a `file`
/// that is named but cannot be read.
pub fn load<C: DeserializeOwned>(file: Option<&Path>, gone: &[Gone]) -> Result<C, ConfigError> {
    if let Some(file) = file
        && !file.is_file()
    {
        return Err(ConfigError(vec![format!(
            "there is no configuration file {}",
            file.display()
        )]));
    }
    load_from(file.unwrap_or(Path::new(FILE)), environment(), gone)
}

/// The same from `file`, where it is there, and from variables without their `WEIR_`.
///
/// # Errors
/// As [`load`].
pub fn load_from<C: DeserializeOwned>(
    file: &Path,
    variables: Vec<(String, String)>,
    gone: &[Gone],
) -> Result<C, ConfigError> {
    let mut figment = Figment::new();
    if file.exists() {
        figment = figment.merge(Toml::file_exact(file));
    }
    let figment = figment.merge(Variables(variables));
    figment.extract_lossy().map_err(|errors| {
        // All at once, whichever the error is about: each of them is one.
        let gone: Vec<String> = gone
            .iter()
            .filter_map(|gone| explain_gone(&figment, *gone))
            .collect();
        if gone.is_empty() {
            ConfigError(errors.into_iter().map(explain).collect())
        } else {
            ConfigError(gone)
        }
    })
}

fn environment() -> Vec<(String, String)> {
    Env::prefixed("WEIR_")
        .iter()
        .map(|(name, text)| (name.into_string(), text))
        .collect()
}

/// Variables as text. Figment would read `WEIR_CLICKHOUSE__PASSWORD=123` as a number; here the
/// field's own type decides.
struct Variables(Vec<(String, String)>);

const VARIABLE: &str = "environment variable";

impl figment::Provider for Variables {
    fn metadata(&self) -> Metadata {
        Metadata::named(VARIABLE)
    }

    fn data(&self) -> Result<Map<figment::Profile, Dict>, figment::Error> {
        let mut dict = Dict::new();
        for (name, text) in &self.0 {
            let path: Vec<String> = name.split("__").map(str::to_ascii_lowercase).collect();
            insert(&mut dict, &path, Value::from(text.as_str()));
        }
        Ok(figment::Profile::Default.collect(dict))
    }
}

fn insert(dict: &mut Dict, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => {
            dict.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let entry = dict
                .entry(first.clone())
                .or_insert_with(|| Value::from(Dict::new()));
            if !matches!(entry, Value::Dict(..)) {
                *entry = Value::from(Dict::new());
            }
            if let Value::Dict(_, inner) = entry {
                insert(inner, rest, value);
            }
        }
    }
}

fn explain(error: figment::Error) -> String {
    use figment::error::Kind;

    let metadata = error.metadata.as_ref();
    let place = place(metadata);
    match &error.kind {
        Kind::UnknownField(field, known) => {
            let mut path = error.path.clone();
            if path.last() != Some(field) {
                path.push(field.clone());
            }
            format!(
                "unknown setting {}{place}; known here: {}",
                named(&path, metadata),
                known.join(", ")
            )
        }
        kind => {
            let setting = named(&error.path, metadata);
            format!("{setting}{place}: {}", without_excerpt(&kind.to_string()))
        }
    }
}

/// Of a file that is no TOML, the fault and its place. The excerpt between them, whose lines have a
/// bar behind their number, may hold a secret.
fn without_excerpt(told: &str) -> String {
    let is_excerpt = |line: &&str| {
        let number = line.split('|').next().unwrap_or_default();
        number.len() < line.len() && number.chars().all(|it| it == ' ' || it.is_ascii_digit())
    };
    let lines: Vec<&str> = told.lines().filter(|line| !is_excerpt(line)).collect();
    lines.join(": ")
}

fn explain_gone(figment: &Figment, gone: Gone) -> Option<String> {
    figment.find_value(gone.setting).ok()?;
    let metadata = figment.find_metadata(gone.setting);
    let path: Vec<String> = gone.setting.split('.').map(str::to_owned).collect();
    Some(format!(
        "the setting {}{} is gone: {}",
        named(&path, metadata),
        place(metadata),
        gone.instead
    ))
}

/// A setting as it is written where it was found.
fn named(path: &[String], metadata: Option<&Metadata>) -> String {
    if metadata.is_some_and(|metadata| metadata.name == VARIABLE) {
        format!("WEIR_{}", path.join("__").to_ascii_uppercase())
    } else {
        path.join(".")
    }
}

/// " in weir.toml"; of a variable nothing, for its name says it.
fn place(metadata: Option<&Metadata>) -> String {
    metadata
        .and_then(|metadata| metadata.source.as_ref())
        .map_or_else(String::new, |source| format!(" in {source}"))
}

/// A secret: kept out of logs and of `weir config`, which prints `[redacted]` in its place.
#[derive(Debug, Clone)]
pub struct Secret(SecretString);

impl Secret {
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Secret> for SecretString {
    fn from(secret: Secret) -> Self {
        secret.0
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

struct SecretVisitor;

/// What a refusal of another kind of value would repeat of it.
const NO_TEXT: &str = "a secret is text, in quotes";

impl Visitor<'_> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(NO_TEXT)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        Ok(text.to_owned().into())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
        Err(E::custom(NO_TEXT))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        Err(E::custom(NO_TEXT))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        Err(E::custom(NO_TEXT))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        Err(E::custom(NO_TEXT))
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[redacted]")
    }
}

/// A list that may also be written as one comma-separated string, as an environment variable has
/// to. For `#[serde(deserialize_with = "infra::config::list")]`.
///
/// # Errors
/// If the value is neither.
pub fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct ListVisitor;

    impl<'de> Visitor<'de> for ListVisitor {
        type Value = Vec<String>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a list of strings, or one string with commas")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect())
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Vec<String>, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element()? {
                list.push(item);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_any(ListVisitor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Settings {
        engine: Engine,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Engine {
        threads: u16,
    }

    const GONE: [Gone; 3] = [
        Gone {
            setting: "engine.waiting_max",
            instead: "set `engine.threads`",
        },
        Gone {
            setting: "engine.body_time",
            instead: "nothing takes its place",
        },
        Gone {
            setting: "cache",
            instead: "its settings are in `engine` now",
        },
    ];

    fn load(toml: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weir.toml");
        std::fs::write(&file, toml).unwrap();
        let variables = variables
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        load_from(&file, variables.collect(), &GONE).map_err(|error| {
            let shown = file.display().to_string();
            error.to_string().replace(&shown, "weir.toml")
        })
    }

    #[test]
    fn a_setting_that_is_gone_is_named_with_its_successor() {
        assert_eq!(
            load("[engine]\nwaiting_max = 5\n", &[]).unwrap_err(),
            "the setting engine.waiting_max in weir.toml is gone: set `engine.threads`"
        );
        assert_eq!(
            load("", &[("ENGINE__BODY_TIME", "5s")]).unwrap_err(),
            "the setting WEIR_ENGINE__BODY_TIME is gone: nothing takes its place"
        );
    }

    #[test]
    fn a_section_that_is_gone_is_named_whatever_was_set_in_it() {
        assert_eq!(
            load("[cache]\nbytes = 5\n", &[]).unwrap_err(),
            "the setting cache in weir.toml is gone: its settings are in `engine` now"
        );
    }

    #[test]
    fn all_that_are_gone_are_named_at_once_from_wherever_they_come() {
        let toml = "[engine]\nwaiting_max = 5\nthreads = 'no number'\n";
        let told = load(toml, &[("ENGINE__BODY_TIME", "5s")]).unwrap_err();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 2, "{told}");
        assert!(lines[0].contains("engine.waiting_max"), "{told}");
        assert!(lines[1].contains("WEIR_ENGINE__BODY_TIME"), "{told}");
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Secrets {
        #[serde(rename = "password")]
        _password: Option<Secret>,
        #[serde(rename = "properties")]
        _properties: std::collections::BTreeMap<String, Secret>,
        #[serde(rename = "url")]
        _url: Option<crate::url::ServerUrl>,
    }

    #[test]
    fn no_refusal_repeats_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weir.toml");
        for toml in [
            "password = 12345",
            "password = 12345.5",
            "password = -12345",
            "password = \"12345",
            "password = \"1234512345\\y\"",
            "password = '12345' '12345'",
            "password = '12345'\npassword = '12345'",
            "password = ['12345']",
            "password = { a = '12345' }",
            "12345 12345",
            "[properties]\n'sasl.password' = 12345",
            "[properties]\nsasl.password = '12345'",
            "url = 'http://me:12345@host:port'",
            "url = 'me:12345@host'",
            "urls = 'http://me:12345@host'",
        ] {
            std::fs::write(&file, toml).unwrap();
            let refused = load_from::<Secrets>(&file, Vec::new(), &[]).unwrap_err();
            let told = format!("{refused} {refused:?}");
            assert!(!told.contains("12345"), "{toml}: {told}");
            assert!(told.contains("weir.toml"), "{toml}: {told}");
            assert_eq!(refused.to_string().lines().count(), 1, "{told}");
        }
    }

    #[test]
    fn a_setting_that_never_was_is_merely_unknown() {
        assert_eq!(
            load("[engine]\nwaiting = 5\n", &[]).unwrap_err(),
            "unknown setting engine.waiting in weir.toml; known here: threads"
        );
        assert_eq!(
            load("", &[("ENGINE__WAITING", "5")]).unwrap_err(),
            "unknown setting WEIR_ENGINE__WAITING; known here: threads"
        );
        let set = load("[engine]\nthreads = 4\n", &[("ENGINE__THREADS", "5")]);
        assert_eq!(set.unwrap().engine.threads, 5);
    }
}
