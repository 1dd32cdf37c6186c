//! The patterns of browsers and systems, read at their first use.

use std::sync::LazyLock;

use serde::Deserialize;
use ua_parser::{os, user_agent};

pub(super) struct Patterns {
    pub(super) browsers: user_agent::Extractor<'static>,
    pub(super) systems: os::Extractor<'static>,
}

// The project's patterns of devices name brands and models and not kinds, take 85 of 122 ms to read
// and 16 of 28 MB, and triple the time of a look-up; `device` does without them.
pub(super) static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    #[derive(Deserialize)]
    struct File {
        user_agent_parsers: Vec<user_agent::Parser<'static>>,
        os_parsers: Vec<os::Parser<'static>>,
    }
    let file: File = serde_json::from_str(include_str!("../../data/uap-core.json"))
        .expect("the file is part of the program, and a test reads it");
    let browsers = user_agent::Builder::new()
        .push_all(file.user_agent_parsers)
        .expect("the patterns are part of the program");
    let systems = os::Builder::new()
        .push_all(file.os_parsers)
        .expect("the patterns are part of the program");
    Patterns {
        browsers: browsers.build().expect("the patterns can be searched"),
        systems: systems.build().expect("the patterns can be searched"),
    }
});
