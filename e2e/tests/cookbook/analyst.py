"""Asks the cookbook's questions as an analyst does, into pandas data frames.

Arguments: the port of ClickHouse's HTTP interface, and a JSON file with the parameters of the
queries and, for each query, its SQL and how many rows it has.
"""

import json
import sys
from datetime import date

import clickhouse_connect
from clickhouse_connect.driver.exceptions import DatabaseError

port, file = int(sys.argv[1]), sys.argv[2]
with open(file, encoding="utf-8") as text:
    asked = json.load(text)
parameters = asked["parameters"]

client = clickhouse_connect.get_client(host="127.0.0.1", port=port, username="analyst")
assert client.server_tz.tzname(None) in (None, "UTC"), client.server_tz

for title, recipe in asked["recipes"].items():
    frame = client.query_df(recipe["sql"], parameters=parameters)
    assert len(frame) == recipe["rows"], (title, len(frame), recipe["rows"])
    assert len(frame.columns) == recipe["columns"], (title, list(frame.columns))

# Dates given as dates, and types that pandas can reckon with.
stats = client.query_df(
    "SELECT * FROM weir.stats(site={site:String}, from={from:Date}, to={to:Date})",
    parameters={
        "site": parameters["site"],
        "from": date.fromisoformat(parameters["from"]),
        "to": date.fromisoformat(parameters["to"]),
    },
)
assert [int(stats["views"][0]), int(stats["users"][0])] == asked["stats"], stats
daily = client.query_df(
    "SELECT date, views FROM weir.daily_totals WHERE site_id = {site:String} AND date BETWEEN {from:Date} AND {to:Date}",
    parameters=parameters,
)
weekly = daily.set_index("date").sort_index()["views"].resample("W").sum()
assert int(weekly.sum()) == asked["stats"][0], weekly
assert len(weekly) == 4, weekly

# Raw rows, in blocks: types that are not plain come over as well.
rows = 0
with client.query_df_stream(
    "SELECT timestamp, event_type, event_id, props FROM weir.events WHERE site_id = {site:String}",
    parameters=parameters,
    settings={"max_threads": 2, "max_block_size": 1000},
) as blocks:
    for block in blocks:
        rows += len(block)
        assert str(block["timestamp"].dtype).startswith("datetime64"), block.dtypes
assert rows == asked["events"], rows

# Another database and limits of one's own, asked for as people do.
own = clickhouse_connect.get_client(
    host="127.0.0.1", port=port, username="analyst", database="weir", settings={"max_execution_time": 10}
)
assert own.command("SELECT count() FROM events WHERE site_id = %(site)s", parameters=parameters) == asked["events"]


def refused(sql, code, **options):
    try:
        client.query(sql, **options)
    except DatabaseError as error:
        assert f"code: {code}" in str(error), error
    else:
        raise AssertionError(f"an analyst could {sql}")


refused("INSERT INTO weir.daily VALUES (1)", 497)
refused("DROP TABLE weir.events", 497)
refused("SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')", 497)
refused("SELECT 1", 452, settings={"max_execution_time": 0})
print("python is content")
