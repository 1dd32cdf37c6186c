-- Offsets of a range that lack an index below their highest, or have no row at all. Only where
-- nothing of the range was dropped do these say what is missing.
SELECT number AS offset, indexes
FROM
(
    SELECT number
    FROM numbers({from:UInt64}, {to:UInt64} - {from:UInt64})
) AS offsets
LEFT JOIN
(
    SELECT _offset, uniqExact(_index) AS indexes, max(_index) + 1 AS highest
    FROM events
    WHERE _log IN (0, {log:UInt32})
        AND _partition = {partition:UInt16}
        AND _offset >= {from:UInt64}
        AND _offset < {to:UInt64}
    GROUP BY _offset
) AS stored ON stored._offset = offsets.number
WHERE indexes = 0 OR indexes != highest
ORDER BY offset
LIMIT 5
