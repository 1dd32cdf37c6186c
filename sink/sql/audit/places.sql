-- The places of a range, in order: how many rows have each, and whether it was removed as a repeat.
SELECT
    _offset AS offset,
    _index AS index,
    count() AS rows,
    (_offset, _index) IN (
        SELECT _offset, _index
        FROM removed_repeats
        WHERE _log IN ({unlogged:UInt32}, {log:UInt32})
            AND _partition = {partition:UInt16}
            AND _offset >= {from:UInt64}
            AND _offset < {to:UInt64}
    ) AS is_removed
FROM events
WHERE _log IN ({unlogged:UInt32}, {log:UInt32})
    AND _partition = {partition:UInt16}
    AND _offset >= {from:UInt64}
    AND _offset < {to:UInt64}
GROUP BY offset, index
ORDER BY offset, index
