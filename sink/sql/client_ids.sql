-- The last client-made ids of a partition that were stored from before an offset, newest first.
-- Rows from before logs were told apart are of log 0.
SELECT toString(site_id) AS site_id, event_id
FROM events
WHERE _partition = {partition:UInt16}
    AND _log IN (0, {log:UInt32})
    AND _offset >= {from:UInt64}
    AND _offset < {before:UInt64}
    AND _id_origin = 'client'
ORDER BY _offset DESC, _index DESC
LIMIT {limit:UInt32}
