//! Clients in other languages beside one `weir up`, as the service's user and as an analyst: what
//! each does, by whom, and what it finds, as a matrix on stderr.
//!
//! `WEIR_E2E_CLIENTS=try` installs a client, once, where its package manager can; `require` takes no
//! excuse. Without it only plain HTTP is tried. A program here prints a line for each thing it does:
//! operation, user, what is expected and what was found.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod go;
mod java;
mod javascript;
mod matrix;
mod native;
mod plain_http;
mod python;

const WISH: &str = "WEIR_E2E_CLIENTS";
