//! Data that an earlier weir left behind is read by this one: its tables and migrations, a cut that
//! was planned and torn, events that wait in Kafka and in the spool, ids that were seen before.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use e2e::fixture::{Figures, Fixture, Month, Site};
use e2e::{
    ClickHouse, Door, Group, Process, Standing, Weir, command, eventually, free_port, ledger, run,
};
use reqwest::StatusCode;
use serde_json::{Value, json};

const WITHIN: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread")]
async fn every_fixture_holds_what_it_is_there_for() {
    for fixture in Fixture::all() {
        let name = fixture.name();
        let figures = fixture.figures();
        let copy = fixture.unpack();
        let data = copy.path().join("data");
        let spooled = sizes(&data.join("spool"), "spool");
        assert!(
            spooled.iter().sum::<u64>() > 0,
            "{name}: nothing is spooled"
        );
        let segments = (0..figures.log.ends.len())
            .map(|partition| data.join(format!("kafka/topics/events/{partition}")))
            .map(|partition| sizes(&partition, "log").len());
        assert!(segments.max() > Some(1), "{name}: each log is one segment");

        let broker = broker(copy.path());
        broker.0.start();
        broker.0.ready().await;
        let standings = Group::of(&broker.1).standings().await.unwrap();
        assert_eq!(ends(&standings), figures.log.ends, "{name}");
        for standing in standings {
            let plan = figures.torn.plans.get(&standing.partition);
            let plan = plan.map_or("", String::as_str);
            assert_eq!(standing.metadata, plan, "{name}: the plan that was left");
        }
        assert!(!figures.torn.plans.is_empty(), "{name}: no plan was left");

        let (engine, clickhouse) = engine(copy.path());
        engine.start();
        engine.ready().await;
        let torn = &figures.torn;
        let landed = ledger::events_by_table(&clickhouse, &torn.site).await;
        assert_eq!(landed, torn.landed, "{name}: of the cut that was torn");
        let whole = figures.sites[&torn.site].events;
        assert!(
            landed[0] > 0 && landed.iter().any(|events| *events < whole),
            "{name}: {landed:?} of {whole} is not torn"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_and_audit_of_every_fixture_come_out_right_and_stay_right() {
    let fixtures = Fixture::all();
    assert!(!fixtures.is_empty());
    for fixture in fixtures {
        println!("fixture {}", fixture.name());
        let figures = fixture.figures();
        let weir = Weir::embedded_in(fixture.unpack());
        drained(&weir).await;
        Group::of(&weir.kafka).settled(WITHIN).await;
        whole(&weir, &figures).await;

        let (status, answer) = weir
            .post("/events", json!(figures.stored_before).to_string())
            .await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        Group::of(&weir.kafka).settled(WITHIN).await;
        assert_figures(&weir, &figures).await;

        let (success, folder) = weir.stop();
        assert!(success, "weir up ends in order");
        let weir = Weir::embedded_in(folder);
        Group::of(&weir.kafka).settled(WITHIN).await;
        assert_figures(&weir, &figures).await;
        assert!(audit(&weir)["sound"] == true);
        // And it goes on: what is new counts.
        let event = json!({"site_id": "new.example", "event_type": "view"});
        weir.post("/event", event.to_string()).await;
        eventually(json!(1), async || {
            weir.stats("site_id=new.example").await["total_views"].clone()
        })
        .await;
    }
}

/// All that was sent is stored, once, and all of it is accounted for.
async fn whole(weir: &Weir, figures: &Figures) {
    let log = &figures.log;
    let standings = Group::of(&weir.kafka).standings().await.unwrap();
    let mut from_spool = 0;
    for (end, before) in ends(&standings).iter().zip(&log.ends) {
        assert!(
            end >= before,
            "the log ends at {end}, and ended at {before}"
        );
        from_spool += end - before;
    }
    assert_eq!(from_spool, log.records_spooled as i64);
    assert_figures(weir, figures).await;

    let report = audit(weir);
    assert_eq!(report["sound"], true, "{report:#}");
    let sum = |what: &str| -> u64 {
        let partitions = report["partitions"].as_array().unwrap();
        partitions.iter().map(|p| p[what].as_u64().unwrap()).sum()
    };
    let rows: u64 = figures.sites.values().map(|site| site.events).sum();
    assert_eq!(sum("events"), log.events);
    assert_eq!(sum("rows"), rows);
    assert_eq!(sum("rows_found"), rows);
    assert_eq!(sum("repeats"), log.repeats);
    assert_eq!(sum("dead_letters"), log.dead_letters);
    let offsets: i64 = ends(&standings).iter().sum();
    assert_eq!(sum("offsets"), offsets as u64);
}

async fn assert_figures(weir: &Weir, figures: &Figures) {
    let sites = get(weir, "/sites?limit=1000").await;
    let told: Vec<&str> = sites["sites"]
        .as_array()
        .unwrap()
        .iter()
        .map(|site| site["site_id"].as_str().unwrap())
        .collect();
    assert_eq!(told.len(), figures.sites.len(), "{told:?}");
    for (name, site) in &figures.sites {
        assert_site(weir, name, site).await;
    }
    let clickhouse = weir.clickhouse();
    let odd = clickhouse
        .text("SELECT event_type, path, user_id, referrer, props FROM weir.events WHERE site_id = 'odd.example' ORDER BY timestamp FORMAT JSONEachRow")
        .await;
    let odd: Vec<Value> = odd
        .lines()
        .map(|row| serde_json::from_str(row).unwrap())
        .collect();
    assert_eq!(odd, figures.odd_rows);
    ledger::assert_exact(&clickhouse).await;
}

async fn assert_site(weir: &Weir, name: &str, site: &Site) {
    let stored = ledger::events_by_table(&weir.clickhouse(), name).await;
    assert_eq!(stored, [site.events; 5], "{name}, by table");

    let stats = weir.stats(&format!("site_id={name}")).await;
    assert_eq!(stats["total_views"], site.views, "{name}");
    assert_eq!(stats["unique_users"], site.unique_users, "{name}");
    let top = site.top_paths.iter();
    let top: Vec<Value> = top
        .map(|(path, views)| json!({"path": path, "views": views}))
        .collect();
    assert_eq!(stats["top_paths"], json!(top), "{name}");

    for (property, truth) in [
        ("event_type", &site.events_by_type),
        ("referrer", &site.views_by_referrer),
        ("props.plan", &site.views_by_plan),
    ] {
        let path = format!("/stats/breakdown?site_id={name}&property={property}&limit=100");
        let rows = get(weir, &path).await;
        let told: std::collections::BTreeMap<String, u64> = rows["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                let value = row["value"].as_str().unwrap().to_owned();
                (value, row["views"].as_u64().unwrap())
            })
            .collect();
        assert_eq!(&told, truth, "{name} by {property}");
    }

    let (first, last) = (site.months.first().unwrap(), site.months.last().unwrap());
    // The last month ends somewhere; days beyond have no points of their own.
    let path = format!(
        "/stats/timeseries?site_id={name}&interval=month&start_date={}&end_date={}-28",
        first.date,
        &last.date[..7]
    );
    let series = get(weir, &path).await;
    let told: Vec<Month> = series["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| Month {
            date: point["time"].as_str().unwrap()[..10].to_owned(),
            views: point["views"].as_u64().unwrap(),
            unique_users: point["unique_users"].as_u64().unwrap(),
        })
        .collect();
    assert_eq!(told, site.months, "{name} by month");
}

async fn get(weir: &Weir, path: &str) -> Value {
    let response = reqwest::get(format!("{}{path}", weir.query)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    response.json().await.unwrap()
}

/// Waits until the spool is empty.
async fn drained(weir: &Weir) {
    let give_up_at = Instant::now() + WITHIN;
    loop {
        let metrics = reqwest::get(format!("{}/metrics", weir.ingest)).await;
        let metrics = metrics.unwrap().text().await.unwrap();
        if metrics
            .lines()
            .any(|line| line == "weir_ingest_spool_bytes 0")
        {
            return;
        }
        assert!(Instant::now() < give_up_at, "the spool is not empty");
        tokio::time::sleep(POLL).await;
    }
}

/// `weir audit --json`, which exits with 0.
fn audit(weir: &Weir) -> Value {
    let mut audit = command(weir.folder());
    audit
        .args(["audit", "--json"])
        .env("WEIR_KAFKA__BROKERS", &weir.kafka)
        .env("WEIR_CLICKHOUSE__URL", &weir.clickhouse);
    let audit = run(audit);
    assert_eq!(audit.code, Some(0), "{audit:?}");
    serde_json::from_str(&audit.stdout).unwrap()
}

fn ends(standings: &[Standing]) -> Vec<i64> {
    standings.iter().map(|standing| standing.end).collect()
}

/// How large the files with this extension are.
fn sizes(folder: &Path, extension: &str) -> Vec<u64> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let files = files.filter(|file| file.path().extension().is_some_and(|it| it == extension));
    files.map(|file| file.metadata().unwrap().len()).collect()
}

/// The broker of a copy alone, and its address.
fn broker(folder: &Path) -> (Process, String) {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let data = folder.join("data/kafka").display().to_string();
    let settings = vec![("WEIR_BROKER__LISTEN", address.to_string())];
    let arguments = ["broker", "--data-dir", &data];
    let process = Process::new("broker", folder, &arguments, settings, Door::Tcp(address));
    (process, address.to_string())
}

/// The engine of a copy alone.
fn engine(folder: &Path) -> (Process, ClickHouse) {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let data = folder.join("data/clickhouse").display().to_string();
    let settings = vec![("WEIR_ENGINE__LISTEN", address.to_string())];
    let url = format!("http://{address}");
    let door = Door::Http(format!("{url}/ping"));
    let arguments = ["clickhouse", "--data-dir", &data];
    let process = Process::new("engine", folder, &arguments, settings, door);
    let clickhouse = ClickHouse {
        url,
        user: "default",
    };
    (process, clickhouse)
}
