// clickhouse-go, and the statements that Grafana's data source sends through it.
// Arguments: the ports of HTTP and of the native protocol.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

var users = []string{"default", "analyst"}

// One line of the matrix: what was done, by whom, what is expected and what was found.
func row(operation, user, expected string, try func() (string, error)) {
	found, err := try()
	if err != nil {
		found = refusal(err)
	}
	fmt.Printf("%s\t%s\t%s\t%s\n", operation, user, expected, strings.ReplaceAll(found, "\n", " "))
}

func refusal(err error) string {
	var exception *clickhouse.Exception
	if errors.As(err, &exception) {
		return fmt.Sprintf("refused: %d", exception.Code)
	}
	// Over HTTP the driver hands on ClickHouse's words.
	if _, words, found := strings.Cut(err.Error(), "Code: "); found {
		code, _, _ := strings.Cut(words, ".")
		return "refused: " + code
	}
	return err.Error()
}

func open(port, user string, protocol clickhouse.Protocol, method clickhouse.CompressionMethod) *sql.DB {
	db := clickhouse.OpenDB(&clickhouse.Options{
		Addr:        []string{"127.0.0.1:" + port},
		Auth:        clickhouse.Auth{Database: "weir", Username: user},
		Protocol:    protocol,
		Compression: &clickhouse.Compression{Method: method},
		DialTimeout: 10 * time.Second,
		ReadTimeout: 60 * time.Second,
	})
	db.SetMaxOpenConns(2)
	return db
}

func scalar(db *sql.DB, statement string, arguments ...any) (string, error) {
	return scalarIn(context.Background(), db, statement, arguments...)
}

func scalarIn(ctx context.Context, db *sql.DB, statement string, arguments ...any) (string, error) {
	var value any
	err := db.QueryRowContext(ctx, statement, arguments...).Scan(&value)
	return fmt.Sprint(value), err
}

// The first column of every row.
func column(db *sql.DB, statement string) ([]string, error) {
	rows, err := db.Query(statement)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var found []string
	for rows.Next() {
		values := make([]any, len(names))
		pointers := make([]any, len(names))
		for index := range values {
			pointers[index] = &values[index]
		}
		if err := rows.Scan(pointers...); err != nil {
			return nil, err
		}
		found = append(found, fmt.Sprint(values[0]))
	}
	return found, rows.Err()
}

// "yes" where every one of `wanted` is among the first column's values.
func has(db *sql.DB, statement string, wanted ...string) (string, error) {
	found, err := column(db, statement)
	for _, one := range wanted {
		if err == nil && !strings.Contains("\n"+strings.Join(found, "\n")+"\n", "\n"+one+"\n") {
			return fmt.Sprintf("no %s among %d rows", one, len(found)), nil
		}
	}
	return "yes", err
}

func insert(db *sql.DB, table string) (string, error) {
	transaction, err := db.Begin()
	if err != nil {
		return "", err
	}
	defer transaction.Rollback()
	batch, err := transaction.Prepare("INSERT INTO " + table)
	if err != nil {
		return "", err
	}
	for number := range 1000 {
		if _, err := batch.Exec(uint64(number), strconv.Itoa(number)); err != nil {
			return "", err
		}
	}
	if err := transaction.Commit(); err != nil {
		return "", err
	}
	return scalar(db, "SELECT count() FROM "+table)
}

// Leaves a long statement; "ended" once the server runs it no more.
func cancel(db, service *sql.DB, id string, leave func(cancel context.CancelFunc) error) (string, error) {
	ctx, cancel := context.WithCancel(clickhouse.Context(context.Background(), clickhouse.WithQueryID(id)))
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := scalarIn(ctx, db, "SELECT sum(sleepEachRow(1)) FROM numbers(50) SETTINGS max_block_size = 1")
		done <- err
	}()
	running := "SELECT count() FROM system.processes WHERE query_id = '" + id + "'"
	if found, err := until(service, running, "1"); err != nil || found != "1" {
		return "it does not run", err
	}
	if err := leave(cancel); err != nil {
		return "", err
	}
	if err := <-done; err == nil {
		return "it ran to its end", nil
	}
	if found, err := until(service, running, "0"); err != nil || found != "0" {
		return "it runs on", err
	}
	return "ended", nil
}

