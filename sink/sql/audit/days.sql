-- Every day in UTC, since 1970, that events or a rollup knows, and the most rows of it that one of
-- them has. What is kept by month stands as its first day, and apart.
SELECT day, maxIf(found, NOT is_month) AS rows, maxIf(found, is_month) AS month_rows
FROM
(
    SELECT toUInt16(toDate(timestamp)) AS day, count() AS found, false AS is_month FROM events GROUP BY day
    UNION ALL
{of_rollups}
)
GROUP BY day
ORDER BY day
