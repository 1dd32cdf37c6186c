SELECT
    site_id,
    toStartOfFifteenMinutes(timestamp) AS time,
    event_type,
    count() AS events,
    uniqCombined64StateIf(17)(user_id, user_id != '') AS users
FROM events
WHERE toYYYYMM(timestamp) = {partition:UInt32} AND has({days:Array(UInt16)}, toUInt16(toDate(timestamp)))
GROUP BY site_id, time, event_type
