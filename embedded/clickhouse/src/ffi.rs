//! The door to the engine's C API, and the only module with unsafe code. Everything it hands
//! out is safe: handles close themselves, and `&mut` keeps a connection to one statement at a time.
#![expect(
    unsafe_code,
    reason = "libchdb has a C API only; every call is made here"
)]

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    path::Path,
    ptr,
    sync::OnceLock,
};

type Handle = *mut c_void;
type Texts = *const *const c_char;
type Lengths = *const usize;
type WithParams = unsafe extern "C" fn(
    Handle,
    *const c_char,
    usize,
    *const c_char,
    usize,
    Texts,
    Lengths,
    Texts,
    Lengths,
    usize,
) -> Handle;

/// The C API as its header declares it (`programs/local/chdb.h`, 26.7).
struct Api {
    connect: unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut Handle,
    close_conn: unsafe extern "C" fn(*mut Handle),
    query: WithParams,
    stream_query: WithParams,
    stream_fetch_result: unsafe extern "C" fn(Handle, Handle) -> Handle,
    stream_cancel_query: unsafe extern "C" fn(Handle, Handle),
    stream_insert: WithParams,
    stream_append: unsafe extern "C" fn(Handle, *const c_void, usize) -> c_int,
    stream_done: unsafe extern "C" fn(Handle) -> Handle,
    stream_insert_error: unsafe extern "C" fn(Handle) -> *const c_char,
    destroy_insert_stream: unsafe extern "C" fn(Handle),
    destroy_query_result: unsafe extern "C" fn(Handle),
    result_buffer: unsafe extern "C" fn(Handle) -> *const u8,
    result_length: unsafe extern "C" fn(Handle) -> usize,
    result_error: unsafe extern "C" fn(Handle) -> *const c_char,
    result_rows_read: unsafe extern "C" fn(Handle) -> u64,
    result_storage_rows_read: unsafe extern "C" fn(Handle) -> u64,
    result_storage_bytes_read: unsafe extern "C" fn(Handle) -> u64,
    result_rows_written: unsafe extern "C" fn(Handle) -> u64,
    result_bytes_written: unsafe extern "C" fn(Handle) -> u64,
    classify_query: unsafe extern "C" fn(
        Handle,
        *const c_char,
        usize,
        *const c_char,
        usize,
        *mut RawAnalysis,
    ) -> c_int,
    set_signal_handlers_enabled: unsafe extern "C" fn(c_int),
    shutdown: unsafe extern "C" fn() -> c_int,
}

/// `chdb_query_analysis_v1`; the engine fills as many fields as `struct_size` has room for.
#[repr(C)]
#[derive(Default)]
struct RawAnalysis {
    struct_size: u32,
    statement_count: u32,
    flags: u32,
    query_class: u32,
}

/// The loaded engine. Never unloaded: its threads live as long as the process.
static API: OnceLock<Api> = OnceLock::new();

#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(
        "{path} is not a usable engine library ({reason}); remove it to have it fetched again, or point WEIR_CLICKHOUSE__LIBRARY at a whole libchdb"
    )]
    Unusable { path: String, reason: String },
    #[error("this process has loaded an engine already; it can hold only one")]
    Twice,
}

