-- From which offsets on the last ids of each kind lie before an offset, as far as the last ranges of
-- the ledger reach; NULL where there are none.
SELECT
    minOrNullIf(from_offset, client_ids > 0 AND events_from_here - client_ids < {limit:UInt64}) AS events,
    minOrNullIf(from_offset, batches > 0 AND batches_from_here - batches < {limit:UInt64}) AS batches
FROM
(
    SELECT
        from_offset,
        client_ids,
        batches,
        sum(client_ids) OVER (ORDER BY from_offset DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS events_from_here,
        sum(batches) OVER (ORDER BY from_offset DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS batches_from_here
    FROM
    (
        SELECT from_offset, client_ids, length(batches) AS batches
        FROM ledger
        WHERE _log = {log:UInt32}
            AND _partition = {partition:UInt16}
            AND from_offset < {before:UInt64}
        ORDER BY from_offset DESC
        LIMIT 1 BY from_offset
        LIMIT {ranges:UInt64}
    )
)
