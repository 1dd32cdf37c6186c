//! Every setting that a message or a document advises exists: names are collected from where people
//! read them, and each is given to the real loader.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::Config;
use super::gone::GONE;

/// Files, or folders of them, whose every advice is for today. The changelog speaks of the past.
const DOCUMENTS: [&str; 6] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "BENCHMARKS.md",
    "docs",
    "bench",
];
/// What sets variables and is read by no compiler.
const DEPLOYMENTS: [&str; 3] = ["docker-compose.yml", "infra/docker/Dockerfile", ".ci/run"];
/// It names what is not there.
const TABLE_OF_THE_GONE: &str = "src/config/gone.rs";
/// Settings of Kafka's own, by which its protocol asks the embedded broker.
const OF_KAFKA: [&str; 3] = [
    "log.retention.bytes",
    "log.retention.ms",
    "log.segment.bytes",
];
/// `sink.rs` is a file.
const EXTENSIONS: [&str; 4] = ["js", "md", "rs", "sql"];

#[test]
fn every_setting_that_is_advised_exists() {
    let advised = advised();
    assert!(advised.len() > 100, "{} are too few", advised.len());
    let unknown: Vec<String> = advised
        .iter()
        .filter(|(setting, _)| !OF_KAFKA.contains(&setting.as_str()) && !exists(setting))
        .map(|(setting, places)| format!("{setting}, advised in {places:?}"))
        .collect();
    assert!(
        unknown.is_empty(),
        "no such setting:\n{}",
        unknown.join("\n")
    );
}

#[test]
fn examples_of_weir_toml_have_no_unknown_setting() {
    let defaults = defaults();
    let mut examples = 0;
    for document in DOCUMENTS.iter().flat_map(|name| files(name, "md")) {
        for example in fenced_toml(&read(&document)) {
            let table: toml::Table = example.parse().expect("an example is TOML");
            // Others are of files of their own.
            if table.keys().all(|section| defaults.get(section).is_some()) {
                let told = refusal(&example, None).unwrap_or_default();
                assert!(!told.contains("unknown setting"), "{told}:\n{example}");
                examples += 1;
            }
        }
    }
    assert!(examples > 1, "{examples} are too few");
}

#[test]
fn what_is_gone_is_not_there_and_its_successor_is() {
    for gone in GONE {
        assert!(!exists(gone.setting), "{} is there", gone.setting);
        for successor in names(gone.instead) {
            assert!(exists(&successor), "{successor}, for {}", gone.setting);
        }
    }
}

#[test]
fn a_setting_that_is_not_there_is_found_out_in_either_form() {
    let told = "set WEIR_CLICKHOUSE__READER_PASSWORD, or `clickhouse.reader_pasword`.";
    let settings = names(told);
    let expected = ["clickhouse.reader_password", "clickhouse.reader_pasword"];
    assert!(settings.iter().eq(&expected), "{settings:?}");
    assert!(!settings.iter().any(|setting| exists(setting)));

    let told = "`WEIR_ENGINE__READER_PASSWORD=x` (sink.cut.age_max): [[query.keys]], `WEIR_SINK__CUT__..`, kafka.properties.sasl";
    let settings = names(told);
    let expected = [
        "engine.reader_password",
        "kafka.properties.sasl",
        "query.keys",
        "sink.cut",
        "sink.cut.age_max",
    ];
    assert!(settings.iter().eq(&expected), "{settings:?}");
    assert!(settings.iter().all(|setting| exists(setting)));
    assert!(!exists("engine.listen.port"), "an address has no fields");
    assert!(!exists("sinks.group"));

    let others = "src/sink.rs, my.sink.group, WEIR_E2E_KAFKA, ingest.Config";
    assert_eq!(names(others), BTreeSet::new());
}

#[test]
fn what_people_read_of_a_program_is_its_texts_without_those_of_its_tests() {
    let code = r#"
        /// Or `sink.one`.
        fn advise() { bail!("set {}", "sink.two"); log(sink.three); }
        #[cfg(test)]
        #[path = "sink.four"]
        mod tests { const WRONG: &str = "sink.five"; }
        #[cfg(test)] mod more;
        const LAST: &str = r"sink.six";"#;
    let texts = texts(code.parse().unwrap());
    let settings: BTreeSet<String> = texts.iter().flat_map(|text| names(text)).collect();
    assert!(
        settings.iter().eq(&["sink.one", "sink.six", "sink.two"]),
        "{settings:?}"
    );
}

/// Every setting that a message or a document names, as `section.field`, and the files that name it.
fn advised() -> BTreeMap<String, BTreeSet<PathBuf>> {
    let mut advised: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    let mut add = |file: &Path, text: &str| {
        for setting in names(text) {
            let file = file.strip_prefix(root()).unwrap_or(file);
            advised.entry(setting).or_default().insert(file.to_owned());
        }
    };
    for document in DOCUMENTS.iter().flat_map(|name| files(name, "md")) {
        add(&document, &read(&document));
    }
    for file in DEPLOYMENTS.map(|name| root().join(name)) {
        add(&file, &read(&file));
    }
    for file in files("", "rs") {
        if file.ends_with(TABLE_OF_THE_GONE) {
            continue;
        }
        let code: TokenStream = read(&file).parse().expect("what compiles can be read");
        for text in texts(code) {
            add(&file, &text);
        }
    }
    advised
}