/// Loads the engine library once and keeps it from taking the process's signal handlers.
pub(crate) fn load(path: &Path) -> Result<(), LoadError> {
    let unusable = |reason: libloading::Error| LoadError::Unusable {
        path: path.display().to_string(),
        reason: reason.to_string(),
    };
    // SAFETY: the file is the engine whose checksum was verified, or the one the operator named;
    // running its initialisers is what loading it is for.
    let library = unsafe { libloading::Library::new(path) }.map_err(unusable)?;
    let library = Box::leak(Box::new(library));
    macro_rules! symbol {
        ($name:literal) => {
            // SAFETY: the type is the one the engine's header declares for this symbol, and the
            // library is leaked, so the pointer stays valid.
            *unsafe { library.get($name) }.map_err(unusable)?
        };
    }
    let api = Api {
        connect: symbol!(b"chdb_connect\0"),
        close_conn: symbol!(b"chdb_close_conn\0"),
        query: symbol!(b"chdb_query_with_params_n\0"),
        stream_query: symbol!(b"chdb_stream_query_with_params_n\0"),
        stream_fetch_result: symbol!(b"chdb_stream_fetch_result\0"),
        stream_cancel_query: symbol!(b"chdb_stream_cancel_query\0"),
        stream_insert: symbol!(b"chdb_stream_insert_with_params_n\0"),
        stream_append: symbol!(b"chdb_stream_append\0"),
        stream_done: symbol!(b"chdb_stream_done\0"),
        stream_insert_error: symbol!(b"chdb_stream_insert_error\0"),
        destroy_insert_stream: symbol!(b"chdb_destroy_insert_stream\0"),
        destroy_query_result: symbol!(b"chdb_destroy_query_result\0"),
        result_buffer: symbol!(b"chdb_result_buffer\0"),
        result_length: symbol!(b"chdb_result_length\0"),
        result_error: symbol!(b"chdb_result_error\0"),
        result_rows_read: symbol!(b"chdb_result_rows_read\0"),
        result_storage_rows_read: symbol!(b"chdb_result_storage_rows_read\0"),
        result_storage_bytes_read: symbol!(b"chdb_result_storage_bytes_read\0"),
        result_rows_written: symbol!(b"chdb_result_rows_written\0"),
        result_bytes_written: symbol!(b"chdb_result_bytes_written\0"),
        classify_query: symbol!(b"chdb_classify_query_n\0"),
        set_signal_handlers_enabled: symbol!(b"chdb_set_signal_handlers_enabled\0"),
        shutdown: symbol!(b"chdb_shutdown\0"),
    };
    // SAFETY: takes an integer; must come before the first connection, or the engine installs
    // handlers for eight signals and a clean shutdown is no longer ours.
    unsafe { (api.set_signal_handlers_enabled)(0) };
    API.set(api).map_err(|_| LoadError::Twice)
}

fn api() -> &'static Api {
    API.get()
        .expect("the engine is loaded before the first connection is opened")
}

/// Joins the engine's threads. True once none is left; false while a connection is still open.
pub(crate) fn shutdown() -> bool {
    // SAFETY: takes nothing, may be called at any time from any thread, repeatedly.
    unsafe { (api().shutdown)() == 0 }
}

/// What a statement would do, by the engine's own parser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    ReadOnly,
    Mutating,
    MutatingGlobal,
    Control,
    Unknown,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Analysis {
    pub(crate) statements: u32,
    pub(crate) class: Class,
}

/// Work done by a statement, as the `X-ClickHouse-Summary` header reports it.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Progress {
    pub(crate) read_rows: u64,
    pub(crate) read_bytes: u64,
    pub(crate) written_rows: u64,
    pub(crate) written_bytes: u64,
    pub(crate) result_rows: u64,
}

/// A session of the engine. One statement at a time: every method takes `&mut self`.
pub(crate) struct Connection {
    handle: *mut Handle,
}

// SAFETY: the engine serves a connection from whichever thread calls; it only forbids two
// statements at once, which `&mut self` rules out. It is not `Sync`.
unsafe impl Send for Connection {}

impl Connection {
    /// Opens a session. The first one boots the engine with its server arguments; later ones
    /// take only settings (`--name=value`). The engine gives no reason when it refuses.
    pub(crate) fn open(arguments: &[String]) -> anyhow::Result<Self> {
        let arguments: Vec<CString> = std::iter::once("clickhouse")
            .chain(arguments.iter().map(String::as_str))
            .map(CString::new)
            .collect::<Result<_, _>>()?;
        let mut pointers: Vec<*mut c_char> = arguments
            .iter()
            .map(|argument| argument.as_ptr().cast_mut())
            .collect();
        let count = c_int::try_from(pointers.len())?;
        // SAFETY: `pointers` holds `count` NUL-terminated strings that outlive the call, and the
        // engine copies what it keeps.
        let handle = unsafe { (api().connect)(count, pointers.as_mut_ptr()) };
        // SAFETY: a non-null answer points to the connection, which may itself be null.
        if handle.is_null() || unsafe { *handle }.is_null() {
            anyhow::bail!("the engine refused to open a session");
        }
        Ok(Self { handle })
    }

