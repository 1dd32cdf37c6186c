-- What proves that every event counts once: which log a row came from, who may insert, and a ledger
-- of what was stored.

-- The one sink that may insert rows of a partition: whoever took it over last. Read by a constraint
-- of `events`, so a sink that was stopped and wakes up after its partitions were taken over is
-- refused by the server itself.
CREATE TABLE IF NOT EXISTS fences
(
    partition UInt16 COMMENT 'Kafka partition; 65535 stands for all of them, while rollups are made anew',
    owner UInt64 COMMENT 'Drawn at random by each takeover; 0 is nobody'
)
ENGINE = Join(ANY, LEFT, partition)
SETTINGS join_any_take_last_row = 1, persistent = 1
COMMENT 'Who may insert rows of a partition';

ALTER TABLE events
    ADD COLUMN IF NOT EXISTS _log UInt32 DEFAULT 0 COMMENT 'Which life of the topic the place is of: a topic that is deleted and made anew begins at offset 0 again' CODEC(T64, ZSTD(1)),
    ADD COLUMN IF NOT EXISTS _owner UInt64 EPHEMERAL COMMENT 'Sent with an INSERT and not stored: who inserts',
    ADD COLUMN IF NOT EXISTS _is_owner Bool MATERIALIZED joinGet('{database}.fences', 'owner', _partition) = _owner COMMENT 'Always true in what a sink stored';

ALTER TABLE events
    ADD CONSTRAINT IF NOT EXISTS only_the_owner CHECK _is_owner,
    ADD CONSTRAINT IF NOT EXISTS not_while_mending CHECK joinGet('{database}.fences', 'owner', toUInt16(65535)) = 0;

CREATE TABLE IF NOT EXISTS ledger
(
    _log UInt32 COMMENT 'Which life of the topic' CODEC(T64, ZSTD(1)),
    _partition UInt16 COMMENT 'Kafka partition' CODEC(T64, ZSTD(1)),
    from_offset UInt64 COMMENT 'First offset of the range' CODEC(Delta, ZSTD(1)),
    to_offset UInt64 COMMENT 'First offset after the range; the next range begins with it' CODEC(Delta, ZSTD(1)),
    cut UUID COMMENT 'What was inserted together' CODEC(ZSTD(1)),
    records UInt64 COMMENT 'Kafka records in the range; to_offset - from_offset where the log has no gap' CODEC(T64, ZSTD(1)),
    events UInt64 COMMENT 'Events that these records hold' CODEC(T64, ZSTD(1)),
    rows UInt64 COMMENT 'Events that were stored' CODEC(T64, ZSTD(1)),
    repeats UInt64 COMMENT 'Events that were dropped, having been stored before' CODEC(T64, ZSTD(1)),
    dead_letters UInt64 COMMENT 'Records that could not be read and were set aside' CODEC(T64, ZSTD(1)),
    places UInt64 COMMENT 'Sum over the stored rows of intHash64(_offset * 65536 + _index), modulo 2^64: tells which rows they were, not only how many' CODEC(NONE),
    client_ids UInt64 COMMENT 'Stored events whose id the client made' CODEC(T64, ZSTD(1)),
    parts UInt16 COMMENT 'At most so many blocks went into one table: what the cut took of its deduplication window' CODEC(T64, ZSTD(1)),
    batches Array(UInt64) COMMENT 'Hashes of the ids of the batches that were taken in, in the order of their offsets' CODEC(NONE),
    stored_at DateTime64(3, 'UTC') COMMENT 'When it was in events and in every rollup' CODEC(Delta, ZSTD(1)),
    _owner UInt64 EPHEMERAL COMMENT 'Sent with an INSERT and not stored: who inserts',
    _is_owner Bool MATERIALIZED joinGet('{database}.fences', 'owner', _partition) = _owner COMMENT 'Always true in what a sink stored',
    INDEX times stored_at TYPE minmax GRANULARITY 1,
    CONSTRAINT only_the_owner CHECK _is_owner
)
ENGINE = MergeTree
ORDER BY (_log, _partition, from_offset)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Per cut and partition, what became of a range of offsets: ranges without gap or overlap, events = rows + repeats, records = to_offset - from_offset';

CREATE TABLE IF NOT EXISTS removed_repeats
(
    _log UInt32 COMMENT 'Which life of the topic',
    _partition UInt16 COMMENT 'Kafka partition',
    _offset UInt64 COMMENT 'Kafka offset' CODEC(Delta, ZSTD(1)),
    _index UInt16 COMMENT 'Place of the event within the record',
    site_id String COMMENT 'Whose traffic it was' CODEC(ZSTD(1)),
    event_id UUID COMMENT 'The identity it shared with an earlier event' CODEC(ZSTD(1)),
    date Date COMMENT 'Day in UTC it was counted on',
    removed_at DateTime64(3, 'UTC') COMMENT 'When weir seal found it'
)
ENGINE = ReplacingMergeTree
ORDER BY (_log, _partition, _offset, _index)
COMMENT 'Repeats from beyond the window, stored at first and removed from events by weir seal';

CREATE TABLE IF NOT EXISTS mends
(
    id UUID COMMENT 'The mend; its last row counts',
    at DateTime64(3, 'UTC') COMMENT 'When the row was written',
    until DateTime64(3, 'UTC') COMMENT 'No sink inserts before this; brought forward when the mend ends',
    dates Array(Date) COMMENT 'Days in UTC whose rollups are made anew from events',
    reason String COMMENT 'Why'
)
ENGINE = MergeTree
ORDER BY at
COMMENT 'Rollups that were made anew from events'
