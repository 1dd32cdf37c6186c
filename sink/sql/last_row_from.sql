-- The last stored offset of a partition in a range of offsets, plus one; 0 where there is none.
SELECT if(count() = 0, 0, max(_offset) + 1)
FROM events
WHERE _partition = {partition:UInt16}
    AND _log IN (0, {log:UInt32})
    AND _offset >= {from:UInt64}
    AND _offset < {to:UInt64}
