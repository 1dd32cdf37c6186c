-- Whether events are of bots, in the key of every rollup; and views for people that leave bots out,
-- with sisters that count them. Rows from before are of people.
--
-- A row of events is of a bot if the last of the texts in _agent is not empty. Tables and views that
-- are filled from others come first: while this file is half applied no rollup knows bots that the
-- next one takes for people.

ALTER TABLE stats_month
    ADD COLUMN IF NOT EXISTS bot UInt8 COMMENT '1: events of bots; 0: of people' CODEC(T64, ZSTD(1)) AFTER event_type,
    MODIFY ORDER BY (site_id, month, event_type, bot);

ALTER TABLE stats_day
    ADD COLUMN IF NOT EXISTS bot UInt8 COMMENT '1: events of bots; 0: of people' CODEC(T64, ZSTD(1)) AFTER event_type,
    MODIFY ORDER BY (site_id, date, event_type, bot);

ALTER TABLE stats_quarter_hour
    ADD COLUMN IF NOT EXISTS bot UInt8 COMMENT '1: events of bots; 0: of people' CODEC(T64, ZSTD(1)) AFTER event_type,
    MODIFY ORDER BY (site_id, time, event_type, bot);

ALTER TABLE paths_month
    ADD COLUMN IF NOT EXISTS bot UInt8 COMMENT '1: events of bots; 0: of people' CODEC(T64, ZSTD(1)) AFTER path,
    MODIFY ORDER BY (site_id, month, event_type, path, bot);

ALTER TABLE paths_day
    ADD COLUMN IF NOT EXISTS bot UInt8 COMMENT '1: events of bots; 0: of people' CODEC(T64, ZSTD(1)) AFTER path,
    MODIFY ORDER BY (site_id, date, event_type, path, bot);

ALTER TABLE stats_month_mv MODIFY QUERY
SELECT
    site_id,
    toStartOfMonth(date) AS month,
    event_type,
    bot,
    sum(events) AS events,
    uniqCombined64MergeState(17)(users) AS users
FROM stats_day
GROUP BY site_id, month, event_type, bot;

ALTER TABLE stats_day_mv MODIFY QUERY
SELECT
    site_id,
    toDate(time) AS date,
    event_type,
    bot,
    sum(events) AS events,
    uniqCombined64MergeState(17)(users) AS users
FROM stats_quarter_hour
GROUP BY site_id, date, event_type, bot;

ALTER TABLE stats_quarter_hour_mv MODIFY QUERY
SELECT
    site_id,
    toStartOfFifteenMinutes(timestamp) AS time,
    event_type,
    _agent != '' AND NOT endsWith(_agent, '\t') AS bot,
    count() AS events,
    uniqCombined64StateIf(17)(user_id, user_id != '') AS users
FROM events
GROUP BY site_id, time, event_type, bot;

ALTER TABLE paths_month_mv MODIFY QUERY
SELECT
    site_id,
    toStartOfMonth(date) AS month,
    event_type,
    path,
    bot,
    sum(events) AS events
FROM paths_day
GROUP BY site_id, month, event_type, path, bot;

ALTER TABLE paths_day_mv MODIFY QUERY
SELECT
    site_id,
    toDate(timestamp) AS date,
    event_type,
    path,
    _agent != '' AND NOT endsWith(_agent, '\t') AS bot,
    count() AS events
FROM events
GROUP BY site_id, date, event_type, path, bot;

-- A view that gets another query loses what its columns say.

ALTER TABLE stats_quarter_hour_mv
    COMMENT COLUMN IF EXISTS site_id 'Whose traffic it is',
    COMMENT COLUMN IF EXISTS time 'Start of the quarter of an hour',
    COMMENT COLUMN IF EXISTS event_type 'What happened',
    COMMENT COLUMN IF EXISTS bot '1: events of bots; 0: of people',
    COMMENT COLUMN IF EXISTS events 'How many events',
    COMMENT COLUMN IF EXISTS users 'State of the distinct user_id that are not empty';

