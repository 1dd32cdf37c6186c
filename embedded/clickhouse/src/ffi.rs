//! The door to the engine's C API, and the only module with unsafe code.
#![expect(
    unsafe_code,
    reason = "libchdb has a C API only; every call is made here"
)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;

type Handle = *mut c_void;

/// Loads the engine and has it run as `clickhouse-local` with `arguments`; returns when its last
/// statement has ended, with the engine's words if one failed. Not every failure is returned: some
/// are only printed on stderr.
///
/// The types of the symbols are those of the library's header (`programs/local/chdb.h`, 26.7).
pub(crate) fn run(library: &Path, arguments: &[String]) -> anyhow::Result<Option<String>> {
    let unusable = |reason: libloading::Error| {
        anyhow::anyhow!(
            "{} is not a usable engine library ({reason}): remove it to have it fetched again, or point WEIR_CLICKHOUSE__LIBRARY at a whole libchdb",
            library.display()
        )
    };
    let arguments: Vec<CString> = std::iter::once("clickhouse")
        .chain(arguments.iter().map(String::as_str))
        .map(CString::new)
        .collect::<Result<_, _>>()?;
    let mut pointers: Vec<*mut c_char> = arguments
        .iter()
        .map(|argument| argument.as_ptr().cast_mut())
        .collect();
    let count = c_int::try_from(pointers.len())?;

    // SAFETY: the file is the engine whose checksum was verified, or the one the operator named;
    // running its initialisers is what loading it is for.
    let engine = unsafe { libloading::Library::new(library) }.map_err(unusable)?;
    // Never unloaded: its threads live as long as the process.
    let engine = Box::leak(Box::new(engine));
    macro_rules! symbol {
        ($name:literal, $type:ty) => {
            // SAFETY: the type is the one the header declares, and the library is leaked.
            unsafe { engine.get::<$type>($name) }.map_err(unusable)?
        };
    }
    let set_signal_handlers = symbol!(
        b"chdb_set_signal_handlers_enabled\0",
        unsafe extern "C" fn(c_int)
    );
    let query_cmdline = symbol!(
        b"chdb_query_cmdline\0",
        unsafe extern "C" fn(c_int, *mut *mut c_char) -> Handle
    );
    let result_error = symbol!(
        b"chdb_result_error\0",
        unsafe extern "C" fn(Handle) -> *const c_char
    );

    // SAFETY: takes an integer; must come first, or the engine takes the process's signals.
    unsafe { set_signal_handlers(0) };
    // SAFETY: `pointers` holds `count` NUL-terminated strings that outlive the call.
    let result = unsafe { query_cmdline(count, pointers.as_mut_ptr()) };
    if result.is_null() {
        return Ok(None);
    }
    // SAFETY: the result is live; a non-null answer is NUL-terminated and lives as long.
    let error = unsafe {
        let text = result_error(result);
        (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
    };
    Ok(error)
}
