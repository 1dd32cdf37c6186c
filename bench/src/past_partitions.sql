SELECT table, partition_id
FROM
(
    SELECT
        table,
        partition_id,
        count() AS parts,
        max(partition_id) OVER (PARTITION BY table) AS newest
    FROM system.parts
    WHERE database = currentDatabase() AND active AND engine = 'AggregatingMergeTree'
    GROUP BY table, partition_id
)
WHERE parts > 1 AND partition_id != newest
ORDER BY table, partition_id