ALTER TABLE stats_day_mv
    COMMENT COLUMN IF EXISTS site_id 'Whose traffic it is',
    COMMENT COLUMN IF EXISTS date 'Day in UTC',
    COMMENT COLUMN IF EXISTS event_type 'What happened',
    COMMENT COLUMN IF EXISTS bot '1: events of bots; 0: of people',
    COMMENT COLUMN IF EXISTS events 'How many events',
    COMMENT COLUMN IF EXISTS users 'State of the distinct user_id that are not empty';

ALTER TABLE stats_month_mv
    COMMENT COLUMN IF EXISTS site_id 'Whose traffic it is',
    COMMENT COLUMN IF EXISTS month 'First day of the month in UTC',
    COMMENT COLUMN IF EXISTS event_type 'What happened',
    COMMENT COLUMN IF EXISTS bot '1: events of bots; 0: of people',
    COMMENT COLUMN IF EXISTS events 'How many events',
    COMMENT COLUMN IF EXISTS users 'State of the distinct user_id that are not empty';

ALTER TABLE paths_day_mv
    COMMENT COLUMN IF EXISTS site_id 'Whose traffic it is',
    COMMENT COLUMN IF EXISTS date 'Day in UTC',
    COMMENT COLUMN IF EXISTS event_type 'What happened',
    COMMENT COLUMN IF EXISTS path 'Path without query and fragment; empty: none was sent',
    COMMENT COLUMN IF EXISTS bot '1: events of bots; 0: of people',
    COMMENT COLUMN IF EXISTS events 'How many events';

ALTER TABLE paths_month_mv
    COMMENT COLUMN IF EXISTS site_id 'Whose traffic it is',
    COMMENT COLUMN IF EXISTS month 'First day of the month in UTC',
    COMMENT COLUMN IF EXISTS event_type 'What happened',
    COMMENT COLUMN IF EXISTS path 'Path without query and fragment; empty: none was sent',
    COMMENT COLUMN IF EXISTS bot '1: events of bots; 0: of people',
    COMMENT COLUMN IF EXISTS events 'How many events';

-- Views for people, without bots and with them.

CREATE OR REPLACE VIEW quarter_hourly
(
    site_id LowCardinality(String) COMMENT 'Whose traffic it is',
    time DateTime('UTC') COMMENT 'Start of the quarter of an hour: every time zone can be made of these',
    event_type LowCardinality(String) COMMENT 'What happened',
    events UInt64 COMMENT 'How many events',
    users UInt64 COMMENT 'How many distinct users; never sum these: a user of two quarters is one user'
)
AS
SELECT site_id, time, event_type, sum(events) AS events, uniqCombined64Merge(17)(users) AS users
FROM stats_quarter_hour
WHERE bot = 0
GROUP BY site_id, time, event_type
COMMENT 'Finished figures per site, quarter of an hour and type, without bots';

CREATE OR REPLACE VIEW quarter_hourly_with_bots
(
    site_id LowCardinality(String) COMMENT 'Whose traffic it is',
    time DateTime('UTC') COMMENT 'Start of the quarter of an hour: every time zone can be made of these',
    event_type LowCardinality(String) COMMENT 'What happened',
    events UInt64 COMMENT 'How many events',
    users UInt64 COMMENT 'How many distinct users; never sum these: a user of two quarters is one user'
)
AS
SELECT site_id, time, event_type, sum(events) AS events, uniqCombined64Merge(17)(users) AS users
FROM stats_quarter_hour
GROUP BY site_id, time, event_type
COMMENT 'Finished figures per site, quarter of an hour and type, bots included';

