//! Events in Kafka, as ingest would have put them there: what a sink is measured with.

use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use event::{Event, EventId};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use uuid::Uuid;

const TOPIC: &str = "events";
const FULL_QUEUE_WAIT: Duration = Duration::from_millis(20);
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);

/// Puts page views of a hundred sites over a day into the topic `events`, `batch` a record, evenly
/// over its `partitions`. Blocks.
///
/// # Errors
/// If Kafka does not take them.
pub fn fill(brokers: &str, partitions: u16, events: u64, batch: u64) -> anyhow::Result<()> {
    let producer: ThreadedProducer<_> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("linger.ms", "20")
        .create()
        .context("create a producer")?;
    let begin = Utc::now() - TimeDelta::days(1);
    for record in 0..events.div_ceil(batch) {
        let mut encoder = event::wire::BatchEncoder::new(Uuid::now_v7());
        for number in record * batch..events.min((record + 1) * batch) {
            encoder.push(&event::wire::encode(&page_view(number, events, begin)?));
        }
        let value = encoder.finish();
        let headers = OwnedHeaders::new().insert(Header {
            key: event::wire::SCHEMA_HEADER,
            value: Some(event::wire::SCHEMA_VERSION),
        });
        let partition = i32::try_from(record % u64::from(partitions)).context("a partition")?;
        let mut message = BaseRecord::<(), _>::to(TOPIC)
            .partition(partition)
            .headers(headers)
            .payload(&value);
        // The queue is bounded: a full one is waited for.
        while let Err((error, back)) = producer.send(message) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error).context("fill Kafka");
            }
            std::thread::sleep(FULL_QUEUE_WAIT);
            message = back;
        }
    }
    producer.flush(FLUSH_TIMEOUT).context("fill Kafka")
}

fn page_view(number: u64, events: u64, begin: DateTime<Utc>) -> anyhow::Result<Event> {
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    let millis = number * 86_400_000 / events;
    let at = begin + TimeDelta::milliseconds(i64::try_from(millis).context("a time")?);
    Ok(Event {
        id: EventId::edge(Uuid::now_v7()),
        site_id: format!("site-{}", mixed % 100).parse()?,
        event_type: "page_view".parse()?,
        path: format!("/articles/{}", mixed % 2000).parse()?,
        user_id: format!("visitor-{}", mixed % 200_000),
        timestamp: at,
        received_at: at,
        referrer: "https://www.example.com/".to_owned(),
        props: vec![("plan".to_owned(), "free".to_owned())],
        context: context_of(mixed % 200_000, mixed % 100),
    })
}

/// What the edge would know of such a view: a visitor's agent, place and language stay the same, a
/// tenth of the views come from elsewhere, and one visitor in twenty is a bot.
fn context_of(visitor: u64, site: u64) -> event::Context {
    const BROWSERS: [&str; 5] = [
        "Chrome",
        "Mobile Safari",
        "Edge",
        "Firefox",
        "Samsung Internet",
    ];
    const SYSTEMS: [&str; 5] = ["Windows", "iOS", "Mac OS X", "Android", "Linux"];
    const DEVICES: [&str; 3] = ["desktop", "mobile", "tablet"];
    const COUNTRIES: [&str; 8] = ["DE", "US", "FR", "GB", "IN", "BR", "JP", "NL"];
    const LANGUAGES: [&str; 8] = ["de", "en-US", "fr", "en-GB", "en", "pt-BR", "ja", "nl"];
    const SCREENS: [&str; 4] = ["large", "small", "wide", "medium"];
    const SOURCES: [&str; 4] = [
        "Organic Search\tGoogle\t\t\t\t\t",
        "Referral\tnews.example\t\t\t\t\t",
        "Email\tnewsletter\tnewsletter\temail\tspring\t\t",
        "Paid Search\tGoogle\tgoogle\tcpc\tbrand\tweir\t",
    ];
    // Few values are most: a square pulls a uniform draw towards 0.
    let draw = |salt: u64| {
        let drawn = (visitor ^ salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        (drawn * drawn) >> 32
    };
    let of = |salt, values: &[&'static str]| {
        let place = (draw(salt) * values.len() as u64) >> 32;
        values[usize::try_from(place).unwrap_or(0)]
    };
    let version = 120 + ((draw(1) * 25) >> 32);
    let bot = if visitor.is_multiple_of(20) {
        "Googlebot"
    } else {
        ""
    };
    let (country, city) = (of(4, &COUNTRIES), (draw(5) * 40) >> 32);
    event::Context {
        hostname: format!("site-{site}.example"),
        source: match visitor % 10 {
            0 => of(visitor, &SOURCES).to_owned(),
            _ => "Direct\t\t\t\t\t\t".to_owned(),
        },
        agent: format!(
            "{}\t{version}\t{}\t{}\t{bot}",
            of(1, &BROWSERS),
            of(2, &SYSTEMS),
            of(3, &DEVICES)
        ),
        place: format!("{country}\t{country}-{}\tcity {city}", city % 8),
        language: of(4, &LANGUAGES).to_owned(),
        screen: of(3, &SCREENS).to_owned(),
        user_origin: event::UserOrigin::Edge,
    }
}
