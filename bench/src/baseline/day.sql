SELECT site_id, event_type, path, user_id, timestamp
FROM events
WHERE toDate(timestamp, 'UTC') = {day:Date}
ORDER BY timestamp
