-- What weir seal removed of each range that begins with one of `starts`.
SELECT
    roundDown(_offset, {starts:Array(UInt64)}) AS start,
    count() AS rows,
    sum(intHash64(_offset * 65536 + _index)) AS places
FROM
(
    SELECT DISTINCT _offset, _index
    FROM removed_repeats
    WHERE _log IN (0, {log:UInt32})
        AND _partition = {partition:UInt16}
        AND _offset >= {from:UInt64}
        AND _offset < {to:UInt64}
)
GROUP BY start
