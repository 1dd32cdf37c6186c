-- Rows that bring a client-made id which an earlier row of these days brought. Ids are found by
-- their hashes first, one share of them at a time: that is what bounds memory.
INSERT INTO removed_repeats (_log, _partition, _offset, _index, site_id, event_id, date, removed_at)
WITH repeated AS
(
    SELECT cityHash64(site_id, event_id) AS id
    FROM events
    WHERE _id_origin = 'client'
        AND toDate(timestamp) BETWEEN toDate({first:UInt16}) AND toDate({last:UInt16})
        AND id % {shares:UInt64} = {share:UInt64}
    GROUP BY id
    HAVING count() > 1
)
SELECT _log, _partition, _offset, _index, site_id, event_id, date, now64(3)
FROM
(
    SELECT
        _log, _partition, _offset, _index, site_id, event_id, toDate(timestamp) AS date,
        min((received_at, _log, _partition, _offset, _index)) OVER (PARTITION BY site_id, event_id) AS earliest,
        (received_at, _log, _partition, _offset, _index) AS this
    FROM events
    WHERE _id_origin = 'client'
        AND toDate(timestamp) BETWEEN toDate({first:UInt16}) AND toDate({last:UInt16})
        AND cityHash64(site_id, event_id) IN repeated
)
WHERE this != earliest
