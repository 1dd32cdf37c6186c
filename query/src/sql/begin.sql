SELECT toInt64(toUnixTimestamp(min(time))) AS second
FROM stats_quarter_hour
WHERE site_id = {site_id:String}
