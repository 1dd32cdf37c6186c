-- Ranges of the ledger from an offset on; those that begin at the same offset stay together.
SELECT from_offset, to_offset, cut, records, events, rows, repeats, dead_letters, places
FROM ledger
WHERE _log = {log:UInt32} AND _partition = {partition:UInt16} AND from_offset >= {from:UInt64}
ORDER BY from_offset
LIMIT {limit:UInt32} WITH TIES
