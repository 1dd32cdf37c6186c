//! How much one client address and one site may send: token buckets, off unless configured.

mod address;
mod buckets;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use event::SiteId;
use infra::http::error;
use metrics::counter;
use serde::{Deserialize, Serialize};

pub use address::ForwardedHeader;

pub(crate) use address::Proxies;
use buckets::{Buckets, Nanos};
pub(crate) use infra::http::bucket_of;

/// The `ingest.rate_limits` section.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimitsConfig {
    /// Requests of one client address; IPv6 counts by its /64.
    pub per_address: RateConfig,
    /// Events of one site, over all clients.
    pub per_site: RateConfig,
    /// Whether clients on this machine are free of both limits
    /// (`WEIR_INGEST__RATE_LIMITS__EXEMPT_LOOPBACK`).
    pub exempt_loopback: bool,
    /// Addresses, and sites, that are kept account of at one time
    /// (`WEIR_INGEST__RATE_LIMITS__BUCKETS_MAX`).
    pub buckets_max: usize,
}

/// One limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateConfig {
    /// In the long run; 0 is no limit (`WEIR_INGEST__RATE_LIMITS__PER_ADDRESS__PER_SECOND=50`).
    pub per_second: f64,
    /// At once; 0 is as many as in a second (`WEIR_INGEST__RATE_LIMITS__PER_ADDRESS__BURST=100`).
    pub burst: u32,
}

impl Default for RateLimitsConfig {
    fn default() -> Self {
        Self {
            per_address: RateConfig::default(),
            per_site: RateConfig::default(),
            exempt_loopback: true,
            buckets_max: 100_000,
        }
    }
}

impl RateLimitsConfig {
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for (name, rate) in [
            ("per_address", self.per_address),
            ("per_site", self.per_site),
        ] {
            ensure!(
                rate.per_second == 0.0 || PER_SECOND.contains(&rate.per_second),
                "ingest.rate_limits.{name}.per_second must be 0 (no limit) or {} to {}",
                PER_SECOND.start(),
                PER_SECOND.end()
            );
            ensure!(
                rate.per_second > 0.0 || rate.burst == 0,
                "ingest.rate_limits.{name}.burst needs a per_second"
            );
        }
        ensure!(
            self.buckets_max > 0,
            "ingest.rate_limits.buckets_max must be at least 1"
        );
        Ok(())
    }
}

const PER_SECOND: std::ops::RangeInclusive<f64> = 0.001..=1e9;

/// Both limits and whom they hold for.
pub(crate) struct RateLimits {
    addresses: Option<Limit>,
    sites: Option<Limit>,
    exempt_loopback: bool,
    proxies: Proxies,
    /// Keyed at random: nobody can choose keys that share a bucket.
    hasher: RandomState,
    begun_at: Instant,
}

impl RateLimits {
    /// `None`: there is no limit.
    pub(crate) fn new(
        config: &RateLimitsConfig,
        trusted_proxies: &[String],
        header: ForwardedHeader,
    ) -> anyhow::Result<Option<Self>> {
        let limits = Self {
            addresses: Limit::new("address", config.per_address, config.buckets_max),
            sites: Limit::new("site", config.per_site, config.buckets_max),
            exempt_loopback: config.exempt_loopback,
            proxies: Proxies::new(trusted_proxies, header)?,
            hasher: RandomState::new(),
            begun_at: Instant::now(),
        };
        Ok((limits.addresses.is_some() || limits.sites.is_some()).then_some(limits))
    }

    /// Charges the client for a request, and says whether its events are to be counted.
    ///
    /// # Errors
    /// If it has sent too many.
    pub(crate) fn admit(&self, request: &Request) -> Result<Option<SiteCounts>, Limited> {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        if let Some(ConnectInfo(peer)) = peer {
            let client = self.proxies.client(peer.ip(), request.headers());
            if self.exempt_loopback && client.is_loopback() {
                return Ok(None);
            }
            self.charge_address(client)?;
        }
        Ok(self.sites.is_some().then(|| SiteCounts {
            hasher: self.hasher.clone(),
            events: HashMap::new(),
        }))
    }

    fn charge_address(&self, client: IpAddr) -> Result<(), Limited> {
        let Some(limit) = &self.addresses else {
            return Ok(());
        };
        let key = self.hasher.hash_one(bucket_of(client));
        limit.charge([(key, 1)].into_iter(), self.now())
    }

    /// Charges the sites for their events: all of them or, if one is over its limit, none, so that
    /// the same request can be sent again.
    ///
    /// # Errors
    /// If a site has had too many.
    pub(crate) fn charge(&self, counts: &SiteCounts) -> Result<(), Limited> {
        match &self.sites {
            Some(limit) => {
                let events = counts.events.iter().map(|(key, events)| (*key, *events));
                limit.charge(events, self.now())
            }
            None => Ok(()),
        }
    }

    fn now(&self) -> Nanos {
        Nanos::try_from(self.begun_at.elapsed().as_nanos()).unwrap_or(Nanos::MAX)
    }
}

/// How many events a request holds of each site.
pub(crate) struct SiteCounts {
    hasher: RandomState,
    events: HashMap<u64, u64>,
}

