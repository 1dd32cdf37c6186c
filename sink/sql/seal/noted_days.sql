-- Months and days of rows that are noted as removed and still there.
SELECT DISTINCT toUInt32(toYYYYMM(date)) AS month, toUInt16(date) AS day
FROM removed_repeats
WHERE (_log, _partition, _offset, _index) IN (
    SELECT _log, _partition, _offset, _index
    FROM events
    WHERE (_log, _partition, _offset, _index) IN (SELECT _log, _partition, _offset, _index FROM removed_repeats)
)
