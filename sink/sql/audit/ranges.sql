-- The next ranges of a partition's ledger. One that stands there twice counts once.
SELECT from_offset, to_offset, records, events, rows, repeats, dead_letters, places
FROM ledger
WHERE _log = {log:UInt32} AND _partition = {partition:UInt16} AND from_offset >= {from:UInt64}
ORDER BY from_offset, to_offset, cut
LIMIT 1 BY from_offset, to_offset, cut
LIMIT {limit:UInt32}
