SELECT count() = 6
FROM system.tables
WHERE database = {database:String}
  AND name IN ('events', 'stats_day', 'stats_quarter_hour', 'stats_month', 'paths_day', 'paths_month')
