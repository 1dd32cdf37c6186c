SELECT site_id, toStartOfMonth(timestamp)::Date AS month, event_type, path, count() AS events
FROM events
WHERE toYear(timestamp) = {partition:UInt32} AND has({days:Array(UInt16)}, toUInt16(toStartOfMonth(timestamp)::Date))
GROUP BY site_id, month, event_type, path
