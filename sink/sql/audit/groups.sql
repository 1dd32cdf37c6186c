-- Rows of events, summed per range of the ledger that begins at or before them; those behind its
-- end apart, and those from before rows knew their log, whom the ledger may have taken in.
SELECT
    count() AS rows,
    stored._log != {log:UInt32} AS is_unlogged,
    sum(intHash64(_offset * 65536 + _index)) AS places,
    min(_offset) AS first,
    max(_offset) AS last
FROM
(
    SELECT _log, _partition, _offset, _index
    FROM events
    WHERE _log IN ({unlogged:UInt32}, {log:UInt32})
        AND _partition = {partition:UInt16}
        AND _offset >= {from:UInt64}
        AND _offset < {to:UInt64}
) AS stored
ASOF LEFT JOIN
(
    SELECT _partition, from_offset, max(to_offset) AS to_offset
    FROM ledger
    WHERE _log = {log:UInt32}
        AND _partition = {partition:UInt16}
        AND from_offset >= {from:UInt64}
        AND from_offset < {to:UInt64}
    GROUP BY _partition, from_offset
) AS ranges
ON stored._partition = ranges._partition AND stored._offset >= ranges.from_offset
GROUP BY ranges.from_offset, _offset >= ranges.to_offset, is_unlogged
