//! `weir audit` and `weir seal` as a person runs them.

use e2e::{Finished, Weir, command, eventually, run};
use serde_json::{Value, json};

fn weir(weir: &Weir, arguments: &[&str]) -> Finished {
    let mut command = command(weir.folder());
    command
        .args(arguments)
        .env("WEIR_KAFKA__BROKERS", &weir.kafka)
        .env("WEIR_CLICKHOUSE__URL", &weir.clickhouse);
    run(command)
}

#[tokio::test]
async fn an_audit_says_that_every_event_counts_once_or_where_one_does_not() {
    let up = Weir::embedded();
    let events: Vec<_> = (0..40)
        .map(|n| json!({"site_id": "s", "event_type": "view", "path": format!("/{}", n % 3), "event_id": format!("e{}", n % 30)}))
        .collect();
    let (status, _) = up.post("/events", json!(events).to_string()).await;
    assert_eq!(status, 202);
    eventually(json!(30), async || {
        up.stats("site_id=s").await["total_views"].clone()
    })
    .await;
    // Its figures are of what is committed.
    eventually(Some(0), async || weir(&up, &["audit"]).code).await;
    let sound = weir(&up, &["audit", "--json"]);
    assert_eq!(sound.code, Some(0), "{sound:?}");
    let report: Value = serde_json::from_str(&sound.stdout).unwrap();
    assert_eq!(report["sound"], true);
    let sum = |what: &str| -> u64 {
        let partitions = report["partitions"].as_array().unwrap();
        partitions.iter().map(|p| p[what].as_u64().unwrap()).sum()
    };
    assert_eq!((sum("events"), sum("rows"), sum("repeats")), (40, 30, 10));

    let sealed = weir(&up, &["seal"]);
    assert!(
        sealed.success && sealed.stdout.contains("removed 0 repeats"),
        "{sealed:?}"
    );

    let victim = up
        .clickhouse()
        .text("SELECT _partition, _offset FROM weir.events ORDER BY _partition, _offset LIMIT 1")
        .await;
    let (partition, offset) = victim.split_once('\t').unwrap();
    up.clickhouse()
        .text(&format!(
            "DELETE FROM weir.events WHERE _partition = {partition} AND _offset = {offset} AND _index = (SELECT min(_index) FROM weir.events WHERE _partition = {partition} AND _offset = {offset})"
        ))
        .await;
    let unsound = weir(&up, &["audit", "--patience", "1"]);
    assert_eq!(unsound.code, Some(1), "{unsound:?}");
    assert!(
        unsound.stdout.contains(&format!("partition {partition}")),
        "{unsound:?}"
    );

    let mut blind = command(up.folder());
    blind
        .arg("audit")
        .env("WEIR_KAFKA__BROKERS", &up.kafka)
        .env("WEIR_CLICKHOUSE__URL", "http://127.0.0.1:1");
    let blind = run(blind);
    assert_eq!(blind.code, Some(2), "{blind:?}");
    assert!(blind.stderr.contains("127.0.0.1:1"), "{blind:?}");
}
