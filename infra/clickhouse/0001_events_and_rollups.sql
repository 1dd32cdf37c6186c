-- Raw events and the rollups that materialized views fill from them.
--
-- Every table a view writes to has a deduplication window of its own: without it a block that is
-- sent again under its token would be dropped from `events` and counted twice in the rollup.

CREATE TABLE IF NOT EXISTS events
(
    site_id LowCardinality(String) COMMENT 'Whose traffic it is' CODEC(ZSTD(1)),
    event_type LowCardinality(String) COMMENT 'What happened, page_view for instance' CODEC(ZSTD(1)),
    path LowCardinality(String) COMMENT 'Path without query and fragment; empty: none was sent' CODEC(ZSTD(1)),
    user_id String COMMENT 'The visitor; empty: none was sent' CODEC(ZSTD(1)),
    timestamp DateTime64(3, 'UTC') COMMENT 'When it happened' CODEC(Delta, ZSTD(1)),
    referrer LowCardinality(String) COMMENT 'Where the visitor came from; empty: none was sent' CODEC(ZSTD(1)),
    props Map(LowCardinality(String), String) COMMENT 'The event''s own properties; numbers and booleans as JSON writes them' CODEC(ZSTD(1)),
    _id_delta Int64 COMMENT 'Upper half of event_id as its distance from timestamp: a UUIDv7 made on receipt is near 0' CODEC(T64, ZSTD(1)),
    _id_low UInt64 COMMENT 'Lower half of event_id' CODEC(NONE),
    _id_origin Enum8('edge' = 0, 'client' = 1) COMMENT 'Who made event_id' CODEC(ZSTD(1)),
    _lag_ms Int64 COMMENT 'received_at - timestamp, in milliseconds' CODEC(T64, ZSTD(1)),
    _partition UInt16 COMMENT 'Kafka partition of the record that brought the event' CODEC(T64, ZSTD(1)),
    _offset UInt64 COMMENT 'Kafka offset of that record' CODEC(Delta, ZSTD(1)),
    _index UInt16 COMMENT 'Place of the event within that record' CODEC(T64, ZSTD(1)),
    event_id UUID ALIAS reinterpretAsUUID(bitOr(bitShiftLeft(toUInt128(_id_low), 64), toUInt128(reinterpretAsUInt64(_id_delta + bitOr(bitShiftLeft(toUnixTimestamp64Milli(timestamp), 16), 0x7000))))) COMMENT 'The event''s identity',
    received_at DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(toUnixTimestamp64Milli(timestamp) + _lag_ms, 'UTC') COMMENT 'When weir took it in',
    -- Within a site events lie in the order of their time and so, roughly, of their offsets.
    INDEX offsets _offset TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(timestamp)
ORDER BY (site_id, timestamp)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Every accepted event, once';

CREATE TABLE IF NOT EXISTS stats_quarter_hour
(
    site_id LowCardinality(String) COMMENT 'Whose traffic it is',
    time DateTime('UTC') COMMENT 'Start of the quarter of an hour: these serve every time zone' CODEC(Delta, ZSTD(1)),
    event_type LowCardinality(String) COMMENT 'What happened',
    events SimpleAggregateFunction(sum, UInt64) COMMENT 'How many events' CODEC(T64, ZSTD(1)),
    users AggregateFunction(uniqCombined64(17), String) COMMENT 'State of the distinct user_id that are not empty' CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (site_id, time, event_type)
-- A state is large, so few rows a granule: at 8192 a year of a mid-size site took four times as long.
SETTINGS index_granularity = 64, non_replicated_deduplication_window = 10000
COMMENT 'Events and users per site, quarter of an hour and type';

CREATE MATERIALIZED VIEW IF NOT EXISTS stats_quarter_hour_mv TO stats_quarter_hour AS
SELECT
    site_id,
    toStartOfFifteenMinutes(timestamp) AS time,
    event_type,
    count() AS events,
    uniqCombined64StateIf(17)(user_id, user_id != '') AS users
FROM events
GROUP BY site_id, time, event_type;

CREATE TABLE IF NOT EXISTS stats_day
(
    site_id LowCardinality(String) COMMENT 'Whose traffic it is',
    date Date COMMENT 'Day in UTC',
    event_type LowCardinality(String) COMMENT 'What happened',
    events SimpleAggregateFunction(sum, UInt64) COMMENT 'How many events' CODEC(T64, ZSTD(1)),
    users AggregateFunction(uniqCombined64(17), String) COMMENT 'State of the distinct user_id that are not empty' CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYear(date)
ORDER BY (site_id, date, event_type)
SETTINGS index_granularity = 64, non_replicated_deduplication_window = 10000
COMMENT 'Events and users per site, day in UTC and type';

CREATE MATERIALIZED VIEW IF NOT EXISTS stats_day_mv TO stats_day AS
SELECT
    site_id,
    toDate(time) AS date,
    event_type,
    sum(events) AS events,
    uniqCombined64MergeState(17)(users) AS users
FROM stats_quarter_hour
GROUP BY site_id, date, event_type;

CREATE TABLE IF NOT EXISTS paths_day
(
    site_id LowCardinality(String) COMMENT 'Whose traffic it is',
    date Date COMMENT 'Day in UTC',
    event_type LowCardinality(String) COMMENT 'What happened',
    path String COMMENT 'Path without query and fragment; empty: none was sent' CODEC(ZSTD(1)),
    events SimpleAggregateFunction(sum, UInt64) COMMENT 'How many events' CODEC(T64, ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(date)
ORDER BY (site_id, date, event_type, path)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Events per site, day in UTC, type and path';

CREATE MATERIALIZED VIEW IF NOT EXISTS paths_day_mv TO paths_day AS
SELECT site_id, toDate(timestamp) AS date, event_type, path, count() AS events
FROM events
GROUP BY site_id, date, event_type, path;

CREATE TABLE IF NOT EXISTS paths_month
(
    site_id LowCardinality(String) COMMENT 'Whose traffic it is',
    month Date COMMENT 'First day of the month in UTC',
    event_type LowCardinality(String) COMMENT 'What happened',
    path LowCardinality(String) COMMENT 'Path without query and fragment; empty: none was sent' CODEC(ZSTD(1)),
    events SimpleAggregateFunction(sum, UInt64) COMMENT 'How many events' CODEC(T64, ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYear(month)
ORDER BY (site_id, month, event_type, path)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Events per site, month in UTC, type and path';

CREATE MATERIALIZED VIEW IF NOT EXISTS paths_month_mv TO paths_month AS
SELECT site_id, toStartOfMonth(date) AS month, event_type, path, sum(events) AS events
FROM paths_day
GROUP BY site_id, month, event_type, path;

CREATE VIEW IF NOT EXISTS daily
(
    site_id LowCardinality(String) COMMENT 'Whose traffic it is',
    date Date COMMENT 'Day in UTC',
    event_type LowCardinality(String) COMMENT 'What happened',
    events UInt64 COMMENT 'How many events',
    users UInt64 COMMENT 'How many distinct users; never sum these over days: a user of two days is one user'
)
AS
SELECT site_id, date, event_type, sum(events) AS events, uniqCombined64Merge(17)(users) AS users
FROM stats_day
GROUP BY site_id, date, event_type
COMMENT 'Finished figures per site, day in UTC and type';

CREATE VIEW IF NOT EXISTS daily_paths
(
    site_id LowCardinality(String) COMMENT 'Whose traffic it is',
    date Date COMMENT 'Day in UTC',
    event_type LowCardinality(String) COMMENT 'What happened',
    path String COMMENT 'Path without query and fragment',
    events UInt64 COMMENT 'How many events'
)
AS
SELECT site_id, date, event_type, path, sum(events) AS events
FROM paths_day
GROUP BY site_id, date, event_type, path
COMMENT 'Finished figures per site, day in UTC, type and path';
