-- Rows of some days of a partition, as events gives them.
INSERT INTO {draft} ({columns})
SELECT {rows}
FROM events
WHERE {partition} = {partition:UInt32} AND has({days:Array(UInt16)}, toUInt16(toDate({time})))
GROUP BY {key}
