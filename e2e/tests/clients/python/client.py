"""clickhouse-connect and pandas. Arguments: the ports of HTTP and of the native protocol."""

import sys
import threading
import time

import clickhouse_connect
import pandas
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_connect.driver.external import ExternalData

_, PORT, _ = sys.argv
LONG = "SELECT sum(sleepEachRow(1)) FROM numbers(50) SETTINGS max_block_size = 1"


def row(operation, user, expected, attempt):
    """One line of the matrix: what was done, by whom, what is expected and what was found."""
    try:
        found = attempt()
    except DatabaseError as error:
        found = f"refused: {error.code}"
    print(operation, user, expected, str(found).replace("\n", " "), sep="\t", flush=True)


def connect(user, **options):
    return clickhouse_connect.get_client(host="127.0.0.1", port=int(PORT), username=user, database="weir", **options)


def one(client, statement, **options):
    return client.query(statement, **options).result_rows[0][0]


def insert(client, rows):
    client.insert("python", rows, column_names=["a", "b"])
    return one(client, "SELECT count() FROM python")


def insert_frame(client):
    client.insert_df("python", pandas.DataFrame({"a": range(1000), "b": map(str, range(1000))}))
    return one(client, "SELECT count() FROM python")


def frame(client):
    found = client.query_df("SELECT path, count() AS views FROM events GROUP BY path ORDER BY path")
    return f"{list(found['path'])} {found['views'].sum()}"


def stream(client):
    with client.query_row_block_stream("SELECT number FROM numbers(100000)", settings={"max_block_size": 1000}) as blocks:
        return sum(len(block) for block in blocks)


def temporary(client):
    client.command("CREATE TEMPORARY TABLE t (a UInt64)")
    client.insert("t", [[1], [2]], column_names=["a"], column_type_names=["UInt64"])
    return one(client, "SELECT sum(a) FROM t")


def setting(client):
    client.command("SET max_threads = 2")
    return one(client, "SELECT getSetting('max_threads')")


def external(client):
    data = ExternalData(file_name="ext", fmt="TSV", structure="a UInt64", data=b"5\n6\n")
    return one(client, "SELECT sum(a) FROM ext", external_data=data)


def kill(user, service):
    """Kills a long statement by its id; "ended" once the server runs it no more."""
    query_id, outcome = f"python-{user}", []

    def run():
        try:
            outcome.append(one(connect(user), LONG, settings={"query_id": query_id}))
        except DatabaseError as error:
            outcome.append(f"refused: {error.code}")

    thread = threading.Thread(target=run)
    thread.start()
    running = f"SELECT count() FROM system.processes WHERE query_id = '{query_id}'"
    until(lambda: one(service, running) == 1)
    connect(user).command(f"KILL QUERY WHERE query_id = '{query_id}'")
    until(lambda: one(service, running) == 0)
    thread.join(20)
    return outcome[0]


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


service = connect("default")
row("create a table", "default", "done", lambda: service.command("CREATE TABLE python (a UInt64, b String) ENGINE = MergeTree ORDER BY a") and "done")
for user in ("default", "analyst"):
    is_service = user == "default"
    client = connect(user)

    def only(result):
        return result if is_service else "refused: 497"

    row("ping", user, True, client.ping)
    row("query with parameters", user, 5, lambda: one(client, "SELECT count() FROM events WHERE path = {path:String}", parameters={"path": "/a"}))
    for number, compression in enumerate((False, "gzip", "zstd"), 1):
        packed = connect(user, compress=compression)
        row(f"{compression or 'none'}: a stream of 100,000 rows", user, 100_000, lambda: stream(packed))
        row(f"{compression or 'none'}: insert 1,000 rows", user, only(number * 1000), lambda: insert(packed, [[n, str(n)] for n in range(1000)]))
    row("insert a data frame", user, only(4000), lambda: insert_frame(client))
    row("query a data frame", user, "['/a', '/b', '/c', '/d'] 20", lambda: frame(client))
    session = connect(user, session_id=f"python-{user}")
    row("session: temporary table", user, only(3), lambda: temporary(session))
    row("session: a setting", user, 2, lambda: setting(session))
    row("external data", user, 11, lambda: external(client))
    row("KILL by query_id", user, "refused: 394", lambda: kill(user, service))
    row("a statement that fails", user, "refused: 60", lambda: one(client, "SELECT * FROM weir.nothing"))
analyst = connect("analyst")
row("drop a table", "analyst", "refused: 497", lambda: analyst.command("DROP TABLE weir.python"))
row("lift a limit", "analyst", "refused: 452", lambda: one(analyst, "SELECT 1 SETTINGS max_execution_time = 0"))
row("lift a limit of the connection", "analyst", "refused: 452", lambda: one(analyst, "SELECT 1", settings={"max_result_rows": 0}))
