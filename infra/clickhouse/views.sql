-- Which of these views are there, and whether each has its query and fills its table. Both queries
-- are formatted by the same server, so they compare whatever its version makes of them. The
-- server writes the database before the table that a view reads.
SELECT
    name,
    engine = 'MaterializedView'
        AND ifNull(formatQuerySingleLineOrNull(as_select) IN (
            formatQuerySingleLineOrNull(query),
            formatQuerySingleLineOrNull(replaceOne(query, '\nFROM ', concat('\nFROM `', currentDatabase(), '`.')))
        ), false)
        AND extract(create_table_query, ' TO (?:(?:`[^`]*`|[0-9A-Za-z_]+)\\.)?([0-9A-Za-z_]+) ') = target AS is_as_made
FROM
(
    SELECT
        name,
        engine,
        as_select,
        create_table_query,
        transform(name, {names:Array(String)}, {targets:Array(String)}, '') AS target,
        transform(name, {names:Array(String)}, {queries:Array(String)}, '') AS query
    FROM system.tables
    WHERE database = currentDatabase() AND name IN ({names:Array(String)})
)
