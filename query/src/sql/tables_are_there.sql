SELECT count() = length({tables:Array(String)})
FROM system.tables
WHERE database = {database:String} AND name IN {tables:Array(String)}
