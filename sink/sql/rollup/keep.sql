-- Rows of all other days of the partition, as they are.
INSERT INTO {draft} ({columns})
SELECT {columns}
FROM {table}
WHERE {partition} = {partition:UInt32} AND NOT has({days:Array(UInt16)}, toUInt16(toDate({time})))
