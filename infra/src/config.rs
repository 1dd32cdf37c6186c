//! Configuration: defaults, then `weir.toml`, then `WEIR_<SERVICE>__<FIELD>` from the environment.
//! A key nobody knows stops the start, so a misspelt one never passes for a default.

use std::fmt;
use std::path::Path;

use figment::Figment;
use figment::providers::{Env, Format, Toml};
use figment::value::{Dict, Map, Value};
use secrecy::{ExposeSecret, SecretString};
use serde::de::{self, DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The file read when none is named; it need not exist.
pub const FILE: &str = "weir.toml";

/// Why the configuration was refused; one line a fault, each naming the key and where it stands.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(Vec<String>);

/// Reads a configuration whose every struct is `#[serde(default, deny_unknown_fields)]`.
///
/// # Errors
/// [`ConfigError`] for an unknown key, a value of the wrong kind, or a `file` that is named but
/// cannot be read.
pub fn load<C: DeserializeOwned>(file: Option<&Path>) -> Result<C, ConfigError> {
    if let Some(file) = file
        && !file.is_file()
    {
        return Err(ConfigError(vec![format!(
            "there is no configuration file {}",
            file.display()
        )]));
    }
    let file = file.unwrap_or(Path::new(FILE));
    let mut figment = Figment::new();
    if file.exists() {
        figment = figment.merge(Toml::file_exact(file));
    }
    let figment = figment.merge(TextEnv);
    figment
        .extract_lossy()
        .map_err(|errors| ConfigError(errors.into_iter().map(explain).collect()))
}

/// The environment as text. Figment would read `WEIR_CLICKHOUSE__PASSWORD=123` as a number;
/// here the field's own type decides.
struct TextEnv;

impl figment::Provider for TextEnv {
    fn metadata(&self) -> figment::Metadata {
        figment::Metadata::named("environment variable")
    }

    fn data(&self) -> Result<Map<figment::Profile, Dict>, figment::Error> {
        let mut dict = Dict::new();
        for (key, text) in Env::prefixed("WEIR_").iter() {
            let path: Vec<String> = key
                .as_str()
                .split("__")
                .map(str::to_ascii_lowercase)
                .collect();
            insert(&mut dict, &path, Value::from(text));
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

    let from_environment = error
        .metadata
        .as_ref()
        .is_some_and(|metadata| metadata.name == "environment variable");
    let named = |path: &[String]| {
        if from_environment {
            format!("WEIR_{}", path.join("__").to_ascii_uppercase())
        } else {
            path.join(".")
        }
    };
    let source = error
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.source.as_ref())
        .map_or_else(String::new, |source| format!(" in {source}"));
    match &error.kind {
        Kind::UnknownField(field, known) => {
            let mut path = error.path.clone();
            if path.last() != Some(field) {
                path.push(field.clone());
            }
            format!(
                "unknown setting {}{source}; known here: {}",
                named(&path),
                known.join(", ")
            )
        }
        kind => format!("{}{source}: {kind}", named(&error.path)),
    }
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
        String::deserialize(deserializer).map(Self::from)
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
