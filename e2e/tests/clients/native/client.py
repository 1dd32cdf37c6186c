"""clickhouse-driver, a client of the native protocol. Arguments: the ports of HTTP and of it."""

import socket
import sys
import threading
import time

from clickhouse_driver import Client
from clickhouse_driver.errors import ServerException

_, _, PORT = sys.argv
LONG = "SELECT sum(sleepEachRow(1)) FROM numbers(50) SETTINGS max_block_size = 1"


def row(operation, user, expected, attempt):
    """One line of the matrix: what was done, by whom, what is expected and what was found."""
    try:
        found = attempt()
    except ServerException as error:
        found = f"refused: {error.code}"
    print(operation, user, expected, str(found).replace("\n", " "), sep="\t", flush=True)


def connect(user, **options):
    return Client("127.0.0.1", port=int(PORT), user=user, database="weir", **options)


def one(client, statement, *arguments, **options):
    return client.execute(statement, *arguments, **options)[0][0]


def progress(client):
    """The rows that the server has announced on the way."""
    running = client.execute_with_progress("SELECT sum(ignore(number)) FROM numbers(20000000)")
    seen = [rows for rows, _ in running]
    return "announced" if seen and running.get_result() else seen


def insert(client, table):
    client.execute(f"INSERT INTO {table} VALUES", [(n, f"row {n}") for n in range(10_000)])
    return one(client, f"SELECT count() FROM {table}")


def external(client):
    tables = [{"name": "ext", "structure": [("a", "Int32")], "data": [{"a": 5}, {"a": 6}]}]
    return one(client, "SELECT sum(a) FROM ext", external_tables=tables)


def temporary(client):
    client.execute("CREATE TEMPORARY TABLE t (a UInt64)")
    client.execute("INSERT INTO t VALUES", [(1,), (2,)])
    return one(client, "SELECT sum(a) FROM t")


def setting(client):
    client.execute("SET max_threads = 2")
    return one(client, "SELECT getSetting('max_threads')")


def leave(user, service, how):
    """Begins a long statement and leaves it; "ended" once the server runs it no more."""
    client, query_id = connect(user), f"native-{user}-{how.__name__}"
    outcome = []

    def run():
        try:
            outcome.append(one(client, LONG, query_id=query_id))
        except Exception as error:  # However it ends, the server is what is asked.
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    running = f"SELECT count() FROM system.processes WHERE query_id = '{query_id}'"
    if not until(lambda: one(service, running) == 1):
        return f"it does not run: {outcome}"
    how(client, user, query_id)
    ended = until(lambda: one(service, running) == 0)
    thread.join(20)
    return "ended" if ended and isinstance(outcome[0], Exception) else f"{ended} {outcome}"


def kill(_, user, query_id):
    connect(user).execute(f"KILL QUERY WHERE query_id = '{query_id}'")


def cancel(client, *_):
    client.connection.send_cancel()


def hang_up(client, *_):
    client.connection.socket.shutdown(socket.SHUT_RDWR)


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


service = connect("default")
for compression in (False, "lz4"):
    name = compression or "none"
    table = f"weir.native_{name}"
    row(f"{name}: create a table", "default", [], lambda: service.execute(f"CREATE TABLE {table} (a UInt64, b String) ENGINE = MergeTree ORDER BY a"))
    for user in ("default", "analyst"):
        client = connect(user, compression=compression)
        by_path = "SELECT count() FROM events WHERE path = %(path)s"
        row(f"{name}: query with parameters", user, 5, lambda: one(client, by_path, {"path": "/a"}))
        row(f"{name}: 100,000 rows", user, 100_000, lambda: len(client.execute("SELECT number, toString(number) FROM numbers(100000)")))
        inserted = {"default": 10_000, "analyst": "refused: 497"}[user]
        row(f"{name}: insert 10,000 rows", user, inserted, lambda: insert(connect(user, compression=compression), table))
for user in ("default", "analyst"):
    is_service = user == "default"
    row("typed parameters", user, 5, lambda: one(connect(user, settings={"server_side_params": True}), "SELECT count() FROM events WHERE path = {path:String}", {"path": "/a"}))
    row("progress", user, "announced", lambda: progress(connect(user)))
    row("external table", user, 11, lambda: external(connect(user)))
    row("temporary table", user, 3 if is_service else "refused: 497", lambda: temporary(connect(user)))
    row("a setting of the connection", user, 2, lambda: setting(connect(user)))
    row("a stream of rows", user, 100_000, lambda: sum(1 for _ in connect(user).execute_iter("SELECT number FROM numbers(100000)", {"max_block_size": 1000})))
    for how in (kill, cancel, hang_up):
        row({kill: "KILL by query_id", cancel: "cancel", hang_up: "hang up"}[how], user, "ended", lambda: leave(user, service, how))
    row("a statement that fails", user, "refused: 60", lambda: one(connect(user), "SELECT * FROM weir.nothing"))
row("KILL the service's statements", "analyst", [], lambda: connect("analyst").execute("KILL QUERY WHERE user = 'default'"))
row("drop a table", "analyst", "refused: 497", lambda: connect("analyst").execute("DROP TABLE weir.native_none"))
row("lift a limit", "analyst", "refused: 452", lambda: one(connect("analyst"), "SELECT 1 SETTINGS max_execution_time = 0"))
row("lift a limit of the connection", "analyst", "refused: 452", lambda: one(connect("analyst", settings={"max_result_rows": 0}), "SELECT 1"))
row("become another profile", "analyst", "refused: 452", lambda: connect("analyst").execute("SET profile = 'default'"))
