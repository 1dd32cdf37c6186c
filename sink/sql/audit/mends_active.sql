-- How many mends of rollups are being made.
SELECT countIf(until > now64(3))
FROM (SELECT id, argMax(mends.until, mends.at) AS until FROM mends GROUP BY id)