/// Whether the loader knows it.
fn exists(setting: &str) -> bool {
    let defaults = defaults();
    let mut above = &defaults;
    if let Some((names, _)) = setting.rsplit_once('.') {
        for name in names.split('.') {
            match above.get(name) {
                Some(inner) if inner.is_object() || inner.is_array() => above = inner,
                _ => return false,
            }
        }
    }
    // A value of the wrong kind is refused, too, but for that.
    let told = refusal("", Some(setting));
    !told.is_some_and(|told| told.contains("unknown setting"))
}

/// What the loader has against a file, and one variable beside it.
fn refusal(toml: &str, variable: Option<&str>) -> Option<String> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), toml).expect("a temporary file can be written");
    let variables = variable.map(|setting| (setting.replace('.', "__"), "x".to_owned()));
    let variables = variables.into_iter().collect();
    let loaded = infra::config::load_from::<Config>(file.path(), variables, &[]);
    loaded.err().map(|error| error.to_string())
}

/// All fields of all sections; JSON has the ones without a value, too.
fn defaults() -> serde_json::Value {
    serde_json::to_value(Config::default()).expect("the configuration can be written")
}

/// The settings that a text names, be it as variables or as `section.field`.
fn names(text: &str) -> BTreeSet<String> {
    let defaults = defaults();
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.');
    let mut names = BTreeSet::new();
    for word in text.split(|letter| !is_part(letter)) {
        let word = word.trim_matches('.');
        if let Some(variable) = word.strip_prefix("WEIR_") {
            if let Some((first, rest)) = variable.split_once("__") {
                let rest = rest.trim_end_matches(['_', '.']);
                let separator = if rest.is_empty() { "" } else { "." };
                let rest = rest.replace("__", ".");
                names.insert(format!("{first}{separator}{rest}").to_ascii_lowercase());
            }
            continue;
        }
        let Some((section, fields)) = word.split_once('.') else {
            continue;
        };
        let is_field = |field: &str| {
            field.starts_with(|letter: char| letter.is_ascii_lowercase())
                && field.chars().all(|letter| !letter.is_ascii_uppercase())
        };
        let is_file = EXTENSIONS.iter().any(|it| fields.ends_with(it));
        if defaults.get(section).is_some() && fields.split('.').all(is_field) && !is_file {
            names.insert(word.to_owned());
        }
    }
    names
}

/// The literals of a program and its documentation, which is literals too.
fn texts(code: TokenStream) -> Vec<String> {
    let mut texts = Vec::new();
    let mut tokens = code.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) if is_for_tests(&group) => {
                // What follows, up to its body or its semicolon.
                for token in tokens.by_ref() {
                    match token {
                        TokenTree::Group(body) if body.delimiter() == Delimiter::Brace => break,
                        TokenTree::Punct(mark) if mark.as_char() == ';' => break,
                        _ => {}
                    }
                }
            }
            TokenTree::Group(group) => texts.extend(self::texts(group.stream())),
            TokenTree::Literal(literal) => texts.push(literal.to_string()),
            _ => {}
        }
    }
    texts
}

fn is_for_tests(group: &proc_macro2::Group) -> bool {
    let attribute: String = group.stream().to_string().split_whitespace().collect();
    group.delimiter() == Delimiter::Bracket && attribute == "cfg(test)"
}

fn fenced_toml(document: &str) -> Vec<String> {
    let blocks = document.split("```toml\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split_once("```"));
    blocks.map(|(block, _)| block.to_owned()).collect()
}

/// The files with this extension, without those that only tests read.
fn files(name: &str, extension: &str) -> Vec<PathBuf> {
    let path = root().join(name);
    if path.is_file() {
        return vec![path];
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&path).expect("the sources can be listed") {
        let entry = entry.expect("the sources can be listed");
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_folder = entry.file_type().expect("a file has a kind").is_dir();
        if is_folder && !is_skipped(&name) {
            let below = entry.path();
            let below = below.strip_prefix(root()).expect("it lies in the root");
            found.extend(files(&below.to_string_lossy(), extension));
        }
        let stem = name
            .strip_suffix(extension)
            .and_then(|it| it.strip_suffix('.'));
        if !is_folder && stem.is_some_and(|stem| !stem.ends_with("tests")) {
            found.push(entry.path());
        }
    }
    found
}

fn is_skipped(folder: &str) -> bool {
    // Nobody is advised by e2e: it is tests from end to end.
    let skipped = ["data", "e2e", "node_modules", "target", "tests"];
    folder.starts_with('.') || skipped.contains(&folder)
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
