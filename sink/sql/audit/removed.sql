-- Removed repeats per life of the topic and partition; one may stand there twice.
SELECT _log AS log, _partition AS partition, count() AS rows, min(_offset) AS first, max(_offset) AS last
FROM removed_repeats
GROUP BY log, partition
ORDER BY log, partition