CREATE OR REPLACE VIEW hourly
(
    site_id LowCardinality(String) COMMENT 'Whose traffic it is',
    hour DateTime('UTC') COMMENT 'Start of the hour in UTC',
    event_type LowCardinality(String) COMMENT 'What happened',
    events UInt64 COMMENT 'How many events',
    users UInt64 COMMENT 'How many distinct users; never sum these over hours: a user of two hours is one user'
)
AS
SELECT site_id, toStartOfHour(time) AS hour, event_type, sum(events) AS events, uniqCombined64Merge(17)(users) AS users
FROM stats_quarter_hour
WHERE bot = 0
GROUP BY site_id, hour, event_type
COMMENT 'Finished figures per site, hour in UTC and type, without bots';

CREATE OR REPLACE VIEW hourly_with_bots
(
    site_id LowCardinality(String) COMMENT 'Whose traffic it is',
    hour DateTime('UTC') COMMENT 'Start of the hour in UTC',
    event_type LowCardinality(String) COMMENT 'What happened',
    events UInt64 COMMENT 'How many events',
    users UInt64 COMMENT 'How many distinct users; never sum these over hours: a user of two hours is one user'
)
AS
SELECT site_id, toStartOfHour(time) AS hour, event_type, sum(events) AS events, uniqCombined64Merge(17)(users) AS users
FROM stats_quarter_hour
GROUP BY site_id, hour, event_type
COMMENT 'Finished figures per site, hour in UTC and type, bots included';

CREATE OR REPLACE VIEW daily
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
WHERE bot = 0
GROUP BY site_id, date, event_type
COMMENT 'Finished figures per site, day in UTC and type, without bots';

CREATE OR REPLACE VIEW daily_with_bots
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
COMMENT 'Finished figures per site, day in UTC and type, bots included';

CREATE OR REPLACE VIEW daily_totals
(
    site_id LowCardinality(String) COMMENT 'Whose traffic it is',
    date Date COMMENT 'Day in UTC',
    events UInt64 COMMENT 'How many events of all types',
    views UInt64 COMMENT 'How many of them are views: page_view, pageview or view',
    users UInt64 COMMENT 'How many distinct users had an event of any type; never sum these over days',
    visitors UInt64 COMMENT 'How many distinct users had a view; never sum these over days'
)
AS
SELECT 
    site_id,
    date,
    sum(stats.events) AS events,
    sumIf(stats.events, event_type IN ('page_view', 'pageview', 'view')) AS views,
    uniqCombined64Merge(17)(stats.users) AS users,
    uniqCombined64MergeIf(17)(stats.users, event_type IN ('page_view', 'pageview', 'view')) AS visitors
FROM stats_day AS stats
WHERE bot = 0
GROUP BY site_id, date
COMMENT 'Finished figures per site and day in UTC, all types together, without bots';

CREATE OR REPLACE VIEW daily_totals_with_bots
(
    site_id LowCardinality(String) COMMENT 'Whose traffic it is',
    date Date COMMENT 'Day in UTC',
    events UInt64 COMMENT 'How many events of all types',
    views UInt64 COMMENT 'How many of them are views: page_view, pageview or view',
    users UInt64 COMMENT 'How many distinct users had an event of any type; never sum these over days',
    visitors UInt64 COMMENT 'How many distinct users had a view; never sum these over days'
)
AS
SELECT 
    site_id,
    date,
    sum(stats.events) AS events,
    sumIf(stats.events, event_type IN ('page_view', 'pageview', 'view')) AS views,
    uniqCombined64Merge(17)(stats.users) AS users,
    uniqCombined64MergeIf(17)(stats.users, event_type IN ('page_view', 'pageview', 'view')) AS visitors
FROM stats_day AS stats
GROUP BY site_id, date
COMMENT 'Finished figures per site and day in UTC, all types together, bots included';

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
WHERE bot = 0
GROUP BY site_id, month, event_type
COMMENT 'Finished figures per site, month in UTC and type, without bots';

CREATE OR REPLACE VIEW monthly_with_bots
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
COMMENT 'Finished figures per site, month in UTC and type, bots included';

CREATE OR REPLACE VIEW daily_paths
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
WHERE bot = 0
GROUP BY site_id, date, event_type, path
COMMENT 'Finished figures per site, day in UTC, type and path, without bots';

