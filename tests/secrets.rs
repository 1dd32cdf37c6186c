//! What is secret in the configuration is printed by no command, whatever goes wrong.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::path::Path;
use std::process::Command;

const SECRET: &str = "hunter2";
const LOG: &str =
    "10.0.0.1 - - [30/Mar/2025:12:00:00 +0200] \"GET /a HTTP/1.1\" 200 1 \"-\" \"a\"\n";

/// A command that reads this `weir.toml` and nothing of the caller's environment; its code, and all
/// that it printed.
fn weir(toml: &str, arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("weir.toml"), toml).unwrap();
    std::fs::write(folder.path().join("access.log"), LOG).unwrap();
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_weir")));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WEIR_") {
            command.env_remove(name);
        }
    }
    let ended = command
        .current_dir(folder.path())
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
    (ended.status.code(), printed.into_owned())
}

#[test]
fn the_configuration_is_printed_without_them() {
    let toml = r#"
        [clickhouse]
        password = "hunter2"
        [kafka.properties]
        "sasl.password" = "hunter2"
        "ssl.key.password" = "hunter2"
        "ssl.key.pem" = "hunter2"
        "sasl.oauthbearer.client.secret" = "hunter2"
        "of.a.later.client" = "hunter2"
        [import]
        visitor_key = "hunter2"
        [engine]
        reader_password = "hunter2"
    "#;
    let (code, printed) = weir(toml, &["config"], &[]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(!printed.contains(SECRET), "{printed}");
    assert_eq!(printed.matches("= \"[redacted]\"").count(), 8, "{printed}");
}

/// ClickHouse's client would ignore them, and the server refuse it as somebody else.
#[test]
fn an_address_of_clickhouse_with_credentials_in_it_is_refused_with_the_settings_for_them() {
    for url in [
        "https://me:hunter2@ch.example:8443",
        "http://hunter2@ch:1",
        "http://ch:8123/?user=me&password=hunter2",
        "http://ch:8123/#hunter2",
    ] {
        let variables = [("WEIR_CLICKHOUSE__URL", url)];
        let toml = format!("[clickhouse]\nurl = '{url}'");
        for command in ["config", "up", "sink", "query", "migrate", "audit"] {
            for (toml, variables, setting) in [
                (toml.as_str(), &[][..], "clickhouse.url"),
                ("", &variables, "WEIR_CLICKHOUSE__URL"),
            ] {
                let (code, printed) = weir(toml, &[command], variables);
                assert!(code.is_some_and(|code| code > 0), "{command}: {printed}");
                assert!(!printed.contains(SECRET), "{command}: {printed}");
                assert_eq!(printed.lines().count(), 1, "{command}: {printed}");
                for named in [setting, "clickhouse.user", "clickhouse.password"] {
                    assert!(printed.contains(named), "{command}: {printed}");
                }
            }
        }
    }
}

#[test]
fn a_refused_configuration_is_refused_without_them() {
    for (toml, told) in [
        ("[clickhouse]\nurl = 'me:hunter2@ch'", "clickhouse.url"),
        (
            "[clickhouse]\nurl = 'ftp://me:hunter2@ch'",
            "clickhouse.url",
        ),
        (
            "[clickhouse]\npassword = ['hunter2']",
            "clickhouse.password",
        ),
        ("[clickhouse]\npassword = \"hunter2", "weir.toml"),
        (
            "[engine]\nreader_password = ['hunter2']",
            "engine.reader_password",
        ),
        (
            "[kafka.properties]\nsasl.password = 'hunter2'",
            "kafka.properties.sasl",
        ),
    ] {
        let (code, printed) = weir(toml, &["config"], &[]);
        assert_eq!(code, Some(1), "{printed}");
        assert!(!printed.contains(SECRET), "{printed}");
        assert!(printed.contains(told), "{printed}");
    }
}

#[test]
fn a_secret_that_is_no_text_is_refused_without_a_word_of_it() {
    for (section, setting) in [
        ("clickhouse", "password"),
        ("engine", "reader_password"),
        ("import", "visitor_key"),
        ("kafka.properties", "\"sasl.password\""),
    ] {
        for value in ["12345", "-12345", "12345.5", "[12345]", "{ a = 12345 }"] {
            let toml = format!("[{section}]\n{setting} = {value}");
            let (code, printed) = weir(&toml, &["config"], &[]);
            assert_eq!(code, Some(1), "{toml}: {printed}");
            assert!(!printed.contains("12345"), "{toml}: {printed}");
            let named = format!("{section}.{}", setting.trim_matches('"'));
            assert!(printed.contains(&named), "{toml}: {printed}");
        }
        // A variable has no quotes, and its digits are a text.
        if section != "kafka.properties" {
            let variable = format!("WEIR_{section}__{setting}").to_uppercase();
            let (code, printed) = weir("", &["config"], &[(&variable, "12345")]);
            assert_eq!(code, Some(0), "{printed}");
            assert!(!printed.contains("12345"), "{printed}");
        }
    }
}

/// Kafka's client is created where a command needs it, and refuses what it does not know.
#[test]
fn a_property_that_kafkas_client_refuses_is_named_without_its_value() {
    let toml = "[kafka.properties]\n'sasl.pasword' = 'hunter2'";
    for command in ["migrate", "ingest", "sink", "audit"] {
        let (code, printed) = weir(
            toml,
            &[command],
            &[
                ("WEIR_CLICKHOUSE__URL", "http://127.0.0.1:1"),
                ("WEIR_INGEST__LISTEN", "127.0.0.1:0"),
                ("WEIR_SINK__LISTEN", "127.0.0.1:0"),
            ],
        );
        assert_ne!(code, Some(0), "{printed}");
        assert!(!printed.contains(SECRET), "{command}: {printed}");
    }
}

#[test]
fn a_server_that_cannot_be_reached_is_named_without_them() {
    let nobody = "http://me:hunter2@127.0.0.1:1";
    let nobody_asked = "http://127.0.0.1:1/?key=hunter2";
    let import = [
        "import",
        "--format",
        "combined",
        "--site-id",
        "s",
        "--retry-for",
        "0",
        "--url",
    ];
    for url in [nobody, nobody_asked] {
        let imported = [&import[..], &[url, "access.log"]].concat();
        for arguments in [
            &["health", url][..],
            &["demo", "--days", "1", "--url", url],
            &imported,
        ] {
            let (code, printed) = weir("", arguments, &[]);
            assert_eq!(code, Some(1), "{arguments:?}: {printed}");
            assert!(!printed.contains(SECRET), "{arguments:?}: {printed}");
            assert!(printed.contains("127.0.0.1:1"), "{arguments:?}: {printed}");
        }
    }

    let variables = [
        ("WEIR_CLICKHOUSE__URL", "http://127.0.0.1:1"),
        ("WEIR_CLICKHOUSE__PASSWORD", SECRET),
        ("WEIR_KAFKA__BROKERS", "127.0.0.1:1"),
        ("WEIR_LOG__FILTER", "debug"),
    ];
    let (code, printed) = weir("", &["audit"], &variables);
    assert_eq!(code, Some(2), "{printed}");
    assert!(!printed.contains(SECRET), "{printed}");
    assert!(printed.contains("http://127.0.0.1:1"), "{printed}");
}
