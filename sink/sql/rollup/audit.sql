-- Keys of {table} whose figures are not those that the rows of events give.
SELECT
    count() AS keys,
    sum(raw_events) AS events,
    countIf(differs) AS differing,
    groupArrayIf(1000)(
        (toString(site), toString(period), toString(type), toString(page), of_bots = 1, raw_events, rolled_events, raw_users, rolled_users),
        differs
    ) AS differences
FROM
(
{compared}
)
