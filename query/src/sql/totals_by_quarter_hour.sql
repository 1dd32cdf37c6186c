SELECT sum(events) AS views, uniqCombined64Merge(17)(users) AS users
FROM stats_quarter_hour
WHERE site_id = {site_id:String}
  AND event_type IN {event_types:Array(String)}
  AND time >= fromUnixTimestamp({start_s:Int64})
  AND time < fromUnixTimestamp({end_s:Int64})
