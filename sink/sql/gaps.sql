-- Ledgered ranges that do not begin where those before them end. From the last one that begins at
-- or before an offset: what lies before is of no interest.
SELECT reached AS gap_from, from_offset AS gap_to
FROM
(
    SELECT
        from_offset,
        max(to_offset) OVER (ORDER BY from_offset, to_offset ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached
    FROM ledger
    WHERE _log = {log:UInt32}
        AND _partition = {partition:UInt16}
        AND from_offset >= (
            SELECT max(from_offset)
            FROM ledger
            WHERE _log = {log:UInt32} AND _partition = {partition:UInt16} AND from_offset <= {low:UInt64}
        )
)
WHERE from_offset > reached
ORDER BY from_offset
LIMIT 10000
