//! The tables of database `system` that readers find empty.

use std::fmt::Write as _;

/// What the machine, its folders and other people's statements are like. Readers keep what
/// describes SQL itself (functions, formats, settings) and what they may read anyway (their tables
/// and columns). This engine lets everybody select from `system`, whatever the grants say, so a row
/// policy closes these.
const CLOSED: &[&str] = &[
    "asynchronous_inserts",
    "asynchronous_loader",
    "azure_queue_metadata_cache",
    "azure_queue_settings",
    "background_schedule_pool",
    "backups",
    "build_options",
    "certificates",
    "clusters",
    "completions",
    "dashboards",
    "database_replicas",
    "detached_parts",
    "detached_tables",
    "dictionaries",
    "dimensional_metrics",
    "disks",
    "distributed_ddl_queue",
    "distribution_queue",
    "dns_cache",
    "dropped_tables",
    "dropped_tables_parts",
    "errors",
    "events",
    "fail_points",
    "filesystem_cache",
    "filesystem_cache_settings",
    "grants",
    "graphite_retentions",
    "histogram_metrics",
    "hypothetical_indexes",
    "iceberg_files",
    "iceberg_history",
    "jemalloc_bins",
    "jemalloc_profile_text",
    "jemalloc_stats",
    "kafka_consumers",
    "macros",
    "masking_policies",
    "merges",
    "metrics",
    "moves",
    "mutations",
    "named_collections",
    "part_moves_between_shards",
    "parts",
    "parts_columns",
    "processes",
    "projection_parts",
    "projection_parts_columns",
    "query_cache",
    "query_condition_cache",
    "quota_limits",
    "quota_usage",
    "quotas",
    "quotas_usage",
    "remote_data_paths",
    "replicas",
    "replicated_fetches",
    "replicated_merge_tree_settings",
    "replication_queue",
    "resources",
    "rocksdb",
    "role_grants",
    "roles",
    "row_policies",
    "s3_queue_settings",
    "s3queue_metadata_cache",
    "scheduler",
    "schema_inference_cache",
    "server_settings",
    "settings_profile_elements",
    "settings_profiles",
    "storage_policies",
    "symbols",
    "user_defined_functions",
    "user_directories",
    "user_processes",
    "users",
    "view_refreshes",
    "warnings",
    "workloads",
];

/// What is gone altogether, for a policy judges rows once they are made: the one starts a program
/// and waits minutes for it, the other stops every thread for a moment.
pub(super) const DROPPED: &[&str] = &["models", "stack_trace"];

/// A row policy each, as `users.xml` has them.
pub(super) fn policies() -> String {
    CLOSED.iter().fold(String::new(), |mut xml, table| {
        let _ = writeln!(
            xml,
            "                    <{table}><filter>has(currentRoles(), 'service')</filter></{table}>"
        );
        xml
    })
}