CREATE OR REPLACE VIEW daily_paths_with_bots
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
COMMENT 'Finished figures per site, day in UTC, type and path, bots included';

CREATE OR REPLACE VIEW monthly_paths
(
    site_id LowCardinality(String) COMMENT 'Whose traffic it is',
    month Date COMMENT 'First day of the month in UTC',
    event_type LowCardinality(String) COMMENT 'What happened',
    path LowCardinality(String) COMMENT 'Path without query and fragment; empty: none was sent',
    events UInt64 COMMENT 'How many events'
)
AS
SELECT site_id, month, event_type, path, sum(events) AS events
FROM paths_month
WHERE bot = 0
GROUP BY site_id, month, event_type, path
COMMENT 'Finished figures per site, month in UTC, type and path, without bots';

CREATE OR REPLACE VIEW monthly_paths_with_bots
(
    site_id LowCardinality(String) COMMENT 'Whose traffic it is',
    month Date COMMENT 'First day of the month in UTC',
    event_type LowCardinality(String) COMMENT 'What happened',
    path LowCardinality(String) COMMENT 'Path without query and fragment; empty: none was sent',
    events UInt64 COMMENT 'How many events'
)
AS
SELECT site_id, month, event_type, path, sum(events) AS events
FROM paths_month
GROUP BY site_id, month, event_type, path
COMMENT 'Finished figures per site, month in UTC, type and path, bots included';

-- Views with parameters.

CREATE OR REPLACE VIEW stats AS
SELECT sum(stats.events) AS views, uniqCombined64Merge(17)(stats.users) AS users
FROM stats_day AS stats
WHERE site_id = {site:String}
  AND date BETWEEN {from:Date} AND {to:Date}
  AND bot = 0
  AND event_type IN ('page_view', 'pageview', 'view')
COMMENT 'stats(site=''s'', from=''2025-01-01'', to=''2025-01-31''): views, and the distinct users who had one, over days in UTC, both ends included. Views are events of the types page_view, pageview and view; stats_of_types counts others; without bots: stats_with_bots includes them';

CREATE OR REPLACE VIEW stats_with_bots AS
SELECT sum(stats.events) AS views, uniqCombined64Merge(17)(stats.users) AS users
FROM stats_day AS stats
WHERE site_id = {site:String}
  AND date BETWEEN {from:Date} AND {to:Date}
  AND event_type IN ('page_view', 'pageview', 'view')
COMMENT 'stats_with_bots(site=''s'', from=''2025-01-01'', to=''2025-01-31''): views, and the distinct users who had one, over days in UTC, both ends included. Views are events of the types page_view, pageview and view; stats_of_types_with_bots counts others; bots are included';

CREATE OR REPLACE VIEW stats_of_types AS
SELECT sum(stats.events) AS events, uniqCombined64Merge(17)(stats.users) AS users
FROM stats_day AS stats
WHERE site_id = {site:String}
  AND date BETWEEN {from:Date} AND {to:Date}
  AND bot = 0
  AND event_type IN {types:Array(String)}
COMMENT 'stats_of_types(site=''s'', from=''2025-01-01'', to=''2025-01-31'', types=[''signup'']): events of these types, and the distinct users who had one, over days in UTC, both ends included; without bots: stats_of_types_with_bots includes them';

CREATE OR REPLACE VIEW stats_of_types_with_bots AS
SELECT sum(stats.events) AS events, uniqCombined64Merge(17)(stats.users) AS users
FROM stats_day AS stats
WHERE site_id = {site:String}
  AND date BETWEEN {from:Date} AND {to:Date}
  AND event_type IN {types:Array(String)}
COMMENT 'stats_of_types_with_bots(site=''s'', from=''2025-01-01'', to=''2025-01-31'', types=[''signup'']): events of these types, and the distinct users who had one, over days in UTC, both ends included; bots are included';