    fn raw(&self) -> Handle {
        // SAFETY: checked non-null in `open`, valid until `close_conn` in `drop`.
        unsafe { *self.handle }
    }

    /// Counts and classes the statements in `sql` without running any.
    pub(crate) fn classify(&mut self, sql: &[u8]) -> Analysis {
        let mut raw = RawAnalysis {
            struct_size: size_of::<RawAnalysis>() as u32,
            ..RawAnalysis::default()
        };
        // SAFETY: text and length belong together, the null target database has length 0, and
        // `raw` is as large as it says.
        let state = unsafe {
            (api().classify_query)(
                self.raw(),
                sql.as_ptr().cast(),
                sql.len(),
                ptr::null(),
                0,
                &raw mut raw,
            )
        };
        let class = match (state, raw.query_class) {
            (0, 0) => Class::ReadOnly,
            (0, 1) => Class::Mutating,
            (0, 2) => Class::MutatingGlobal,
            (0, 3) => Class::Control,
            _ => Class::Unknown,
        };
        Analysis {
            statements: raw.statement_count,
            class,
        }
    }

    /// Runs a statement and holds its whole answer.
    pub(crate) fn query(
        &mut self,
        sql: &[u8],
        format: &str,
        params: &[(String, String)],
    ) -> Result<Output, String> {
        Output::checked(self.call(api().query, sql, format, params))
    }

    /// Starts a SELECT whose answer comes in chunks.
    pub(crate) fn stream(
        &mut self,
        sql: &[u8],
        format: &str,
        params: &[(String, String)],
    ) -> Result<Stream<'_>, String> {
        let result = Output::checked(self.call(api().stream_query, sql, format, params))?;
        Ok(Stream {
            connection: self,
            result,
            finished: false,
        })
    }

    /// Inserts a whole body under `sql`, an INSERT without its FORMAT clause. An error means that
    /// the engine refused the body; what it had flushed before stays (it has no rollback).
    pub(crate) fn insert(
        &mut self,
        sql: &[u8],
        format: &str,
        params: &[(String, String)],
        body: &[u8],
    ) -> Result<Progress, String> {
        // The engine copies each piece, so pieces keep the copy small beside the body itself.
        const PIECE_BYTES: usize = 1 << 20;
        let stream = InsertStream(self.call(api().stream_insert, sql, format, params));
        if let Some(error) = stream.error() {
            return Err(error);
        }
        for piece in body.chunks(PIECE_BYTES) {
            // SAFETY: the stream is open, and pointer and length describe `piece`.
            let state =
                unsafe { (api().stream_append)(stream.0, piece.as_ptr().cast(), piece.len()) };
            if state != 0 {
                // Why it failed comes with the result of `stream_done`.
                break;
            }
        }
        // SAFETY: the stream is open and is finished exactly once.
        let output = Output::checked(unsafe { (api().stream_done)(stream.0) })?;
        Ok(output.progress())
    }

    fn call(
        &mut self,
        function: WithParams,
        sql: &[u8],
        format: &str,
        params: &[(String, String)],
    ) -> Handle {
        let names: Vec<_> = params
            .iter()
            .map(|(name, _)| name.as_ptr().cast())
            .collect();
        let name_lengths: Vec<_> = params.iter().map(|(name, _)| name.len()).collect();
        let values: Vec<_> = params
            .iter()
            .map(|(_, value)| value.as_ptr().cast())
            .collect();
        let value_lengths: Vec<_> = params.iter().map(|(_, value)| value.len()).collect();
        // SAFETY: every pointer comes with the length of the slice it came from, the four arrays
        // have `params.len()` entries each, and all outlive the call, which copies what it keeps.
        unsafe {
            function(
                self.raw(),
                sql.as_ptr().cast(),
                sql.len(),
                format.as_ptr().cast(),
                format.len(),
                names.as_ptr(),
                name_lengths.as_ptr(),
                values.as_ptr(),
                value_lengths.as_ptr(),
                params.len(),
            )
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: closed once; streams and results borrow or outlive nothing of it by then.
        unsafe { (api().close_conn)(self.handle) };
    }
}

