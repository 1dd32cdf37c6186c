-- Plain columns of all tables: each function and condition more takes ClickHouse longer than the rows.
SELECT table, name, modification_time, min_date, max_date, min_time, max_time
FROM system.parts
WHERE database = currentDatabase() AND active