CREATE OR REPLACE VIEW sessions AS
SELECT
    user_id,
    min(timestamp) AS started_at,
    max(timestamp) AS ended_at,
    dateDiff('second', started_at, ended_at) AS seconds,
    count() AS events,
    countIf(is_view) AS views,
    argMinIf(path, (timestamp, _partition, _offset, _index), is_view) AS entry_path,
    argMaxIf(path, (timestamp, _partition, _offset, _index), is_view) AS exit_path,
    argMin(referrer, (timestamp, _partition, _offset, _index)) AS referrer,
    views = 1 AS is_bounce
FROM
(
    SELECT *, sum(is_first) OVER (PARTITION BY user_id ORDER BY timestamp, _partition, _offset, _index) AS session
    FROM
    (
        SELECT
            user_id, timestamp, path, referrer, _partition, _offset, _index,
            event_type IN ('page_view', 'pageview', 'view') AS is_view,
            timestamp > lagInFrame(timestamp) OVER (PARTITION BY user_id ORDER BY timestamp, _partition, _offset, _index) + INTERVAL 30 MINUTE AS is_first
        FROM events
        WHERE site_id = {site:String}
          AND timestamp >= toDateTime64({from:Date}, 3, 'UTC') - INTERVAL 1 DAY
          AND timestamp < toDateTime64({to:Date}, 3, 'UTC') + INTERVAL 2 DAY
          AND user_id != ''
          AND (_agent = '' OR endsWith(_agent, '\t'))
    )
)
GROUP BY user_id, session
HAVING toDate(started_at) BETWEEN {from:Date} AND {to:Date}
COMMENT 'sessions(site=''s'', from=''2025-01-01'', to=''2025-01-31''): one row per session that started on these days in UTC. A session is a user''s events with no gap over 30 minutes; columns user_id, started_at, ended_at, seconds, events, views (page_view, pageview, view), entry_path, exit_path, referrer (of the first event), is_bounce (exactly one view). One that lasts beyond a day on either side of the range is cut there; without bots: sessions_with_bots includes them';

CREATE OR REPLACE VIEW sessions_with_bots AS
SELECT
    user_id,
    min(timestamp) AS started_at,
    max(timestamp) AS ended_at,
    dateDiff('second', started_at, ended_at) AS seconds,
    count() AS events,
    countIf(is_view) AS views,
    argMinIf(path, (timestamp, _partition, _offset, _index), is_view) AS entry_path,
    argMaxIf(path, (timestamp, _partition, _offset, _index), is_view) AS exit_path,
    argMin(referrer, (timestamp, _partition, _offset, _index)) AS referrer,
    views = 1 AS is_bounce
FROM
(
    SELECT *, sum(is_first) OVER (PARTITION BY user_id ORDER BY timestamp, _partition, _offset, _index) AS session
    FROM
    (
        SELECT
            user_id, timestamp, path, referrer, _partition, _offset, _index,
            event_type IN ('page_view', 'pageview', 'view') AS is_view,
            timestamp > lagInFrame(timestamp) OVER (PARTITION BY user_id ORDER BY timestamp, _partition, _offset, _index) + INTERVAL 30 MINUTE AS is_first
        FROM events
        WHERE site_id = {site:String}
          AND timestamp >= toDateTime64({from:Date}, 3, 'UTC') - INTERVAL 1 DAY
          AND timestamp < toDateTime64({to:Date}, 3, 'UTC') + INTERVAL 2 DAY
          AND user_id != ''
    )
)
GROUP BY user_id, session
HAVING toDate(started_at) BETWEEN {from:Date} AND {to:Date}
COMMENT 'sessions_with_bots(site=''s'', from=''2025-01-01'', to=''2025-01-31''): one row per session that started on these days in UTC. A session is a user''s events with no gap over 30 minutes; columns user_id, started_at, ended_at, seconds, events, views (page_view, pageview, view), entry_path, exit_path, referrer (of the first event), is_bounce (exactly one view). One that lasts beyond a day on either side of the range is cut there; bots are included';
