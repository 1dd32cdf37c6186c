-- From the raw rows: the rollups keep no users per path.
SELECT count() AS views, uniqCombined64If(17)(user_id, user_id != '') AS users
FROM events
WHERE site_id = {site_id:String}
  AND event_type IN {event_types:Array(String)}
  AND path = {path:String}
  AND timestamp >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC')
