SELECT
    site_id,
    toDate(timestamp) AS date,
    event_type,
    count() AS events,
    uniqCombined64StateIf(17)(user_id, user_id != '') AS users
FROM events
WHERE toYear(timestamp) = {partition:UInt32} AND has({days:Array(UInt16)}, toUInt16(toDate(timestamp)))
GROUP BY site_id, date, event_type
