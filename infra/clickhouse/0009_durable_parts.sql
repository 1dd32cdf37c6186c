-- What is acknowledged is on the disk. By default ClickHouse leaves it to the kernel when a new part
-- is written there: after a power cut the ledger could be there and the rows that it vouches for
-- gone, or a rollup's rows.
--
-- Merges need none of it: their sources stay for eight minutes, and the kernel writes sooner.

ALTER TABLE events
    MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;

ALTER TABLE stats_quarter_hour
    MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;

ALTER TABLE stats_day
    MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;

ALTER TABLE stats_month
    MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;

ALTER TABLE paths_day
    MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;

ALTER TABLE paths_month
    MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;

ALTER TABLE ledger
    MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;

ALTER TABLE mends
    MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;

ALTER TABLE removed_repeats
    MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1
