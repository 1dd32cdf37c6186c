-- Tables that would take the same block twice, or forget too soon that they had it. Replicated ones
-- have a window of their own by default.
SELECT name
FROM system.tables
WHERE database = currentDatabase()
    AND name IN ({tables:Array(String)})
    AND NOT match(engine, '^(Replicated|Shared)')
    AND NOT match(engine_full, 'non_replicated_deduplication_window = [1-9][0-9]{4,}')
ORDER BY name
