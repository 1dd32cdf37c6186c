-- Which places of a range are stored, and on which days they count.
SELECT _offset, _index, toUInt32(toUInt16(toDate(timestamp))) AS day
FROM events
WHERE _partition = {partition:UInt16}
    AND _log IN (0, {log:UInt32})
    AND _offset >= {from:UInt64}
    AND _offset < {to:UInt64}
