-- Keys of stats_month whose figures are not those that the rows of events give.
SELECT
    count() AS keys,
    sum(raw_events) AS events,
    countIf(raw_events != rolled_events OR raw_users != rolled_users) AS differing,
    groupArrayIf(1000)(
        (toString(site), toString(period), toString(type), toString(page), raw_events, rolled_events, raw_users, rolled_users),
        raw_events != rolled_events OR raw_users != rolled_users
    ) AS differences
FROM
(
    SELECT
        site,
        period,
        type,
        page,
        sum(raw.1) AS raw_events,
        sum(rolled.1) AS rolled_events,
        sum(raw.2) AS raw_users,
        sum(rolled.2) AS rolled_users
    FROM
    (
        SELECT
            site_id AS site,
            toStartOfMonth(timestamp) AS period,
            event_type AS type,
            '' AS page,
            (count(), uniqCombined64If(17)(user_id, user_id != '')) AS raw,
            (toUInt64(0), toUInt64(0)) AS rolled
        FROM events
        WHERE toDate(timestamp) >= toDate({from:UInt16})
            AND toDate(timestamp) <= toDate({to:UInt16})
            AND cityHash64(site_id) % {shares:UInt64} = {share:UInt64}
        GROUP BY site, period, type, page
        UNION ALL
        SELECT
            site_id AS site,
            month AS period,
            event_type AS type,
            '' AS page,
            (toUInt64(0), toUInt64(0)) AS raw,
            (sum(events), uniqCombined64Merge(17)(users)) AS rolled
        FROM stats_month
        WHERE month >= toDate({from:UInt16})
            AND month <= toDate({to:UInt16})
            AND cityHash64(site_id) % {shares:UInt64} = {share:UInt64}
        GROUP BY site, period, type, page
    )
    GROUP BY site, period, type, page
)