func until(db *sql.DB, statement, wanted string) (string, error) {
	deadline := time.Now().Add(20 * time.Second)
	for {
		found, err := scalar(db, statement)
		if err != nil || found == wanted || time.Now().After(deadline) {
			return found, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func everyWay(name string, connect func(user string) *sql.DB) {
	service := connect("default")
	defer service.Close()
	table := "weir.go_" + strings.ReplaceAll(name, " ", "_")
	row(name+": create a table", "default", "done", func() (string, error) {
		_, err := service.Exec("CREATE TABLE " + table + " (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
		return "done", err
	})
	for _, user := range users {
		db := connect(user)
		row(name+": ping", user, "pong", func() (string, error) { return "pong", db.Ping() })
		row(name+": query with parameters", user, "5", func() (string, error) {
			return scalar(db, "SELECT count() FROM events WHERE path = {path:String}", clickhouse.Named("path", "/a"))
		})
		row(name+": 100,000 rows", user, "100000", func() (string, error) {
			found, err := column(db, "SELECT toString(number) FROM numbers(100000)")
			return strconv.Itoa(len(found)), err
		})
		inserted := map[string]string{"default": "1000", "analyst": "refused: 497"}[user]
		row(name+": insert 1,000 rows", user, inserted, func() (string, error) { return insert(db, table) })
		id := strings.ReplaceAll(name, " ", "-") + "-" + user
		row(name+": KILL by query_id", user, "ended", func() (string, error) {
			return cancel(db, service, id+"-killed", func(context.CancelFunc) error {
				_, err := db.Exec("KILL QUERY WHERE query_id = '" + id + "-killed'")
				return err
			})
		})
		// Who leaves an HTTP statement of a user that may write leaves it running: a server does so, too.
		if user == "analyst" || strings.HasPrefix(name, "native") {
			row(name+": cancel", user, "ended", func() (string, error) {
				return cancel(db, service, id, func(cancel context.CancelFunc) error { cancel(); return nil })
			})
		}
		row(name+": a statement that fails", user, "refused: 60", func() (string, error) {
			return scalar(db, "SELECT * FROM weir.nothing")
		})
		db.Close()
	}
	analyst := connect("analyst")
	defer analyst.Close()
	row(name+": drop a table", "analyst", "refused: 497", func() (string, error) {
		_, err := analyst.Exec("DROP TABLE " + table)
		return "dropped", err
	})
	row(name+": lift a limit", "analyst", "refused: 452", func() (string, error) {
		return scalar(analyst, "SELECT 1 SETTINGS max_execution_time = 0")
	})
	row(name+": lift a limit of the connection", "analyst", "refused: 452", func() (string, error) {
		lifted := clickhouse.WithSettings(clickhouse.Settings{"max_result_rows": 0})
		return scalarIn(clickhouse.Context(context.Background(), lifted), analyst, "SELECT 1")
	})
}

// In the order in which the data source connects, browses, and filters.
func grafana(name string, connect func(user string) *sql.DB) {
	for _, user := range users {
		db := connect(user)
		ask := func(operation, expected, statement string) {
			row(name+", Grafana: "+operation, user, expected, func() (string, error) { return scalar(db, statement) })
		}
		browse := func(statement string, wanted ...string) {
			row(name+", Grafana: "+statement, user, "yes", func() (string, error) { return has(db, statement, wanted...) })
		}
		row(name+", Grafana: ping", user, "pong", func() (string, error) { return "pong", db.Ping() })
		row(name+", Grafana: version of 22.7 or newer", user, "yes", func() (string, error) {
			version, err := scalar(db, "SELECT version()")
			major, _ := strconv.Atoi(strings.Split(version, ".")[0])
			if err == nil && major <= 22 {
				return version, nil
			}
			return "yes", err
		})
		browse("SHOW DATABASES", "weir")
		browse("SELECT name FROM system.databases", "weir")
		browse("SHOW TABLES", "events", "daily")
		browse(`SHOW TABLES FROM "weir"`, "events", "daily")
		browse("SELECT database, name FROM system.tables ORDER BY database, name", "weir")
		browse(`DESC TABLE "weir"."events"`, "path", "site_id", "timestamp")
		browse(`DESCRIBE TABLE "weir"."daily"`, "site_id", "users")
		browse("SELECT name, type, table FROM system.columns WHERE database IN ('weir')", "path", "users")
		browse("SELECT name, type, table FROM system.columns WHERE database IN ('weir') AND table = 'events'", "path")
		browse("SELECT name, is_aggregate, case_insensitive, alias_to, origin, description, syntax, arguments, returned_value, examples, categories FROM system.functions LIMIT 10000", "uniqCombined64", "toDate")
		browse("select distinct path from weir.events limit 1000", "/a", "/b", "/c", "/d")
		browse("SELECT DISTINCT path FROM weir.events SETTINGS max_execution_time=10", "/a")
		ask("count of an ad-hoc filter", "5", `SELECT count() FROM weir.events
settings additional_table_filters={'weir.events' : ' path = \'/a\' '}`)
		ask("count of two ad-hoc filters", "10", `SELECT count() FROM events
settings additional_table_filters={'weir.events' : ' path REGEXP \'^/[ab]$\' AND site_id = \'shop\' '}`)
		ask("a time series", "20", "SELECT sum(c) FROM (SELECT toStartOfInterval(timestamp, INTERVAL 60 second) AS time, count() AS c FROM weir.events WHERE timestamp >= toDateTime(0) GROUP BY time ORDER BY time ASC LIMIT 1000)")
		row(name+", Grafana: comment and time zone", user, "20", func() (string, error) {
			info := clickhouse.ClientInfo{Comment: []string{"grafana_user:admin", "grafana_dashboard:d"}}
			ctx := clickhouse.Context(context.Background(), clickhouse.WithClientInfo(info), clickhouse.WithUserLocation(time.UTC))
			return scalarIn(ctx, db, "SELECT count() FROM weir.events")
		})
		db.Close()
	}
}

func main() {
	http, native := os.Args[1], os.Args[2]
	connect := func(protocol clickhouse.Protocol, method clickhouse.CompressionMethod) func(string) *sql.DB {
		port := map[clickhouse.Protocol]string{clickhouse.HTTP: http, clickhouse.Native: native}[protocol]
		return func(user string) *sql.DB { return open(port, user, protocol, method) }
	}
	for _, way := range []struct {
		name     string
		protocol clickhouse.Protocol
		method   clickhouse.CompressionMethod
	}{
		{"HTTP none", clickhouse.HTTP, clickhouse.CompressionNone},
		{"HTTP lz4", clickhouse.HTTP, clickhouse.CompressionLZ4},
		{"HTTP zstd", clickhouse.HTTP, clickhouse.CompressionZSTD},
		{"HTTP gzip", clickhouse.HTTP, clickhouse.CompressionGZIP},
		{"HTTP deflate", clickhouse.HTTP, clickhouse.CompressionDeflate},
		{"HTTP br", clickhouse.HTTP, clickhouse.CompressionBrotli},
		{"native none", clickhouse.Native, clickhouse.CompressionNone},
		{"native lz4", clickhouse.Native, clickhouse.CompressionLZ4},
		{"native zstd", clickhouse.Native, clickhouse.CompressionZSTD},
	} {
		everyWay(way.name, connect(way.protocol, way.method))
	}
	// The two ways that the data source has.
	grafana("HTTP gzip", connect(clickhouse.HTTP, clickhouse.CompressionGZIP))
	grafana("native lz4", connect(clickhouse.Native, clickhouse.CompressionLZ4))
}
