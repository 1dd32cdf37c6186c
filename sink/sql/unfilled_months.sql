-- Months, as their first day since 1970, whose events are not those of their days.
SELECT toUInt16(month) AS day
FROM
(
    SELECT toStartOfMonth(date)::Date AS month, sum(stats_day.events) AS of_days, toUInt64(0) AS of_month
    FROM stats_day
    GROUP BY month
    UNION ALL
    SELECT stats_month.month AS month, 0, sum(stats_month.events)
    FROM stats_month
    GROUP BY month
)
GROUP BY month
HAVING sum(of_days) != sum(of_month)
ORDER BY day
