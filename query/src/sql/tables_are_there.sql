SELECT count() = 5
FROM system.tables
WHERE database = {database:String}
  AND name IN ('events', 'stats_day', 'stats_quarter_hour', 'paths_day', 'paths_month')
