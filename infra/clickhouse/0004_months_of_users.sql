-- Users by month: what a year or all time is merged from. A state of a busy site's day costs as much
-- to merge as one of its month, so twelve months are a thirtieth of the work of their days.

CREATE TABLE IF NOT EXISTS stats_month
(
    site_id LowCardinality(String) COMMENT 'Whose traffic it is',
    month Date COMMENT 'First day of the month in UTC',
    event_type LowCardinality(String) COMMENT 'What happened',
    events SimpleAggregateFunction(sum, UInt64) COMMENT 'How many events' CODEC(T64, ZSTD(1)),
    users AggregateFunction(uniqCombined64(17), String) COMMENT 'State of the distinct user_id that are not empty' CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYear(month)
ORDER BY (site_id, month, event_type)
SETTINGS index_granularity = 8, non_replicated_deduplication_window = 10000
COMMENT 'Events and users per site, month in UTC and type';

CREATE MATERIALIZED VIEW IF NOT EXISTS stats_month_mv TO stats_month AS
SELECT
    site_id,
    toStartOfMonth(date) AS month,
    event_type,
    sum(events) AS events,
    uniqCombined64MergeState(17)(users) AS users
FROM stats_day
GROUP BY site_id, month, event_type;

ALTER TABLE stats_month_mv
    COMMENT COLUMN IF EXISTS site_id 'Whose traffic it is',
    COMMENT COLUMN IF EXISTS month 'First day of the month in UTC',
    COMMENT COLUMN IF EXISTS event_type 'What happened',
    COMMENT COLUMN IF EXISTS events 'How many events',
    COMMENT COLUMN IF EXISTS users 'State of the distinct user_id that are not empty';

ALTER TABLE stats_month_mv
    MODIFY COMMENT 'Fills stats_month from stats_day; to be read there';

CREATE OR REPLACE VIEW monthly
(
    site_id LowCardinality(String) COMMENT 'Whose traffic it is',
    month Date COMMENT 'First day of the month in UTC',
    event_type LowCardinality(String) COMMENT 'What happened',
    events UInt64 COMMENT 'How many events',
    users UInt64 COMMENT 'How many distinct users; never sum these over months: a user of two months is one user'
)
AS
SELECT site_id, month, event_type, sum(events) AS events, uniqCombined64Merge(17)(users) AS users
FROM stats_month
GROUP BY site_id, month, event_type
COMMENT 'Finished figures per site, month in UTC and type';
