-- Everybody who ever saw to the rollups: whether they do now, and whether they said that they were
-- done.
SELECT
    id,
    argMax(until, at) > now64(3) AS is_active,
    argMax(reason, at) = 'ended' AS has_ended
FROM mends
GROUP BY id
