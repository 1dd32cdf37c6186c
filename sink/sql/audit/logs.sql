-- Every partition of every life of the topic that the ledger or the rows know of.
SELECT _log, _partition, sum(rows) AS stored, sum(ranges) AS ledgered, min(first) AS first_row, max(last) AS last_row
FROM
(
    SELECT _log, _partition, count() AS rows, 0 AS ranges, min(_offset) AS first, max(_offset) AS last
    FROM events
    GROUP BY _log, _partition
    UNION ALL
    SELECT _log, _partition, 0 AS rows, count() AS ranges, 18446744073709551615 AS first, 0 AS last
    FROM ledger
    GROUP BY _log, _partition
)
GROUP BY _log, _partition
ORDER BY _log, _partition
