-- An upgrade brings stats_month empty, and it is filled after that.
SELECT
    ifNull((SELECT sum(events) FROM {database:Identifier}.stats_day), 0)
    <= ifNull((SELECT sum(events) FROM {database:Identifier}.stats_month), 0)
