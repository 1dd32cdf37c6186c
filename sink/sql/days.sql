-- The days, since 1970, on which a range of offsets counts.
SELECT DISTINCT toUInt16(toDate(timestamp)) AS day
FROM events
WHERE _partition = {partition:UInt16}
    AND _log IN (0, {log:UInt32})
    AND _offset >= {from:UInt64}
    AND _offset < {to:UInt64}
