SELECT
    site_id,
    toStartOfMonth(timestamp)::Date AS month,
    event_type,
    count() AS events,
    uniqCombined64StateIf(17)(user_id, user_id != '') AS users
FROM events
WHERE toYear(timestamp) = {partition:UInt32} AND has({days:Array(UInt16)}, toUInt16(toStartOfMonth(timestamp)::Date))
GROUP BY site_id, month, event_type
