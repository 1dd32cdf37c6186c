-- Ranges of the ledger per life of the topic and partition.
SELECT _log AS log, _partition AS partition, count() AS rows, min(from_offset) AS first, max(to_offset) AS last
FROM ledger
GROUP BY log, partition
ORDER BY log, partition
