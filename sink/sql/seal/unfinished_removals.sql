-- Rows that weir seal noted as removed, and that are still there.
SELECT count()
FROM events
WHERE (_log, _partition, _offset, _index) IN (SELECT _log, _partition, _offset, _index FROM removed_repeats)
