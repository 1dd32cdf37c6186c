-- The batches of a partition's ledgered ranges, newest range first.
SELECT batches
FROM ledger
WHERE _log = {log:UInt32}
    AND _partition = {partition:UInt16}
    AND from_offset >= {from:UInt64}
    AND from_offset < {before:UInt64}
ORDER BY from_offset DESC
LIMIT 1 BY from_offset
