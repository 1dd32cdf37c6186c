-- Days, since 1970, on which a rollup does not count the same events as the rows. A month that does
-- not count those of its days stands for its first day among them. A key goes in as a hash, as often
-- as it has events: of two cuts that were torn together one may have reached the rows alone and the
-- other the rollup alone, and as many events are not the same events. Sums wrap, and so cancel out.
WITH {days:Array(UInt16)} AS days
SELECT DISTINCT day
FROM
(
    SELECT day
    FROM
    (
        SELECT
            toUInt16(toDate(timestamp)) AS day,
            toInt64(sum(cityHash64(site_id, event_type, toUInt32(intDiv(toUnixTimestamp(timestamp), 900))))) AS quarters,
            toInt64(sum(cityHash64(site_id, event_type))) AS whole,
            toInt64(sum(cityHash64(site_id, event_type, toString(path)))) AS paths
        FROM events
        WHERE toDate(timestamp) IN (SELECT toDate(arrayJoin({days:Array(UInt16)})))
        GROUP BY day
        UNION ALL
        SELECT
            toUInt16(toDate(time)) AS day,
            -toInt64(sum(cityHash64(site_id, event_type, toUInt32(intDiv(toUnixTimestamp(time), 900))) * stats_quarter_hour.events)),
            0,
            0
        FROM stats_quarter_hour
        WHERE toDate(time) IN (SELECT toDate(arrayJoin({days:Array(UInt16)})))
        GROUP BY day
        UNION ALL
        SELECT toUInt16(date) AS day, 0, -toInt64(sum(cityHash64(site_id, event_type) * stats_day.events)), 0
        FROM stats_day
        WHERE date IN (SELECT toDate(arrayJoin({days:Array(UInt16)})))
        GROUP BY day
        UNION ALL
        SELECT toUInt16(date) AS day, 0, 0, -toInt64(sum(cityHash64(site_id, event_type, toString(path)) * paths_day.events))
        FROM paths_day
        WHERE date IN (SELECT toDate(arrayJoin({days:Array(UInt16)})))
        GROUP BY day
    )
    GROUP BY day
    HAVING sum(quarters) != 0 OR sum(whole) != 0 OR sum(paths) != 0
    UNION ALL
    SELECT arrayFirst(day -> toStartOfMonth(toDate(day)) = month, days) AS day
    FROM
    (
        SELECT
            toStartOfMonth(date)::Date AS month,
            toInt64(sum(cityHash64(site_id, event_type, toString(path)) * paths_day.events)) AS paths,
            toInt64(0) AS stats
        FROM paths_day
        WHERE toStartOfMonth(date)::Date IN (SELECT toStartOfMonth(toDate(arrayJoin({days:Array(UInt16)})))::Date)
        GROUP BY month
        UNION ALL
        SELECT paths_month.month AS month, -toInt64(sum(cityHash64(site_id, event_type, toString(path)) * paths_month.events)), 0
        FROM paths_month
        WHERE paths_month.month IN (SELECT toStartOfMonth(toDate(arrayJoin({days:Array(UInt16)})))::Date)
        GROUP BY month
        UNION ALL
        SELECT toStartOfMonth(date)::Date AS month, 0, toInt64(sum(cityHash64(site_id, event_type) * stats_day.events))
        FROM stats_day
        WHERE toStartOfMonth(date)::Date IN (SELECT toStartOfMonth(toDate(arrayJoin({days:Array(UInt16)})))::Date)
        GROUP BY month
        UNION ALL
        SELECT stats_month.month AS month, 0, -toInt64(sum(cityHash64(site_id, event_type) * stats_month.events))
        FROM stats_month
        WHERE stats_month.month IN (SELECT toStartOfMonth(toDate(arrayJoin({days:Array(UInt16)})))::Date)
        GROUP BY month
    )
    GROUP BY month
    HAVING sum(paths) != 0 OR sum(stats) != 0
)
ORDER BY day
