SELECT site_id, toDate(timestamp) AS date, event_type, path, count() AS events
FROM events
WHERE toYYYYMM(timestamp) = {partition:UInt32} AND has({days:Array(UInt16)}, toUInt16(toDate(timestamp)))
GROUP BY site_id, date, event_type, path