impl SiteCounts {
    pub(crate) fn add(&mut self, site_id: SiteId<&str>) {
        *self
            .events
            .entry(self.hasher.hash_one(site_id))
            .or_default() += 1;
    }
}

struct Limit {
    name: &'static str,
    buckets: Mutex<Buckets>,
}

impl Limit {
    fn new(name: &'static str, rate: RateConfig, buckets_max: usize) -> Option<Self> {
        let RateConfig { per_second, burst } = rate;
        let burst = if burst == 0 {
            per_second.ceil() as u64
        } else {
            burst.into()
        };
        (per_second > 0.0).then(|| Self {
            name,
            buckets: Mutex::new(Buckets::new(per_second, burst, buckets_max)),
        })
    }

    fn charge(
        &self,
        charges: impl Iterator<Item = (u64, u64)> + Clone,
        now: Nanos,
    ) -> Result<(), Limited> {
        // Numbers are whole at every step, so a poisoned lock is still right.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = charges
            .clone()
            .filter_map(|(key, tokens)| buckets.wait(key, tokens, now));
        if let Some(wait) = waits.max() {
            drop(buckets);
            counter!("weir_ingest_limited_total", "limit" => self.name).increment(1);
            return Err(Limited {
                limit: self.name,
                wait,
            });
        }
        for (key, tokens) in charges {
            buckets.charge(key, tokens, now);
        }
        Ok(())
    }
}

/// A request that came too soon.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Limited {
    limit: &'static str,
    wait: Duration,
}

impl IntoResponse for Limited {
    fn into_response(self) -> Response {
        let seconds = self.wait.as_nanos().div_ceil(1_000_000_000).max(1);
        let sentence = match self.limit {
            "site" => "too many events of this site at the moment; nothing was taken, try again",
            _ => "too many requests from this address at the moment; nothing was taken, try again",
        };
        let sentence = format!("{sentence} in {seconds} s");
        let mut response = error(StatusCode::TOO_MANY_REQUESTS, vec![sentence]);
        if let Ok(value) = seconds.to_string().try_into() {
            response.headers_mut().insert(RETRY_AFTER, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(config: &RateLimitsConfig) -> RateLimits {
        config.check().unwrap();
        RateLimits::new(config, &[], ForwardedHeader::default())
            .unwrap()
            .unwrap()
    }

    fn request_from(peer: &str) -> Request {
        let peer = SocketAddr::new(peer.parse().unwrap(), 4711);
        let mut request = Request::default();
        request.extensions_mut().insert(ConnectInfo(peer));
        request
    }

    fn sites(per_second: f64, burst: u32) -> RateLimitsConfig {
        RateLimitsConfig {
            per_site: RateConfig { per_second, burst },
            ..RateLimitsConfig::default()
        }
    }

    #[test]
    fn without_a_rate_there_is_no_limit() {
        let none = RateLimits::new(
            &RateLimitsConfig::default(),
            &[],
            ForwardedHeader::default(),
        );
        assert!(none.unwrap().is_none());
    }

    #[test]
    fn loopback_is_exempt_unless_told_otherwise() {
        let mut config = RateLimitsConfig {
            per_address: RateConfig {
                per_second: 0.001,
                burst: 1,
            },
            ..RateLimitsConfig::default()
        };
        let exempting = limits(&config);
        for peer in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            for _ in 0..5 {
                assert!(exempting.admit(&request_from(peer)).unwrap().is_none());
            }
        }
        assert!(exempting.admit(&request_from("1.1.1.1")).is_ok());
        assert!(exempting.admit(&request_from("1.1.1.1")).is_err());
        config.exempt_loopback = false;
        let exempting = limits(&config);
        assert!(exempting.admit(&request_from("127.0.0.1")).is_ok());
        assert!(exempting.admit(&request_from("127.0.0.1")).is_err());
    }

    #[test]
    fn a_batch_of_which_one_site_is_over_its_limit_charges_no_site() {
        let limits = limits(&sites(0.001, 10));
        let batch = |events: &[(&str, usize)]| {
            let mut counts = limits.admit(&request_from("1.1.1.1")).unwrap().unwrap();
            for (site, events) in events {
                for _ in 0..*events {
                    counts.add(SiteId::new(*site).unwrap());
                }
            }
            limits.charge(&counts).is_ok()
        };
        assert!(batch(&[("a", 6), ("b", 1)]));
        assert!(!batch(&[("a", 5), ("b", 9)]));
        assert!(batch(&[("a", 4), ("b", 9)]));
        assert!(!batch(&[("b", 1)]));
    }

    #[test]
    fn retry_after_is_whole_seconds_rounded_up() {
        for (millis, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2")] {
            let limited = Limited {
                limit: "site",
                wait: Duration::from_millis(millis),
            };
            let response = limited.into_response();
            assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(response.headers()[RETRY_AFTER], seconds);
        }
    }

    #[test]
    fn a_rate_out_of_range_is_refused_by_its_name() {
        for (per_second, burst) in [(-1.0, 0), (f64::NAN, 0), (1e10, 0), (0.0, 5)] {
            let refused = sites(per_second, burst).check().unwrap_err().to_string();
            assert!(refused.contains("ingest.rate_limits.per_site"), "{refused}");
        }
    }
}
