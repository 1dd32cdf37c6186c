-- The last half hour lies at the end of the site's rows of the month: few granules.
SELECT
    countIf(timestamp > fromUnixTimestamp64Milli({since_5m_ms:Int64}, 'UTC')) AS views_5m,
    uniqExactIf(user_id, user_id != '' AND timestamp > fromUnixTimestamp64Milli({since_5m_ms:Int64}, 'UTC')) AS visitors_5m,
    count() AS views_30m,
    uniqExactIf(user_id, user_id != '') AS visitors_30m
FROM events
WHERE site_id = {site_id:String}
  AND event_type IN {event_types:Array(String)}
  AND has({bots:Array(UInt8)}, _agent != '' AND NOT endsWith(_agent, '\t'))
  AND timestamp > fromUnixTimestamp64Milli({since_30m_ms:Int64}, 'UTC')
  AND timestamp <= fromUnixTimestamp64Milli({now_ms:Int64}, 'UTC')
