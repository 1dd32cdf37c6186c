-- Days, since 1970, on which a rollup does not say the same as the rows. A month that does not say the
-- same as its days stands for its first day among them. A key goes in as a hash with its figures: of
-- two cuts that were torn together one may have reached the rows alone and the other the rollup alone,
-- and as many events are not the same events, nor of the same users. Once its cuts are stored a rollup
-- can only lack users, so it has lost none where it estimates as many. Sums wrap, and so cancel out.
WITH {days:Array(UInt16)} AS days
SELECT DISTINCT day
FROM
(
    SELECT day
    FROM
    (
        SELECT day, toInt64(sum(quarters)) AS quarters, toInt64(sum(whole)) AS whole, toInt64(sum(paths)) AS paths
        FROM
        (
            SELECT
                toUInt16(toDate(time)) AS day,
                sum(cityHash64(site_id, event_type, toUnixTimestamp(time), counted, finalizeAggregation(states))) AS quarters,
                cityHash64(site_id, event_type, sum(counted), uniqCombined64Merge(17)(states)) AS whole,
                sum(paths) AS paths
            FROM
            (
                SELECT
                    site_id,
                    event_type,
                    toStartOfFifteenMinutes(timestamp) AS time,
                    count() AS counted,
                    uniqCombined64StateIf(17)(user_id, user_id != '') AS states,
                    sum(cityHash64(site_id, event_type, toString(path))) AS paths
                FROM events
                WHERE toDate(timestamp) IN (SELECT toDate(arrayJoin({days:Array(UInt16)})))
                GROUP BY site_id, event_type, time
            )
            GROUP BY site_id, event_type, day
        )
        GROUP BY day
        UNION ALL
        SELECT
            toUInt16(toDate(time)) AS day,
            -toInt64(sum(cityHash64(site_id, event_type, toUnixTimestamp(time), counted, merged))),
            0,
            0
        FROM
        (
            SELECT site_id, event_type, time, sum(stats_quarter_hour.events) AS counted, uniqCombined64Merge(17)(users) AS merged
            FROM stats_quarter_hour
            WHERE toDate(time) IN (SELECT toDate(arrayJoin({days:Array(UInt16)})))
            GROUP BY site_id, event_type, time
        )
        GROUP BY day
        UNION ALL
        SELECT toUInt16(date) AS day, 0, -toInt64(sum(cityHash64(site_id, event_type, counted, merged))), 0
        FROM
        (
            SELECT site_id, event_type, date, sum(stats_day.events) AS counted, uniqCombined64Merge(17)(users) AS merged
            FROM stats_day
            WHERE date IN (SELECT toDate(arrayJoin({days:Array(UInt16)})))
            GROUP BY site_id, event_type, date
        )
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
            toInt64(0) AS whole
        FROM paths_day
        WHERE toStartOfMonth(date)::Date IN (SELECT toStartOfMonth(toDate(arrayJoin({days:Array(UInt16)})))::Date)
        GROUP BY month
        UNION ALL
        SELECT paths_month.month AS month, -toInt64(sum(cityHash64(site_id, event_type, toString(path)) * paths_month.events)), 0
        FROM paths_month
        WHERE paths_month.month IN (SELECT toStartOfMonth(toDate(arrayJoin({days:Array(UInt16)})))::Date)
        GROUP BY month
        UNION ALL
        SELECT month, 0, toInt64(sum(cityHash64(site_id, event_type, counted, merged)))
        FROM
        (
            SELECT
                site_id,
                event_type,
                toStartOfMonth(date)::Date AS month,
                sum(stats_day.events) AS counted,
                uniqCombined64Merge(17)(users) AS merged
            FROM stats_day
            WHERE toStartOfMonth(date)::Date IN (SELECT toStartOfMonth(toDate(arrayJoin({days:Array(UInt16)})))::Date)
            GROUP BY site_id, event_type, month
        )
        GROUP BY month
        UNION ALL
        SELECT month, 0, -toInt64(sum(cityHash64(site_id, event_type, counted, merged)))
        FROM
        (
            SELECT
                site_id,
                event_type,
                stats_month.month AS month,
                sum(stats_month.events) AS counted,
                uniqCombined64Merge(17)(users) AS merged
            FROM stats_month
            WHERE stats_month.month IN (SELECT toStartOfMonth(toDate(arrayJoin({days:Array(UInt16)})))::Date)
            GROUP BY site_id, event_type, month
        )
        GROUP BY month
    )
    GROUP BY month
    HAVING sum(paths) != 0 OR sum(whole) != 0
)
ORDER BY day
