-- The last client-made ids of a partition that were stored from before an offset, newest first.
SELECT toString(site_id) AS site_id, event_id
FROM events
WHERE _partition = {partition:UInt16} AND _offset < {before:UInt64} AND _id_origin = 'client'
ORDER BY _offset DESC, _index DESC
LIMIT {limit:UInt32}
