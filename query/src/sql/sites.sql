SELECT
    toString(site_id) AS site_id,
    sumIf(events, event_type IN {event_types:Array(String)} AND has({bots:Array(UInt8)}, bot)) AS total_views,
    toString(min(date)) AS first_date,
    toString(max(date)) AS last_date,
    count() OVER () AS total
FROM stats_day
WHERE {all:UInt8} OR site_id IN {among:Array(String)}
GROUP BY site_id
ORDER BY total_views DESC, site_id
LIMIT {limit:UInt32} OFFSET {offset:UInt64}
