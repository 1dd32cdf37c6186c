-- Every mend ever begun: whether it is being made, and whether whoever made it said that it ended.
SELECT
    id,
    argMax(until, at) > now64(3) AS is_active,
    argMax(reason, at) = 'ended' AS has_ended,
    toUnixTimestamp64Milli(max(at)) AS last_at
FROM mends
GROUP BY id
