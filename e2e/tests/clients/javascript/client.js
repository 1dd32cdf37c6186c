// @clickhouse/client. Arguments: the ports of HTTP and of the native protocol.
import { Readable } from "node:stream";
import { ClickHouseLogLevel, createClient } from "@clickhouse/client";

const [, , port] = process.argv;
const long = "SELECT sleepEachRow(1) FROM numbers(50) SETTINGS max_block_size = 1";

const connect = (username, options = {}) =>
    createClient({
        url: `http://127.0.0.1:${port}`,
        username,
        database: "weir",
        // Refusals are expected here, and printed below.
        log: { level: ClickHouseLogLevel.OFF },
        ...options,
    });

// One line of the matrix: what was done, by whom, what is expected and what was found.
const row = async (operation, user, expected, attempt) => {
    const found = await attempt().catch((error) => (error.code ? `refused: ${error.code}` : String(error)));
    console.log([operation, user, expected, String(found).replaceAll("\n", " ")].join("\t"));
};

const one = async (client, query, options = {}) => {
    const answer = await client.query({ query, format: "JSONCompactEachRow", ...options });
    return (await answer.json())[0][0];
};

const streamed = async (client) => {
    const query = "SELECT number FROM numbers(100000)";
    const answer = await client.query({ query, format: "JSONEachRow" });
    let rows = 0;
    for await (const some of answer.stream()) rows += some.length;
    return rows;
};

// A statement that fails once rows have been sent.
const cut = async (client) => {
    const query = "SELECT throwIf(number = 300000) FROM numbers(400000) SETTINGS max_block_size = 10000";
    const answer = await client.query({ query, format: "JSONEachRow" });
    for await (const some of answer.stream()) some.forEach((line) => line.json());
    return "it came to its end";
};

const inserted = async (client, table, values) => {
    await client.insert({ table, values, format: "JSONEachRow" });
    return one(client, `SELECT count() FROM ${table}`);
};
const values = () => Array.from({ length: 1000 }, (_, a) => ({ a, b: `row ${a}` }));

const until = async (condition) => {
    const deadline = Date.now() + 20_000;
    while (!(await condition())) {
        if (Date.now() > deadline) return false;
        await new Promise((next) => setTimeout(next, 50));
    }
    return true;
};

// Begins a long statement and leaves it; "ended" once the server runs it no more.
const left = async (client, service, query_id, leave) => {
    const abort = new AbortController();
    const outcome = one(client, long, { query_id, abort_signal: abort.signal }).then(
        () => "it ran to its end",
        () => "ended",
    );
    const running = async () => Number(await one(service, `SELECT count() FROM system.processes WHERE query_id = '${query_id}'`));
    if (!(await until(async () => (await running()) === 1))) return "it does not run";
    await leave(abort);
    if (!(await until(async () => (await running()) === 0))) return "it runs on";
    return outcome;
};

const temporary = async (client) => {
    await client.command({ query: "CREATE TEMPORARY TABLE t (a UInt64)" });
    await client.insert({ table: "t", values: [{ a: 1 }, { a: 2 }], format: "JSONEachRow" });
    return one(client, "SELECT sum(a) FROM t");
};

const setInSession = async (client) => {
    await client.command({ query: "SET max_threads = 2" });
    return one(client, "SELECT getSetting('max_threads')");
};

const service = connect("default");
const table = "weir.javascript";
await row("create a table", "default", "done", async () => {
    await service.command({ query: `CREATE TABLE ${table} (a UInt64, b String) ENGINE = MergeTree ORDER BY a` });
    return "done";
});
for (const user of ["default", "analyst"]) {
    const isService = user === "default";
    const client = connect(user);
    const only = (result) => (isService ? result : "refused: 497");
    await row("ping", user, true, async () => (await client.ping()).success);
    await row("ping by SELECT", user, true, async () => (await client.ping({ select: true })).success);
    await row("query with parameters", user, 5, () =>
        one(client, "SELECT count() FROM events WHERE path = {path:String}", { query_params: { path: "/a" } }));
    await row("a stream of 100,000 rows", user, 100_000, () => streamed(client));
    await row("insert 1,000 values", user, only(1000), () => inserted(client, table, values()));
    await row("insert a stream", user, only(2000), () => inserted(client, table, Readable.from(values())));
    const packed = connect(user, { compression: { request: true, response: true } });
    await row("compressed: a stream of 100,000 rows", user, 100_000, () => streamed(packed));
    await row("compressed: insert 1,000 values", user, only(3000), () => inserted(packed, table, values()));
    const session = connect(user, { session_id: `javascript-${user}` });
    await row("session: temporary table", user, only(3), () => temporary(session));
    await row("session: a setting", user, 2, () => setInSession(session));
    await row("KILL by query_id", user, "ended", () =>
        left(client, service, `javascript-killed-${user}`, () =>
            client.command({ query: `KILL QUERY WHERE query_id = 'javascript-killed-${user}'` })));
    // Who leaves an HTTP statement of a user that may write leaves it running: a server does so, too.
    if (!isService) {
        await row("abort", user, "ended", () => left(client, service, `javascript-${user}`, (abort) => abort.abort()));
    }
    await row("a statement that fails", user, "refused: 60", () => one(client, "SELECT * FROM weir.nothing"));
    await row("a statement that fails half way", user, "refused: 395", () => cut(client));
    await row("compressed: a statement that fails half way", user, "refused: 395", () => cut(packed));
}
const analyst = connect("analyst");
await row("drop a table", "analyst", "refused: 497", () => analyst.command({ query: `DROP TABLE ${table}` }));
await row("lift a limit", "analyst", "refused: 452", () => one(analyst, "SELECT 1 SETTINGS max_execution_time = 0"));
await row("lift a limit of the connection", "analyst", "refused: 452", () =>
    one(connect("analyst", { clickhouse_settings: { max_result_rows: "0" } }), "SELECT 1"));
process.exit();
