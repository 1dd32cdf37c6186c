-- Everybody who ever saw to the rollups: whether they do now, whether they said that they were done,
-- and when they last made days anew.
SELECT
    id,
    argMax(until, at) > now64(3) AS is_active,
    argMax(reason, at) = 'ended' AS has_ended,
    if(max(notEmpty(dates)), toUnixTimestamp64Milli(max(at)), 0) AS last_at
FROM mends
GROUP BY id
