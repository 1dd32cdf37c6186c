-- How many ids the last ledgered ranges before an offset brought, newest first.
SELECT from_offset, client_ids, length(batches) AS batches
FROM ledger
WHERE _log = {log:UInt32}
    AND _partition = {partition:UInt16}
    AND from_offset < {before:UInt64}
ORDER BY from_offset DESC
LIMIT 1 BY from_offset
LIMIT 10000
