-- Places of a range that are stored more than once.
SELECT _offset, _index, count() AS rows
FROM events
WHERE _log IN (0, {log:UInt32})
    AND _partition = {partition:UInt16}
    AND _offset >= {from:UInt64}
    AND _offset < {to:UInt64}
GROUP BY _offset, _index
HAVING rows > 1
ORDER BY _offset, _index
LIMIT 5
