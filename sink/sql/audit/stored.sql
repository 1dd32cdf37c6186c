-- Rows of events per life of the topic and partition.
SELECT _log AS log, _partition AS partition, count() AS rows, min(_offset) AS first, max(_offset) AS last
FROM events
GROUP BY log, partition
ORDER BY log, partition
