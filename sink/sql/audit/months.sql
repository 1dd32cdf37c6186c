-- Every month that the rows or a rollup know of.
SELECT DISTINCT month
FROM
(
    SELECT DISTINCT toYYYYMM(timestamp) AS month FROM events
    UNION ALL
    SELECT DISTINCT toYYYYMM(time) AS month FROM stats_quarter_hour
    UNION ALL
    SELECT DISTINCT toYYYYMM(date) AS month FROM stats_day
    UNION ALL
    SELECT DISTINCT toYYYYMM(date) AS month FROM paths_day
    UNION ALL
    SELECT DISTINCT toYYYYMM(month) AS month FROM paths_month
)
ORDER BY month