/// A finished answer, or one chunk of a streamed one, in the engine's memory.
pub(crate) struct Output(Handle);

// SAFETY: an owned buffer with no tie to the thread that made it.
unsafe impl Send for Output {}

impl Output {
    fn checked(handle: Handle) -> Result<Self, String> {
        if handle.is_null() {
            return Err(
                "Code: 49. DB::Exception: The engine gave no answer. (LOGICAL_ERROR)".into(),
            );
        }
        let output = Self(handle);
        // SAFETY: the handle is live; a non-null answer is NUL-terminated and lives as long.
        let error = unsafe { text((api().result_error)(output.0)) };
        error.map_or(Ok(output), Err)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the handle is live.
        let (buffer, length) =
            unsafe { ((api().result_buffer)(self.0), (api().result_length)(self.0)) };
        if buffer.is_null() || length == 0 {
            return &[];
        }
        // SAFETY: the engine owns `length` bytes at `buffer` until the result is destroyed, which
        // the borrow of `self` puts off.
        unsafe { std::slice::from_raw_parts(buffer, length) }
    }

    pub(crate) fn progress(&self) -> Progress {
        // SAFETY: the handle is live; all five only read numbers from it.
        unsafe {
            Progress {
                read_rows: (api().result_storage_rows_read)(self.0),
                read_bytes: (api().result_storage_bytes_read)(self.0),
                written_rows: (api().result_rows_written)(self.0),
                written_bytes: (api().result_bytes_written)(self.0),
                result_rows: (api().result_rows_read)(self.0),
            }
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // SAFETY: destroyed once.
        unsafe { (api().destroy_query_result)(self.0) };
    }
}

/// A running SELECT. Dropped before its end, it is cancelled.
pub(crate) struct Stream<'c> {
    connection: &'c mut Connection,
    result: Output,
    finished: bool,
}

impl Stream<'_> {
    /// The next chunk, which is a document of its own; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Output>, String> {
        if self.finished {
            return Ok(None);
        }
        // SAFETY: connection and stream are live, and `&mut` serialises the calls.
        let handle = unsafe { (api().stream_fetch_result)(self.connection.raw(), self.result.0) };
        let chunk = Output::checked(handle).inspect_err(|_| self.finished = true)?;
        if chunk.bytes().is_empty() {
            self.finished = true;
            return Ok(None);
        }
        Ok(Some(chunk))
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // SAFETY: connection and stream are live, and no fetch is under way.
            unsafe { (api().stream_cancel_query)(self.connection.raw(), self.result.0) };
        }
    }
}

struct InsertStream(Handle);

impl InsertStream {
    fn error(&self) -> Option<String> {
        // SAFETY: the handle is never null by the API's contract; the text lives as long as it.
        unsafe { text((api().stream_insert_error)(self.0)) }
    }
}

impl Drop for InsertStream {
    fn drop(&mut self) {
        // SAFETY: destroyed once; the engine cancels it first if it was not finished.
        unsafe { (api().destroy_insert_stream)(self.0) };
    }
}

/// # Safety
/// `pointer` is null or NUL-terminated text that lives during the call.
unsafe fn text(pointer: *const c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: promised by the caller.
    Some(
        unsafe { CStr::from_ptr(pointer) }
            .to_string_lossy()
            .into_owned(),
    )
}
