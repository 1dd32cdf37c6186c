//! What a statement may do, decided before the engine runs it. Three fences stand behind each
//! other: the engine's grants and row policies for the role (see `engine/users.xml`), its own
//! classification of the statement, and this text scan for what neither covers: functions that no
//! grant closes, and settings that limit a reader. Raw bytes are scanned and not tokens, so that
//! no quote or escape the engine reads in another way can hide anything.

mod settings;
mod text;

pub(crate) use settings::{ReaderLimits, check_setting};

use crate::{
    exception::{Code, Exception},
    ffi::{Analysis, Class},
    sql::token::{Token, tokens},
    users::Role,
};
use settings::{assignments, check_open, check_settings_clause};
use text::{calls, find_word, unescape};

/// Functions that reach a file, a library or the network and that no grant covers: `file` reads
/// any file of this machine in this build.
const CLOSED_FUNCTIONS: &[&str] = &[
    "file",
    "catboostEvaluate",
    "executable",
    // Where a table lies on this machine's disks.
    "disk",
    // Runs what a string says, which may be put together at run time.
    "eval",
    "aiClassify",
    "aiEmbed",
    "aiExtract",
    "aiGenerate",
    "aiTranslate",
];

/// Session statements that are harmless, because no session outlives its request.
const OPEN_CONTROLS: &[&str] = &["SET", "USE", "KILL"];

/// Refuses a statement that its role may not run. `analysis` is of this very `sql`.
pub(crate) fn check(
    sql: &[u8],
    analysis: Analysis,
    role: Role,
    limits: ReaderLimits,
) -> Result<(), Exception> {
    check_text(sql)?;
    if analysis.statements > 1 {
        return Err(Exception::new(
            Code::SyntaxError,
            "Syntax error: multi-statements are not allowed",
        ));
    }
    match (role, analysis.class) {
        // What does not parse goes to the engine, whose message says where.
        (_, Class::ReadOnly | Class::Unknown) => {}
        (Role::Service, Class::Mutating) => check_is_fed(sql)?,
        (Role::Service, Class::Control) if is_open_control(sql) => {}
        (Role::Service, _) => {
            return Err(denied("this statement reaches beyond the database"));
        }
        (Role::ServiceReading, _) => {
            return Err(Exception::new(
                Code::ReadOnly,
                "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. You should use method POST for modifying queries",
            ));
        }
        (Role::Reader, _) => return Err(denied("this user may only read")),
    }
    if role == Role::Reader {
        check_settings_clause(sql, limits)?;
    }
    Ok(())
}

/// Refuses an INSERT that reads its rows from `input()`: this engine has nothing to feed it, stores
/// no row and reports success.
fn check_is_fed(sql: &[u8]) -> Result<(), Exception> {
    let tokens: Vec<Token<'_>> = tokens(sql).collect();
    let is_insert = tokens.first().is_some_and(|token| token.is_word("INSERT"));
    let reads_input = tokens.windows(3).any(|three| {
        three[0].is_word("FROM") && three[1].is_word("INPUT") && three[2].is_sign(b'(')
    });
    if is_insert && reads_input {
        return Err(Exception::new(
            Code::NoMethod,
            "INSERT ... SELECT ... FROM input() is not served by the embedded engine; send INSERT INTO table FORMAT ... with the rows",
        ));
    }
    Ok(())
}

/// Refuses text that calls a closed function; a string that looks like a call is refused too.
pub(crate) fn check_text(sql: &[u8]) -> Result<(), Exception> {
    let unescaped = unescape(sql);
    for text in [sql, unescaped.as_slice()] {
        for function in CLOSED_FUNCTIONS {
            if calls(text, function.as_bytes()) {
                return Err(denied(&format!("function {function} is closed")));
            }
        }
        if find_word(text, b"INFILE", 0).is_some() || find_word(text, b"OUTFILE", 0).is_some() {
            return Err(denied("INFILE and OUTFILE are closed"));
        }
        let sets = [b"SETTINGS".as_slice(), b"SETTING", b"SET"];
        if sets.iter().any(|word| find_word(text, word, 0).is_some()) {
            for (name, _) in assignments(text) {
                check_open(name)?;
            }
        }
    }
    Ok(())
}

