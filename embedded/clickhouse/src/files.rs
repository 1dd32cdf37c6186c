//! ClickHouse's own files, written at each start: who may do what is said there and enforced by
//! ClickHouse. Two of them are those that a ClickHouse server is given, too.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::config::STARTER;
use crate::job::Job;

const CONFIG_XML: &str = include_str!("files/config.xml");
const USERS_XML: &str = include_str!("files/users.xml");
const PAGES_XML: &str = include_str!("../../../infra/clickhouse/config.d/pages.xml");
const ANALYST_XML: &str = include_str!("../../../infra/clickhouse/users.d/analyst.xml");

/// The names that stand in [`ANALYST_XML`].
const ANALYST: &str = "analyst";
const DATABASE: &str = "weir";

/// The user `default`, where the service is another: ClickHouse's first session is always of
/// that name, without a password and from 127.0.0.1. It may hold one session, the first one holds
/// it for as long as the engine runs, and so nobody else can be `default`.
const STARTER_PROFILE: &str = "        <starter>
            <max_sessions_for_user>1</max_sessions_for_user>
            <constraints><max_sessions_for_user><const/></max_sessions_for_user></constraints>
        </starter>
";
const STARTER_USER: &str = "        <default>
            <no_password/>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>starter</profile>
            <quota>default</quota>
            <grants>
@STARTER_GRANTS@            </grants>
        </default>
";
const STARTER_GRANTS: &str = "                <query>GRANT SYSTEM LISTEN ON *.*</query>\n";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) name: String,
    /// Of its password; None asks for no password.
    pub(crate) sha256_hex: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) memory_max: u64,
    pub(crate) query_time_max_seconds: u64,
    pub(crate) queries_max: u64,
    pub(crate) reader_queries_max: u64,
    pub(crate) reader_time_max_seconds: u64,
    pub(crate) reader_memory_max: u64,
    pub(crate) reader_rows_max: u64,
    pub(crate) reader_result_bytes_max: u64,
    pub(crate) reader_read_rows_max: u64,
}

/// Writes all of them to `folder`; returns the path of the one that holds passwords' hashes, which
/// must not stay when anybody can connect.
pub(crate) fn write(folder: &Path, job: &Job) -> anyhow::Result<PathBuf> {
    let shown = folder
        .to_str()
        .context("the path of the data directory is not UTF-8")?;
    for part in ["", "config.d", "users.d"] {
        private_folder::make(&folder.join(part))?;
    }
    let put = |name: &str, text: &str| -> anyhow::Result<PathBuf> {
        let path = folder.join(name);
        let written = File::options()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        written.with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    };
    put("config.xml", &config_xml(shown, job))?;
    put("config.d/pages.xml", &pages_xml(job))?;
    put("users.xml", &users_xml(job))?;
    put("users.d/analyst.xml", &analyst_xml(job))?;
    put("users.d/limits.xml", &limits_xml(job))?;
    put("users.d/passwords.xml", &passwords_xml(job))
}

fn config_xml(folder: &str, job: &Job) -> String {
    let native = |port| format!("    <tcp_port>{port}</tcp_port>\n");
    CONFIG_XML
        .replace("@FOLDER@", &escape(folder))
        .replace("@HOST@", &job.listen_host.to_string())
        .replace("@HTTP_PORT@", &job.http_port.to_string())
        .replace("@TCP_PORT@", &job.native_port.map_or(String::new(), native))
        .replace("@MEMORY_MAX@", &job.limits.memory_max.to_string())
}

/// Without the rules by which credentials open every name, where a user has no password: a page
/// under a name that was made to mean this machine would bring some, and any would do.
fn pages_xml(job: &Job) -> String {
    let users = [&job.service, &job.reader];
    if users.iter().all(|user| user.sha256_hex.is_some()) {
        return PAGES_XML.to_owned();
    }
    let by_credentials =
        |rule: &str| rule.contains("<Authorization>") || rule.contains("<X-ClickHouse-Key>");
    let rules = PAGES_XML.split_inclusive("</rule>");
    rules.filter(|rule| !by_credentials(rule)).collect()
}

fn users_xml(job: &Job) -> String {
    let (profile, user, grants) = if job.service.name == STARTER {
        ("", "", STARTER_GRANTS)
    } else {
        (STARTER_PROFILE, STARTER_USER, "")
    };
    let limits = job.limits;
    USERS_XML
        .replace("@STARTER_PROFILE@", profile)
        .replace("@SERVICE_GRANTS@", grants)
        .replace("@STARTER@", user)
        .replace("@STARTER_GRANTS@", STARTER_GRANTS)
        .replace("@SERVICE@", &job.service.name)
        .replace("@QUERIES_MAX@", &limits.queries_max.to_string())
        .replace(
            "@QUERY_TIME_MAX@",
            &limits.query_time_max_seconds.to_string(),
        )
}

/// As it is, for a user and a database of the usual names.
fn analyst_xml(job: &Job) -> String {
    let mut text = ANALYST_XML.to_owned();
    if job.reader.name != ANALYST {
        let name = &job.reader.name;
        for (from, to) in [
            (format!("<{ANALYST}>"), format!("<{name}>")),
            (format!("</{ANALYST}>"), format!("</{name}>")),
            (format!(">{ANALYST}<"), format!(">{name}<")),
        ] {
            text = text.replace(&from, &to);
        }
    }
    if job.database != DATABASE {
        let quoted = job.database.replace('\\', "\\\\").replace('`', "\\`");
        text = text
            .replace(
                &format!(" {DATABASE}.*"),
                &format!(" `{}`.*", escape(&quoted)),
            )
            .replace(
                &format!("<default_database>{DATABASE}<"),
                &format!("<default_database>{}<", escape(&job.database)),
            );
    }
    text
}

/// The limits that the settings give. They replace those of the file above.
fn limits_xml(job: &Job) -> String {
    let limits = job.limits;
    // The other half is the service's, whatever analysts do.
    let memory = limits.memory_max / 2;
    let settings = [
        ("max_execution_time", limits.reader_time_max_seconds),
        ("max_memory_usage", limits.reader_memory_max.min(memory)),
        ("max_result_rows", limits.reader_rows_max),
        ("max_result_bytes", limits.reader_result_bytes_max),
        ("max_rows_to_read", limits.reader_read_rows_max),
    ];
    let (mut values, mut constraints) = (String::new(), String::new());
    for (name, value) in settings {
        values += &format!("<{name}>{value}</{name}>");
        constraints += &format!("<{name}><max>{value}</max></{name}>");
    }
    for (name, value) in [
        ("max_concurrent_queries_for_user", limits.reader_queries_max),
        ("max_memory_usage_for_user", memory),
    ] {
        values += &format!("<{name}>{value}</{name}>");
    }
    let name = &job.reader.name;
    format!(
        "<clickhouse><profiles><{name}>{values}<constraints>{constraints}</constraints></{name}></profiles></clickhouse>\n"
    )
}

fn passwords_xml(job: &Job) -> String {
    let mut users = String::new();
    for User { name, sha256_hex } in [&job.service, &job.reader] {
        let proof = match sha256_hex {
            Some(hex) => format!("<password_sha256_hex>{hex}</password_sha256_hex>"),
            None => "<no_password/>".to_owned(),
        };
        users += &format!("<{name}>{proof}</{name}>");
    }
    format!("<clickhouse><users>{users}</users></clickhouse>\n")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
