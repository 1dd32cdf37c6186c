import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The JDBC driver, and what Metabase and DBeaver look up through it. Arguments: the ports of HTTP
 * and of the native protocol.
 */
public class Client {
    private static final Pattern CODE = Pattern.compile("Code: (\\d+)");
    private static String port;

    public static void main(String[] arguments) throws Exception {
        port = arguments[0];
        try (Connection service = connect("default")) {
            row("create a table", "default", "done", () -> update(service, "CREATE TABLE weir.java (a UInt64, b String) ENGINE = MergeTree ORDER BY a"));
            for (String user : List.of("default", "analyst")) {
                try (Connection connection = connect(user)) {
                    use(connection, service, user);
                    lookUp(connection, user);
                }
            }
            try (Connection analyst = connect("analyst")) {
                row("drop a table", "analyst", "refused: 497", () -> update(analyst, "DROP TABLE weir.java"));
                row("lift a limit", "analyst", "refused: 452", () -> scalar(analyst, "SELECT 1 SETTINGS max_execution_time = 0"));
            }
            row("lift a limit of the connection", "analyst", "refused: 452", () -> {
                try (Connection lifted = connect("analyst", "clickhouse_setting_max_result_rows", "0")) {
                    return scalar(lifted, "SELECT 1");
                }
            });
        }
        // The driver's own threads would keep the process.
        System.exit(0);
    }

    private static void use(Connection connection, Connection service, String user) {
        row("is valid", user, "true", () -> connection.isValid(5));
        row("prepared statement", user, "5", () -> {
            try (var statement = connection.prepareStatement("SELECT count() FROM events WHERE path = ? AND site_id = ?")) {
                statement.setString(1, "/a");
                statement.setString(2, "shop");
                return first(statement.executeQuery());
            }
        });
        row("100,000 rows", user, "100000", () -> {
            try (var statement = connection.createStatement()) {
                return column(statement.executeQuery("SELECT number FROM numbers(100000)"), 1).size();
            }
        });
        row("limit of rows", user, "10", () -> {
            try (var statement = connection.createStatement()) {
                statement.setMaxRows(10);
                return column(statement.executeQuery("SELECT number FROM numbers(100000) ORDER BY number"), 1).size();
            }
        });
        row("batch of 1,000 rows", user, user.equals("default") ? "1000" : "refused: 497", () -> {
            try (var statement = connection.prepareStatement("INSERT INTO weir.java (a, b) VALUES (?, ?)")) {
                for (int number = 0; number < 1000; number++) {
                    statement.setLong(1, number);
                    statement.setString(2, "row " + number);
                    statement.addBatch();
                }
                statement.executeBatch();
            }
            return scalar(connection, "SELECT count() FROM weir.java");
        });
        row("cancel from another thread", user, "ended", () -> cancel(connection, service, user));
        row("time-out of a statement", user, "refused: 159", () -> {
            try (var statement = connection.createStatement()) {
                return first(statement.executeQuery("SELECT sum(sleepEachRow(0.1)) FROM numbers(500) SETTINGS max_block_size = 1, max_execution_time = 1"));
            }
        });
        row("a statement that fails", user, "refused: 60", () -> scalar(connection, "SELECT * FROM weir.nothing"));
    }

    private static void lookUp(Connection connection, String user) {
        DatabaseMetaData data;
        try {
            data = connection.getMetaData();
        } catch (SQLException error) {
            throw new IllegalStateException(error);
        }
        row("look up: product", user, "ClickHouse", data::getDatabaseProductName);
        row("look up: version", user, "yes", () -> data.getDatabaseProductVersion().matches("\\d+\\.\\d+.*") ? "yes" : data.getDatabaseProductVersion());
        row("look up: getSchemas", user, "yes", () -> has(data.getSchemas(), "TABLE_SCHEM", "weir"));
        row("look up: getCatalogs", user, "answered", () -> answered(data.getCatalogs()));
        row("look up: getTableTypes", user, "answered", () -> answered(data.getTableTypes()));
        row("look up: getTables", user, "yes", () -> has(data.getTables(null, "weir", "%", null), "TABLE_NAME", "events", "daily", "stats_day"));
        row("look up: getTables, no database named", user, "yes", () -> has(data.getTables(null, null, "%", new String[] {"TABLE", "VIEW"}), "TABLE_NAME", "events", "daily"));
        row("look up: getColumns", user, "yes", () -> has(data.getColumns(null, "weir", "events", "%"), "COLUMN_NAME", "site_id", "path", "timestamp"));
        row("look up: getPrimaryKeys", user, "answered", () -> answered(data.getPrimaryKeys(null, "weir", "events")));
        row("look up: getIndexInfo", user, "answered", () -> answered(data.getIndexInfo(null, "weir", "events", false, true)));
        row("look up: getImportedKeys", user, "answered", () -> answered(data.getImportedKeys(null, "weir", "events")));
        row("look up: getTypeInfo", user, "yes", () -> has(data.getTypeInfo(), "TYPE_NAME", "UInt64", "String"));
        row("look up: getFunctions", user, "yes", () -> has(data.getFunctions(null, null, "%"), "FUNCTION_NAME", "uniqCombined64"));
        for (String statement : List.of(
                "SELECT version()",
                "SELECT timezone()",
                "SELECT currentDatabase(), currentUser()",
                "SELECT name FROM system.databases",
                "SHOW DATABASES",
                "SELECT name, engine, create_table_query, total_rows, total_bytes, comment FROM system.tables WHERE database = 'weir'",
                "SELECT * FROM system.tables WHERE database = 'weir'",
                "SELECT * FROM system.columns WHERE database = 'weir' AND table = 'events'",
                "SELECT name FROM system.data_type_families",
                "SELECT name FROM system.table_engines",
                "SELECT name, is_aggregate FROM system.functions",
                "SELECT name FROM system.formats",
                "SELECT name, value, type FROM system.settings",
                "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'weir'",
                "SHOW CREATE TABLE weir.events",
                "SHOW CREATE TABLE weir.daily",
                "DESCRIBE TABLE weir.events",
                "EXPLAIN SELECT count() FROM weir.events",
                "SHOW GRANTS",
                "SELECT query_id, query FROM system.processes",
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'weir'",
                "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'weir'")) {
            row("look up: " + statement, user, "answered", () -> {
                try (var asked = connection.createStatement()) {
                    return column(asked.executeQuery(statement), 1).isEmpty() ? "no row" : "answered";
                }
            });
        }
    }

