-- Days, since 1970, on which {table} differs from {source}; a month is its first day. Once its cuts
-- are stored a rollup can only lack users, so it has lost none where it estimates as many.
SELECT DISTINCT toUInt16(toDate(period)) AS day
FROM
(
{compared}
)
WHERE differs
