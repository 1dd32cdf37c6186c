-- Every mend ever begun: whether it is being made, and whether whoever made it said that it ended.
SELECT
    id,
    argMax(until, at) > now64(3) AS is_active,
    argMax(reason, at) = 'ended' AS has_ended
FROM mends
GROUP BY id
