-- Every day in UTC, since 1970, that events or a rollup knows, and the most rows of it that one of
-- them has. A month stands as its first day.
SELECT day, max(rows) AS rows
FROM
(
    SELECT toUInt16(toDate(timestamp)) AS day, count() AS rows FROM events GROUP BY day
    UNION ALL
    SELECT toUInt16(toDate(time)) AS day, count() AS rows FROM stats_quarter_hour GROUP BY day
    UNION ALL
    SELECT toUInt16(date) AS day, count() AS rows FROM stats_day GROUP BY day
    UNION ALL
    SELECT toUInt16(date) AS day, count() AS rows FROM paths_day GROUP BY day
    UNION ALL
    SELECT toUInt16(month) AS day, count() AS rows FROM paths_month GROUP BY day
)
GROUP BY day
ORDER BY day