fn is_open_control(sql: &[u8]) -> bool {
    let Some(first) = tokens(sql).next() else {
        return false;
    };
    OPEN_CONTROLS.iter().any(|word| first.is_word(word))
}

fn denied(reason: &str) -> Exception {
    Exception::new(
        Code::AccessDenied,
        format_args!("Not enough privileges: {reason}."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: ReaderLimits = ReaderLimits {
        time_max_seconds: 60,
        memory_max: 1000,
        rows_max: 10,
        result_bytes_max: 1000,
        read_rows_max: 1000,
    };

    const READ: Analysis = Analysis {
        statements: 1,
        class: Class::ReadOnly,
    };

    fn reader(sql: &str) -> Result<(), Exception> {
        check(sql.as_bytes(), READ, Role::Reader, LIMITS)
    }

    #[test]
    fn file_is_closed_however_it_is_written() {
        for sql in [
            "SELECT file('/etc/passwd')",
            "SELECT `file`('/etc/passwd')",
            "SELECT \"file\" ('/etc/passwd')",
            "SELECT `fi\\x6ce`('/etc/passwd')",
            "SELECT `fi\\Nle`('/etc/passwd')",
            "SELECT file/**/('/etc/passwd')",
            "SELECT * FROM eval('SELECT fi' || 'le(\\'/etc/passwd\\')')",
            "SELECT file -- x\n('/etc/passwd')",
            "SELECT file\u{a0}('/etc/passwd')",
            "SELECT * APPLY(file) FROM (SELECT '/etc/passwd')",
            "SELECT * APPLY `file` FROM (SELECT '/etc/passwd')",
            "SELECT 'a\\' , file('/etc/passwd'), '",
        ] {
            assert!(check_text(sql.as_bytes()).is_err(), "{sql}");
        }
    }

    #[test]
    fn an_insert_that_nothing_would_feed_is_refused() {
        let mutating = Analysis {
            statements: 1,
            class: Class::Mutating,
        };
        let service = |sql: &str| check(sql.as_bytes(), mutating, Role::Service, LIMITS);
        for sql in [
            "INSERT INTO t SELECT a FROM input('a UInt64') FORMAT JSONEachRow {\"a\":1}",
            "insert into t select a from INPUT ('a UInt64') format Native",
        ] {
            assert!(service(sql).is_err(), "{sql}");
        }
        for sql in [
            "INSERT INTO t SELECT a FROM inputs",
            "INSERT INTO input (a) SELECT 1",
            "CREATE TABLE t (input UInt8) ORDER BY input",
        ] {
            assert_eq!(service(sql), Ok(()), "{sql}");
        }
    }

    #[test]
    fn settings_that_reach_a_file_are_closed_however_they_are_written() {
        for sql in [
            "SELECT 1 FORMAT Template SETTINGS format_template_row = '/etc/passwd'",
            "SELECT 1 FORMAT Template SETTINGS a = 1, `format_template\\x5frow`='/etc/passwd'",
            "SELECT 1 SETTINGS `output_format\\N_schema` /**/ = '/tmp/x'",
            "SELECT \u{2018}'\u{2019} SETTINGS format_template_row = '/etc/passwd' -- '",
            "SET input_format_record_errors_file_path = '/tmp/x'",
            "CREATE TABLE t (a UInt8) ORDER BY a SETTINGS disk = disk(type = 'local', path = '/tmp/')",
        ] {
            assert!(check_text(sql.as_bytes()).is_err(), "{sql}");
        }
        for sql in [
            "SELECT 1 FROM t WHERE dialect = 'prql'",
            "SELECT * FROM system.settings WHERE name = 'format_schema'",
        ] {
            assert_eq!(check_text(sql.as_bytes()), Ok(()), "{sql}");
        }
    }

    #[test]
    fn names_that_only_contain_file_are_open() {
        for sql in [
            "SELECT profile(1), file_name FROM t",
            "SELECT file FROM t",
            "SELECT 'a file'",
        ] {
            assert_eq!(check_text(sql.as_bytes()), Ok(()), "{sql}");
        }
    }

    #[test]
    fn readers_choose_only_harmless_settings() {
        assert_eq!(
            reader("SELECT 1 SETTINGS max_threads = 1, max_execution_time = 60"),
            Ok(())
        );
        assert_eq!(
            reader("SELECT name FROM system.settings WHERE value = '1'"),
            Ok(())
        );
        for sql in [
            "SELECT 1 SETTINGS max_execution_time = 61",
            "SELECT 1 SETTINGS max_execution_time = 0",
            "SELECT 1 SETTINGS timeout_overflow_mode = 'break'",
            "SELECT 1 SETTINGS max_memory_usage_for_user = 1",
            "SELECT 1 SETTINGS max_threads = 1, `max_memory_usage` = 0",
            "SELECT * FROM (SELECT 1 SETTINGS readonly = 0)",
            "SELECT 1 SETTINGS/**/profile='default'",
            "SELECT 1 SETTINGS `max\\x5fexecution_time` = 0",
            "SELECT 1 SETTINGS `max_execution\\N_time` = 0",
            "SELECT \u{2018}'\u{2019} SETTINGS max_execution_time = 0 -- '",
            "SELECT 1 SETTINGS max_execution_time\u{a0}=\u{3000}0",
            "SELECT 1 SETTINGS max_threads = 1, -- x\n max_memory_usage /* y */ = -1",
            "SELECT 1. SETTINGS max_rows_to_read = 0",
            "SELECT 1 FROM system.settings SETTINGS max_result_bytes = 0",
            "SELECT 1 SETTINGS max_execution_time = {seconds:UInt64}",
            "SELECT 1 SETTINGS max_execution_time = DEFAULT",
            "SELECT 1 SETTINGS max_execution_time = 1.5e9",
            "SELECT 1 SETTINGS max_execution_time = '1\\x30\\x30'",
            "SELECT 1 SETTINGS max_execution_time = '1\\N00'",
            "SELECT 1 SETTINGS max_execution_time = $$1$$",
            "SELECT 1 SETTINGS max_execution_time = 1e9",
            "SELECT 1 SETTINGS max_threads = 65",
            "SELECT 1 SETTINGS dialect = 'prql'",
        ] {
            assert!(reader(sql).is_err(), "{sql}");
        }
    }

    #[test]
    fn readers_read_and_services_do_not_leave_the_database() {
        let class = |class| Analysis {
            statements: 1,
            class,
        };
        let run = |sql: &str, analysis, role| check(sql.as_bytes(), analysis, role, LIMITS);
        assert!(run("INSERT INTO t", class(Class::Mutating), Role::Reader).is_err());
        assert!(
            run(
                "INSERT INTO t",
                class(Class::Mutating),
                Role::ServiceReading
            )
            .is_err()
        );
        assert!(run("INSERT INTO t", class(Class::Mutating), Role::Service).is_ok());
        assert!(run("SYSTEM SHUTDOWN", class(Class::Control), Role::Service).is_err());
        assert!(run("KILL QUERY WHERE 1", class(Class::Control), Role::Service).is_ok());
        let two = Analysis {
            statements: 2,
            class: Class::ReadOnly,
        };
        assert!(run("SELECT 1; SELECT 2", two, Role::Service).is_err());
    }

    proptest! {
        #[test]
        fn no_text_around_a_call_hides_it(before in "[^a-zA-Z0-9_]{0,20}", between in "[ \t\n`\"]{0,5}") {
            let sql = format!("{before}file{between}('/etc/passwd')");
            // A backslash right before the name makes it another name or an escape of it.
            prop_assume!(!before.ends_with('\\'));
            prop_assert!(check_text(sql.as_bytes()).is_err());
        }

        #[test]
        fn no_bytes_upset_the_scan(sql in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&sql, READ, Role::Reader, LIMITS);
        }
    }
}
