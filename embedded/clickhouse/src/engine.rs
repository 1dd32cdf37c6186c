//! Boots the engine on its folder and hands out sessions: pooled, and brought to the settings a
//! request asks for by sending only what differs.

mod system_tables;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::Context as _;

use crate::{
    Config,
    exception::{Code, Exception},
    ffi::{self, Connection},
    gate::ReaderLimits,
    users::Role,
};

const CONFIG_XML: &str = include_str!("engine/config.xml");
const USERS_XML: &str = include_str!("engine/users.xml");

/// Where a session starts.
const DATABASE: &str = "default";

/// Where a statement runs: its role, database and settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) role: Role,
    /// None: the role's own.
    pub(crate) database: Option<String>,
    pub(crate) settings: BTreeMap<String, String>,
}

/// A session of the engine and the state it was brought to.
pub(crate) struct Session {
    pub(crate) connection: Connection,
    context: Context,
}

pub(crate) struct Engine {
    /// The engine takes one path per process, and every session must name it.
    path_argument: String,
    idle: Mutex<Vec<Session>>,
    idle_max: usize,
    time_max_seconds: u64,
    /// Where a reader is who names no database.
    reader_database: String,
    pub(crate) reader_limits: ReaderLimits,
    /// The engine stops when its last session closes, so one stays open.
    anchor: Mutex<Option<Connection>>,
}

impl Engine {
    /// Loads the library and opens the engine on `config.data_dir`.
    pub(crate) fn boot(library: &Path, config: &Config) -> anyhow::Result<Self> {
        let folder = std::path::absolute(&config.data_dir)?;
        let settings = folder.join("config");
        write_configuration(&settings, config).with_context(|| {
            format!("write the engine's configuration to {}", settings.display())
        })?;
        ffi::load(library)?;
        let path_argument = format!("--path={}", folder.join("store").display());
        let mut anchor = Connection::open(&[
            path_argument.clone(),
            format!("--config-file={}", settings.join("config.xml").display()),
        ])
        .with_context(|| format!("open the engine on {}", folder.display()))?;
        // They are made anew at each start.
        for table in system_tables::DROPPED {
            anchor
                .query(
                    format!("DROP TABLE IF EXISTS system.{table}").as_bytes(),
                    "Null",
                    &[],
                )
                .map_err(|error| anyhow::anyhow!("drop system.{table}: {error}"))?;
        }
        Ok(Self {
            path_argument,
            idle: Mutex::new(Vec::new()),
            idle_max: config.queries_max,
            time_max_seconds: config.query_time_max.as_secs().max(1),
            reader_database: config.database.clone(),
            reader_limits: ReaderLimits {
                time_max_seconds: config.reader_time_max.as_secs().max(1),
                memory_max: config.reader_memory_max,
                rows_max: config.reader_rows_max,
                result_bytes_max: config.reader_result_bytes_max,
                read_rows_max: config.reader_read_rows_max,
            },
            anchor: Mutex::new(Some(anchor)),
        })
    }

    /// A session brought to `context`, pooled if one of its role is idle.
    pub(crate) fn session(&self, context: &Context) -> Result<Session, Exception> {
        let context = &Context {
            database: Some(self.database(context).to_owned()),
            ..context.clone()
        };
        let pooled = self.take_idle(context);
        let mut session = match pooled {
            Some(session) => session,
            None => self.open(context.role)?,
        };
        session.bring_to(context, &self.base_settings(context.role))?;
        Ok(session)
    }

