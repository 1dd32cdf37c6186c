-- Every key of {table}, with the figures that {source} gives and those that it holds. Filled in for
-- each rollup, as are all files of this folder; which keys are wanted is a condition on site, period,
-- type and page.
SELECT
    site,
    period,
    type,
    page,
    of_bots,
    sum(raw.1) AS raw_events,
    sum(rolled.1) AS rolled_events,
    sum(raw.2) AS raw_users,
    sum(rolled.2) AS rolled_users,
    (raw_events != rolled_events OR raw_users != rolled_users) AS differs
FROM
(
    SELECT
        site_id AS site,
        {period} AS period,
        event_type AS type,
        {path} AS page,
        {bot} AS of_bots,
        ({events}, {users}) AS raw,
        (toUInt64(0), toUInt64(0)) AS rolled
    FROM {source}
    WHERE {wanted}
    GROUP BY site, period, type, page, of_bots
    UNION ALL
    SELECT
        site_id AS site,
        {time} AS period,
        event_type AS type,
        {path} AS page,
        bot AS of_bots,
        (toUInt64(0), toUInt64(0)) AS raw,
        (sum(events), {own_users}) AS rolled
    FROM {table}
    WHERE {wanted}
    GROUP BY site, period, type, page, of_bots
)
GROUP BY site, period, type, page, of_bots