    /** "ended" once the server runs a statement no more that another thread has cancelled. */
    private static String cancel(Connection connection, Connection service, String user) throws Exception {
        String mark = "cancelled by " + user;
        String running = "SELECT count() FROM system.processes WHERE query LIKE '%cancelled by " + user + "%' AND query NOT LIKE '%processes%'";
        try (var statement = connection.createStatement()) {
            var outcome = CompletableFuture.supplyAsync(() -> {
                try {
                    return first(statement.executeQuery("SELECT '" + mark + "', sum(sleepEachRow(1)) FROM numbers(50) SETTINGS max_block_size = 1"));
                } catch (SQLException error) {
                    return "refused";
                }
            });
            if (!until(service, running, "1")) return "it does not run";
            statement.cancel();
            if (!until(service, running, "0")) return "it runs on";
            return outcome.get(30, TimeUnit.SECONDS).equals("refused") ? "ended" : "it ran to its end";
        }
    }

    private static boolean until(Connection service, String statement, String wanted) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
        while (!scalar(service, statement).equals(wanted)) {
            if (System.nanoTime() > deadline) return false;
            Thread.sleep(50);
        }
        return true;
    }

    private static Connection connect(String user, String... more) throws SQLException {
        var properties = new Properties();
        properties.setProperty("user", user);
        properties.setProperty("password", "");
        for (int index = 0; index < more.length; index += 2) properties.setProperty(more[index], more[index + 1]);
        return DriverManager.getConnection("jdbc:clickhouse://127.0.0.1:" + port + "/weir", properties);
    }

    private static String update(Connection connection, String statement) throws SQLException {
        try (var update = connection.createStatement()) {
            update.executeUpdate(statement);
            return "done";
        }
    }

    private static String scalar(Connection connection, String statement) throws SQLException {
        try (var asked = connection.createStatement()) {
            return first(asked.executeQuery(statement));
        }
    }

    private static String first(ResultSet rows) throws SQLException {
        try (rows) {
            return rows.next() ? rows.getString(1) : "no row";
        }
    }

    private static List<String> column(ResultSet rows, Object column) throws SQLException {
        var found = new ArrayList<String>();
        try (rows) {
            while (rows.next()) {
                found.add(column instanceof String name ? rows.getString(name) : rows.getString((int) column));
            }
        }
        return found;
    }

    private static String has(ResultSet rows, String column, String... wanted) throws SQLException {
        List<String> found = column(rows, column);
        for (String one : wanted) {
            if (!found.contains(one)) return "no " + one + " among " + found.size() + " rows";
        }
        return "yes";
    }

    private static String answered(ResultSet rows) throws SQLException {
        column(rows, 1);
        return "answered";
    }

    /** One line of the matrix: what was done, by whom, what is expected and what was found. */
    private static void row(String operation, String user, String expected, Callable<Object> attempt) {
        String found;
        try {
            found = String.valueOf(attempt.call());
        } catch (Exception error) {
            found = refusal(error);
        }
        System.out.println(String.join("\t", operation, user, expected, found.replaceAll("\\s+", " ")));
    }

    private static String refusal(Exception error) {
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            Matcher code = CODE.matcher(String.valueOf(cause.getMessage()));
            if (code.find()) return "refused: " + code.group(1);
            if (cause instanceof SQLException refused && refused.getErrorCode() > 0) return "refused: " + refused.getErrorCode();
        }
        return error.toString();
    }
}
