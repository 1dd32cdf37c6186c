-- Whole months, the whole days around them, and from the raw rows what is less than a day.
SELECT path, sum(events) AS views
FROM
(
    SELECT toString(path) AS path, events
    FROM paths_month
    WHERE site_id = {site_id:String}
      AND event_type IN {event_types:Array(String)}
      AND month BETWEEN {months_first:Date} AND {months_last:Date}
    UNION ALL
    SELECT path, events
    FROM paths_day
    WHERE site_id = {site_id:String}
      AND event_type IN {event_types:Array(String)}
      AND (date BETWEEN {before_first:Date} AND {before_last:Date}
        OR date BETWEEN {after_first:Date} AND {after_last:Date})
    UNION ALL
    SELECT toString(path) AS path, toUInt64(1) AS events
    FROM events
    WHERE site_id = {site_id:String}
      AND event_type IN {event_types:Array(String)}
      AND (timestamp >= fromUnixTimestamp64Milli({head_start_ms:Int64}, 'UTC')
          AND timestamp < fromUnixTimestamp64Milli({head_end_ms:Int64}, 'UTC')
        OR timestamp >= fromUnixTimestamp64Milli({tail_start_ms:Int64}, 'UTC')
          AND timestamp < fromUnixTimestamp64Milli({tail_end_ms:Int64}, 'UTC'))
)
WHERE path != ''
GROUP BY path
ORDER BY views DESC, path
LIMIT {limit:UInt16}
