//! Settings of earlier versions. One that is still set is named at the start with its successor.

use infra::config::Gone;

pub(crate) const GONE: &[Gone] = &[
    Gone {
        setting: "engine.bodies_bytes_max",
        instead: "ClickHouse reads bodies as they come; `engine.memory_max` limits its memory",
    },
    Gone {
        setting: "engine.body_bytes_max",
        instead: "ClickHouse reads bodies as they come; `engine.memory_max` limits its memory",
    },
    Gone {
        setting: "engine.body_time_max",
        instead: "ClickHouse's own time-outs hold; `engine.query_time_max` limits a statement",
    },
    Gone {
        setting: "engine.grace",
        instead: "at a stop ClickHouse gives statements 5 s",
    },
    Gone {
        setting: "engine.queries_waiting_max",
        instead: "no statement waits for another; `engine.queries_max` limits how many run",
    },
];