    /// Takes a session back for the next request.
    pub(crate) fn give_back(&self, session: Session) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() >= self.idle_max {
            // The one that waited longest, perhaps of a role nobody uses now.
            drop(idle.remove(0));
        }
        idle.push(session);
    }

    /// Closes every session that is not in use and stops the engine. False if one was in use.
    pub(crate) fn close(&self) -> bool {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        drop(
            self.anchor
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        ffi::shutdown()
    }

    fn database<'c>(&'c self, context: &'c Context) -> &'c str {
        match (&context.database, context.role) {
            (Some(database), _) => database,
            (None, Role::Reader) => &self.reader_database,
            (None, _) => DATABASE,
        }
    }

    fn take_idle(&self, context: &Context) -> Option<Session> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let same_context = idle.iter().rposition(|session| session.context == *context);
        let position = same_context.or_else(|| {
            idle.iter()
                .rposition(|session| session.context.role == context.role)
        })?;
        Some(idle.remove(position))
    }

    fn open(&self, role: Role) -> Result<Session, Exception> {
        let mut arguments = vec![self.path_argument.clone()];
        arguments.extend(
            self.base_settings(role)
                .iter()
                .map(|(name, value)| format!("--{name}={value}")),
        );
        let connection =
            Connection::open(&arguments).map_err(|error| Exception::new(Code::Logical, error))?;
        let context = Context {
            role,
            database: Some(DATABASE.to_owned()),
            settings: BTreeMap::new(),
        };
        let mut session = Session {
            connection,
            context,
        };
        // From here on the engine itself knows what a reader may see. There is no way back that
        // the gate lets through.
        if role == Role::Reader {
            session.command("SET ROLE reader")?;
        }
        Ok(session)
    }

    /// Settings every session of a role starts from. Inserts are synchronous whatever the engine's
    /// default, and times are UTC whatever the machine's zone.
    fn base_settings(&self, role: Role) -> BTreeMap<&'static str, String> {
        let mut settings = BTreeMap::from([
            ("async_insert", "0".to_owned()),
            ("session_timezone", "UTC".to_owned()),
            ("max_execution_time", self.time_max_seconds.to_string()),
        ]);
        if role == Role::Reader {
            let limits = self.reader_limits;
            settings.insert("max_execution_time", limits.time_max_seconds.to_string());
            settings.insert("max_memory_usage", limits.memory_max.to_string());
            settings.insert("max_result_rows", limits.rows_max.to_string());
            settings.insert("max_result_bytes", limits.result_bytes_max.to_string());
            settings.insert("max_rows_to_read", limits.read_rows_max.to_string());
            settings.insert("result_overflow_mode", "throw".to_owned());
            settings.insert("read_overflow_mode", "throw".to_owned());
        }
        if role != Role::Service {
            settings.insert("readonly", "2".to_owned());
        }
        settings
    }
}

impl Session {
    /// Sends what differs: settings no longer asked for go back to the role's own value.
    fn bring_to(
        &mut self,
        wanted: &Context,
        base: &BTreeMap<&'static str, String>,
    ) -> Result<(), Exception> {
        let mut changes = Vec::new();
        for name in self
            .context
            .settings
            .keys()
            .filter(|name| !wanted.settings.contains_key(*name))
        {
            let value = base
                .get(name.as_str())
                .map_or("DEFAULT".to_owned(), |value| quote(value));
            changes.push(format!("{name} = {value}"));
        }
        for (name, value) in &wanted.settings {
            if self.context.settings.get(name) != Some(value) {
                changes.push(format!("{name} = {}", quote(value)));
            }
        }
        if !changes.is_empty() {
            self.command(&format!("SET {}", changes.join(", ")))?;
        }
        if let Some(name) = &wanted.database
            && self.context.database != wanted.database
        {
            self.command(&format!("USE {}", name_quoted(name)))?;
        }
        self.context = wanted.clone();
        Ok(())
    }

    fn command(&mut self, sql: &str) -> Result<(), Exception> {
        self.connection
            .query(sql.as_bytes(), "Null", &[])
            .map(drop)
            .map_err(|error| Exception::from_engine(&error))
    }
}

/// Asks the engine to stop the statement that starts with `tag`. The session comes from the pool
/// of the service's role: readers may not kill.
pub(crate) fn kill(engine: &Engine, tag: &str) -> Result<(), Exception> {
    let context = Context {
        role: Role::Service,
        database: None,
        settings: BTreeMap::new(),
    };
    let mut session = engine.session(&context)?;
    session.command(&format!("KILL QUERY WHERE startsWith(query, '{tag}')"))?;
    engine.give_back(session);
    Ok(())
}

fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn name_quoted(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

fn write_configuration(folder: &Path, config: &Config) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let path = folder
        .to_str()
        .context("the path of the data directory is not UTF-8")?;
    let config_xml = CONFIG_XML
        .replace("@FOLDER@", &escape_xml(path))
        .replace("@MEMORY_MAX@", &config.memory_max.to_string());
    fs::write(folder.join("config.xml"), config_xml)?;
    let users_xml = USERS_XML
        .replace("@DATABASE@", &escape_xml(&name_quoted(&config.database)))
        .replace("@CLOSED_TABLES@", &system_tables::policies());
    fs::write(folder.join("users.xml"), users_xml)?;
    Ok(())
}

fn escape_xml(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
