-- Which places of a range are stored.
SELECT _offset, _index
FROM events
WHERE _partition = {partition:UInt16}
    AND _log IN (0, {log:UInt32})
    AND _offset >= {from:UInt64}
    AND _offset < {to:UInt64}
