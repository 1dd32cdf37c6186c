//! Settings: those that are closed to everybody, and those that limit a reader, which may ask for
//! less and not for more.

use super::denied;
use super::text::{between, find_word, is_part, unescape};
use crate::{
    exception::{Code, Exception},
    users::Role,
};

/// Settings that name a file, a host or another language, or whose text is run as SQL. No grant
/// covers them, in this build they reach any file of this machine, and nothing here needs them.
const CLOSED_SETTINGS: &[&str] = &[
    "additional_result_filter",
    "additional_table_filters",
    "ai_function_embedding_default_credentials",
    "ai_function_text_default_credentials",
    "allow_experimental_eval_table_function",
    "allow_python_table_function",
    "dialect",
    "format_avro_schema_registry_url",
    "format_schema",
    "format_schema_message_name",
    "format_schema_source",
    "format_template_resultset",
    "format_template_row",
    "function_implementation",
    "input_format_record_errors_file_path",
    "output_format_schema",
    "parallel_replicas_custom_key",
    "polyglot_dialect",
    "rename_files_after_processing",
    "url_base",
];

/// Largest values a reader may choose for the settings that limit it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReaderLimits {
    pub(crate) time_max_seconds: u64,
    pub(crate) memory_max: u64,
    pub(crate) rows_max: u64,
    pub(crate) result_bytes_max: u64,
    pub(crate) read_rows_max: u64,
}

/// A setting that comes with a request.
pub(crate) fn check_setting(
    name: &str,
    value: &str,
    role: Role,
    limits: ReaderLimits,
) -> Result<(), Exception> {
    check_open(name)?;
    match role {
        Role::Reader => check_reader_setting(name, value, limits),
        Role::Service | Role::ServiceReading => Ok(()),
    }
}

pub(super) fn check_open(setting: &str) -> Result<(), Exception> {
    if CLOSED_SETTINGS.contains(&setting) {
        return Err(denied(&format!("setting {setting} is closed")));
    }
    Ok(())
}

/// A setting the reader asks for, by URL or in the statement. Names of limits and permissions are
/// refused unless listed; how values are read and shown is the reader's own affair.
fn check_reader_setting(name: &str, value: &str, limits: ReaderLimits) -> Result<(), Exception> {
    const GUARDED: &[&str] = &[
        "allow", "force", "ignore", "max", "memory", "min", "os", "profile", "readonly", "timeout",
        "url",
    ];
    const FREE_PREFIXES: &[&str] = &[
        "allow_experimental_",
        "allow_suspicious_",
        "max_bytes_in_",
        "max_rows_in_",
        "max_rows_to_group_by",
        "max_rows_to_sort",
    ];
    const THREADS_MAX: u64 = 64;
    const BLOCK_ROWS_MAX: u64 = 1 << 20;
    let number = value.parse::<u64>().ok();
    let within = |max: u64| number.is_some_and(|number| number > 0 && number <= max);
    let subject = name.split('_').next().unwrap_or(name);
    let allowed = match name {
        "max_execution_time" => within(limits.time_max_seconds),
        "max_memory_usage" => within(limits.memory_max),
        "max_result_rows" => within(limits.rows_max),
        "max_result_bytes" => within(limits.result_bytes_max),
        "max_rows_to_read" => within(limits.read_rows_max),
        "max_threads" => within(THREADS_MAX),
        "max_block_size" => within(BLOCK_ROWS_MAX),
        "readonly" => number.is_some_and(|number| number == 1 || number == 2),
        _ if FREE_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) => true,
        _ => !GUARDED.contains(&subject) && !name.ends_with("overflow_mode"),
    };
    if allowed {
        return Ok(());
    }
    Err(Exception::new(
        Code::ReadOnly,
        format_args!("Cannot modify '{name}' setting in readonly mode"),
    ))
}

/// Every `name = value` behind a SETTINGS word must be a reader's. A comparison that stands there
/// looks the same and is judged the same.
pub(super) fn check_settings_clause(sql: &[u8], limits: ReaderLimits) -> Result<(), Exception> {
    let unescaped = unescape(sql);
    for text in [sql, unescaped.as_slice()] {
        let mut from = 0;
        while let Some(start) = find_word(text, b"SETTINGS", from) {
            from = start + b"SETTINGS".len();
            // The table of that name.
            if text[..start].ends_with(b"system.") {
                continue;
            }
            for (name, value) in assignments(&text[from..]) {
                check_reader_setting(name, value, limits)?;
            }
            break;
        }
    }
    Ok(())
}

/// Every word that `=` follows, and the word behind that.
pub(super) fn assignments(text: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    let mut position = 0;
    std::iter::from_fn(move || {
        loop {
            position += text[position..].iter().position(|byte| is_part(*byte))?;
            let name = word(&text[position..]);
            position += name.len();
            let rest = &text[position..];
            let sign = &rest[between(rest)..];
            if let Some(behind) = sign.strip_prefix(b"=") {
                return Some((name, number(&behind[between(behind)..])));
            }
        }
    })
}

fn word(text: &[u8]) -> &str {
    run(text, is_part)
}

/// A word, or a number with all that may belong to it: of `1.5e9` a word is only the first digit.
fn number(text: &[u8]) -> &str {
    run(text, |byte| {
        is_part(byte) || matches!(byte, b'.' | b'+' | b'-')
    })
}

fn run(text: &[u8], belongs: impl Fn(u8) -> bool) -> &str {
    let length = text.iter().take_while(|byte| belongs(**byte)).count();
    std::str::from_utf8(&text[..length]).unwrap_or_default()
}
