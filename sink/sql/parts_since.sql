-- How many blocks at most went into one table since a moment (milliseconds since 1970).
SELECT sum(parts)
FROM
(
    SELECT max(ledger.parts) AS parts
    FROM ledger
    WHERE stored_at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')
    GROUP BY cut
)
