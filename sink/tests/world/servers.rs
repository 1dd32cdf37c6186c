//! One broker and one engine for all tests of the process.

pub(crate) struct Servers {
    pub(crate) brokers: String,
    pub(crate) clickhouse: String,
}

pub(crate) fn shared() -> Servers {
    static LOG: std::sync::Once = std::sync::Once::new();
    LOG.call_once(|| {
        let config = infra::telemetry::Config {
            filter: "info,sink=debug".to_owned(),
            ..Default::default()
        };
        infra::telemetry::init(&config).unwrap();
    });
    Servers {
        brokers: "127.0.0.1:39092".to_owned(),
        clickhouse: "http://127.0.0.1:38123".to_owned(),
    }
}
