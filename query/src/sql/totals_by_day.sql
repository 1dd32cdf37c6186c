SELECT sum(events) AS views, uniqCombined64Merge(17)(users) AS users
FROM stats_day
WHERE site_id = {site_id:String}
  AND event_type IN {event_types:Array(String)}
  AND date BETWEEN {first:Date} AND {last:Date}
