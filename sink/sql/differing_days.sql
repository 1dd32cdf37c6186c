-- Days, since 1970, on which the events of a rollup are not those of the rows. A month whose
-- events are not those of its days stands for its first day among them.
WITH {days:Array(UInt16)} AS days
SELECT DISTINCT day
FROM
(
    SELECT day
    FROM
    (
        SELECT toUInt16(toDate(timestamp)) AS day, count() AS rows, toUInt64(0) AS quarters, toUInt64(0) AS whole, toUInt64(0) AS paths
        FROM events
        WHERE toDate(timestamp) IN (SELECT toDate(arrayJoin({days:Array(UInt16)})))
        GROUP BY day
        UNION ALL
        SELECT toUInt16(toDate(time)) AS day, 0, sum(stats_quarter_hour.events), 0, 0
        FROM stats_quarter_hour
        WHERE toDate(time) IN (SELECT toDate(arrayJoin({days:Array(UInt16)})))
        GROUP BY day
        UNION ALL
        SELECT toUInt16(date) AS day, 0, 0, sum(stats_day.events), 0
        FROM stats_day
        WHERE date IN (SELECT toDate(arrayJoin({days:Array(UInt16)})))
        GROUP BY day
        UNION ALL
        SELECT toUInt16(date) AS day, 0, 0, 0, sum(paths_day.events)
        FROM paths_day
        WHERE date IN (SELECT toDate(arrayJoin({days:Array(UInt16)})))
        GROUP BY day
    )
    GROUP BY day
    HAVING sum(rows) != sum(quarters) OR sum(rows) != sum(whole) OR sum(rows) != sum(paths)
    UNION ALL
    SELECT arrayFirst(day -> toStartOfMonth(toDate(day)) = month, days) AS day
    FROM
    (
        SELECT toStartOfMonth(date)::Date AS month, 'paths' AS rollup, sum(paths_day.events) AS of_days, toUInt64(0) AS of_month
        FROM paths_day
        WHERE toStartOfMonth(date)::Date IN (SELECT toStartOfMonth(toDate(arrayJoin({days:Array(UInt16)})))::Date)
        GROUP BY month
        UNION ALL
        SELECT paths_month.month AS month, 'paths', 0, sum(paths_month.events)
        FROM paths_month
        WHERE paths_month.month IN (SELECT toStartOfMonth(toDate(arrayJoin({days:Array(UInt16)})))::Date)
        GROUP BY month
        UNION ALL
        SELECT toStartOfMonth(date)::Date AS month, 'stats', sum(stats_day.events), 0
        FROM stats_day
        WHERE toStartOfMonth(date)::Date IN (SELECT toStartOfMonth(toDate(arrayJoin({days:Array(UInt16)})))::Date)
        GROUP BY month
        UNION ALL
        SELECT stats_month.month AS month, 'stats', 0, sum(stats_month.events)
        FROM stats_month
        WHERE stats_month.month IN (SELECT toStartOfMonth(toDate(arrayJoin({days:Array(UInt16)})))::Date)
        GROUP BY month
    )
    GROUP BY month, rollup
    HAVING sum(of_days) != sum(of_month)
)
ORDER BY day
