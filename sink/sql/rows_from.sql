SELECT count()
FROM events
WHERE _partition = {partition:UInt16} AND _offset >= {offset:UInt64}
