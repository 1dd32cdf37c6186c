-- Every day in UTC, since 1970, that events or a rollup knows, and the most rows of it that one of
-- them has. What is kept by month stands as its first day, and apart.
SELECT day, maxIf(found, NOT is_month) AS rows, maxIf(found, is_month) AS month_rows
FROM
(
    SELECT toUInt16(toDate(timestamp)) AS day, count() AS found, false AS is_month FROM events GROUP BY day
    UNION ALL
    SELECT toUInt16(toDate(time)) AS day, count() AS found, false AS is_month FROM stats_quarter_hour GROUP BY day
    UNION ALL
    SELECT toUInt16(date) AS day, count() AS found, false AS is_month FROM stats_day GROUP BY day
    UNION ALL
    SELECT toUInt16(date) AS day, count() AS found, false AS is_month FROM paths_day GROUP BY day
    UNION ALL
    SELECT toUInt16(month) AS day, count() AS found, true AS is_month FROM stats_month GROUP BY day
    UNION ALL
    SELECT toUInt16(month) AS day, count() AS found, true AS is_month FROM paths_month GROUP BY day
)
GROUP BY day
ORDER BY day
