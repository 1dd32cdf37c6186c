SELECT uniqExact(site_id) AS total
FROM stats_day
WHERE {all:UInt8} OR site_id IN {among:Array(String)}
