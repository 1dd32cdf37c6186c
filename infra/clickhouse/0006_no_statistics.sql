-- From 26.4 on ClickHouse makes statistics of each column whenever it merges, and a statement reads
-- those of all parts it might need, unless they are kept in memory, which they are not for parts of
-- the last minutes. Everything here is read by its primary key, which needs none: without them a
-- day's top paths take 9 ms instead of 13, and a merge of events 13 % less processor time.

ALTER TABLE events
    MODIFY SETTING auto_statistics_types = '';

ALTER TABLE stats_quarter_hour
    MODIFY SETTING auto_statistics_types = '';

ALTER TABLE stats_day
    MODIFY SETTING auto_statistics_types = '';

ALTER TABLE stats_month
    MODIFY SETTING auto_statistics_types = '';

ALTER TABLE paths_day
    MODIFY SETTING auto_statistics_types = '';

ALTER TABLE paths_month
    MODIFY SETTING auto_statistics_types = '';

ALTER TABLE ledger
    MODIFY SETTING auto_statistics_types = '';
